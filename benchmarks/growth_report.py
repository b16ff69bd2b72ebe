"""The tables and the figure of bench_growth.py, computed from its results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from common import table
from contest import OURS, sides
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, PALE, GRID = "#1f2430", "#6b7280", "#e5e7eb"
TITLES = {
    "gaussian": "Gaussian pyramid",
    "gradient": "Gaussian pyramid and gradient",
    "laplacian": "Laplacian pyramid and inverse",
}
# The colors of Okabe and Ito, 2008, which people with color blindness can distinguish.
COLORS = {"gaussian": "#0072b2", "gradient": "#d55e00", "laplacian": "#009e73"}
MEASURES = {"time": "time of a call, ms", "memory": "peak memory taken by a call, MB"}

Rows = list[dict[str, Any]]


def fit(pixels: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Return the exponent p of values = c pixels^p, by least squares of the logarithms, and its standard error.

    Raises:
        ValueError: if there are fewer than three pairs, which have no standard error.
    """
    if len(pixels) < 3 or len(values) != len(pixels):
        raise ValueError(
            "`pixels` and `values` must have the same length, at least 3. "
            f"Received: {len(pixels)} pixels and {len(values)} values"
        )
    slopes, covariance = np.polyfit(np.log(pixels), np.log(values), 1, cov=True)
    return float(slopes[0]), float(np.sqrt(covariance[0, 0]))


def of(rows: Rows, measure: str, work: str) -> Rows:
    """Return the rows of tfpyramid for single squares, the smallest first."""
    return sorted(
        (
            row
            for row in rows
            if (row["measure"], row["work"], row["by"], row["shape"][0]) == (measure, work, OURS, 1)
            and row["shape"][1] == row["shape"][2]
        ),
        key=pixels,
    )


def pixels(row: dict[str, Any]) -> int:
    batch, height, width, _ = row["shape"]
    return batch * height * width


def exponents(rows: Rows, fit_from: int) -> Rows:
    """Return the exponent of each measure and work, over the squares with sides of at least `fit_from`."""
    found = []
    for measure in MEASURES:
        for work in TITLES:
            fitted = [row for row in of(rows, measure, work) if row["shape"][1] >= fit_from and row["median"] > 0]
            if len(fitted) >= 3:
                exponent, error = fit(list(map(pixels, fitted)), [row["median"] for row in fitted])
                ends = {"from": fitted[0]["shape"][1], "to": fitted[-1]["shape"][1]}
                slope = {"exponent": round(exponent, 4), "error": round(error, 4)}
                found.append({"measure": measure, "work": work, **ends, **slope})
    return found


def markdown(results: dict[str, Any]) -> str:
    """Return the tables of time, of batches and of memory, and a line for each skipped task."""
    rows = results["results"]
    slopes = {(each["measure"], each["work"]): each for each in results["exponents"]}
    parts = [squares(rows, slopes, "time", "Time of one square, ms"), batches(rows)]
    if any(row["measure"] == "memory" for row in rows):
        parts += [squares(rows, slopes, "memory", "Peak memory of one square, in sizes of the images"), image(rows)]
    parts += [
        f"Not measured: {each['measure']}{' of ' * bool(each['work'])}{TITLES.get(each['work'], '')}, "
        f"{sides(each['shape'])}: {each['why']}."
        for each in results["skipped"]
    ]
    return "\n\n".join(parts)


def squares(rows: Rows, slopes: dict[tuple[str, str], dict[str, Any]], measure: str, title: str) -> str:
    widths = sorted({row["shape"][1] for work in TITLES for row in of(rows, measure, work)})
    lines = []
    for work, name in TITLES.items():
        cells = {row["shape"][1]: cell(row) for row in of(rows, measure, work)}
        slope = slopes.get((measure, work))
        power = f"{slope['exponent']:.3f} ± {slope['error']:.3f}" if slope else ""
        lines.append([name, *(cells.get(width, "") for width in widths), power])
    first = next(iter(slopes.values()), {})
    over = f", {first['from']}² to {first['to']}²" if first else ""
    return table([title, *(f"{width}²" for width in widths), f"exponent{over}"], lines)


def batches(rows: Rows) -> str:
    """Return the time per image in each batch."""
    timed = [row for row in rows if row["measure"] == "time"]
    side = min(row["shape"][1] for row in timed)
    small = [row for row in timed if row["shape"][1] == side]
    counts = sorted({row["shape"][0] for row in small})
    lines = []
    for work, name in TITLES.items():
        cells = {row["shape"][0]: f"{row['median'] / row['shape'][0]:.2f}" for row in small if row["work"] == work}
        lines.append([name, *(cells.get(count, "") for count in counts)])
    return table([f"Time per image, ms, in a batch of {side}²", *counts], lines)


def image(rows: Rows) -> str:
    """Return the memory for images that are not squares, for each library."""
    found = [row for row in rows if row["measure"] == "memory" and row["shape"][1] != row["shape"][2]]
    makers = list(dict.fromkeys(row["by"] for row in found))
    cells = {(row["work"], row["by"]): cell(row) for row in found}
    lines = [[name, *(cells.get((work, by), "") for by in makers)] for work, name in TITLES.items()]
    shape = sides(found[0]["shape"]) if found else ""
    return table([f"Peak memory of {shape}, in sizes of the images", *makers], lines)


def cell(row: dict[str, Any]) -> str:
    if row["measure"] == "time":
        return f"{row['median']:.1f}" if row["median"] < 100 else f"{row['median']:.0f}"
    return f"{row['median'] / row['images']:.2f}, {(row['median'] - row['outputs']) / row['images']:.2f}"


def figure(results: dict[str, Any]) -> Figure:
    """Return the figure: time over pixels at the left, peak memory over pixels at the right."""
    page = Figure(figsize=(10, 4.6), dpi=100, facecolor="white", layout="constrained")
    for axes, measure in zip(page.subplots(1, 2), MEASURES):
        draw(axes, results["results"], measure)
    return page


def draw(axes: Axes, rows: Rows, measure: str) -> None:
    unit = 1e6 if measure == "memory" else 1
    lowest: list[tuple[int, float]] = []
    for work, name in TITLES.items():
        points = [(pixels(row), row["median"] / unit) for row in of(rows, measure, work)]
        if points:
            axes.loglog(*zip(*points), color=COLORS[work], linewidth=2.2, marker="o", markersize=5, label=name)
            lowest = min(lowest or points, points, key=lambda line: line[-1][1])
    axes.set_ylabel(MEASURES[measure], fontsize=12, color=INK)
    axes.set_xlabel("pixels of the image", fontsize=12, color=INK)
    if not lowest:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", fontsize=13, color=PALE)
        return
    last, value = lowest[-1]
    x = np.array([lowest[0][0], last])
    axes.loglog(x, 0.5 * value * x / last, color=PALE, linestyle="--", linewidth=1.4, label="linear in pixels")
    axes.set_xticks(*zip(*((count, f"{round(count**0.5)}²") for count, _ in lowest)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(labelsize=11, color=PALE, labelcolor=PALE)
    axes.legend(loc="upper left", fontsize=11, frameon=False)
