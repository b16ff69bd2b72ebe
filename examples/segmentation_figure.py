"""The figure of segmentation.py: IoU over the size of garments, and scenes with the masks of each decoder."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

INK, PALE = "#1f2430", "#6b7280"
COLORS = ("#9ca3af", "#2563eb", "#15803d")  # One level, upsample and concat, FPN.
KINDS = ((230, 57, 70), (69, 123, 250), (255, 183, 3), (42, 200, 120), (190, 90, 240))
WIDTH, HEIGHT, LEFT, CELL, GAP = 1200, 1090, 150, 122, 6  # In pixels.


def draw(
    table: dict[str, dict[str, Any]], bands: dict[str, Any], shown: dict[str, dict[str, np.ndarray]], kinds: list[str]
) -> Figure:
    """Return the figure.

    Args:
        table: the result of `summary`.
        bands: scenes of each band of sizes.
        shown: for each decoder, the masks of the first two scenes of each band.
        kinds: names of the kinds of garments.
    """
    figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100)
    write(figure, 40, 48, "Garments of any size need several levels", size=21, weight="bold")
    count = len(next(iter(next(iter(table.values())).values()))["seeds"])
    seeds = f"{count} seeds" if count > 1 else "one seed"
    note = f"mean IoU over five kinds of garments, by the size of the garments in pixels; {seeds}, same backbone"
    write(figure, 40, 76, note, size=12, color=PALE)
    draw_bars(figure, {name: table[name] for name in shown})
    top = 480.0
    for k, (kind, color) in enumerate(zip(kinds, KINDS)):
        write(figure, LEFT + 130 * k, top - 36, f"■ {kind}", size=13, color=np.array(color) / 255)
    rows = {"scene": None, "truth": None, **shown}
    for row, name in enumerate(rows):
        y = top + row * CELL
        write(figure, 20, y + CELL / 2, name.replace(" and ", "\nand "), size=12, va="center")
        for column in range(2 * len(bands)):
            band, k = list(bands)[column // 2], column % 2
            image, mask = bands[band].images[k], bands[band].masks[k]
            if rows[name] is not None:
                mask = rows[name][band][k]
            x = LEFT + column * (CELL + GAP)
            side = (CELL - 6) / WIDTH, (CELL - 6) / HEIGHT
            axes = figure.add_axes((x / WIDTH, 1 - (y + CELL - 6) / HEIGHT, *side))
            axes.imshow(image if name == "scene" else painted(image, mask), interpolation="nearest")
            axes.set_axis_off()
            if row == 0 and k == 0:
                write(figure, x, y - 8, f"{band} px", size=12, color=PALE)
    return figure


def draw_bars(figure: Figure, table: dict[str, dict[str, Any]]) -> None:
    axes = figure.add_axes((LEFT / WIDTH, 1 - 400 / HEIGHT, (WIDTH - LEFT - 40) / WIDTH, 290 / HEIGHT))
    for k, (name, bands) in enumerate(table.items()):
        x = np.arange(len(bands)) + 0.27 * (k - 1)
        means = [band["mean"] for band in bands.values()]
        axes.bar(x, means, 0.25, color=COLORS[k], label=name, yerr=[band["spread"] for band in bands.values()])
        for place, mean in zip(x, means):
            axes.text(place, mean + 0.03, f"{mean:.2f}", size=12, ha="center", color=COLORS[k], weight="bold")
    axes.set_xticks(range(len(bands)), [f"{band} px" for band in bands])
    axes.set_ylim(0, 1)
    axes.tick_params(labelsize=12, labelcolor=PALE, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(loc="upper left", fontsize=13, ncols=3, edgecolor="none", framealpha=1)


def painted(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return a dark grey scene with the color of each pixel's kind."""
    grey = np.repeat(image.mean(axis=2, keepdims=True) * 0.35, 3, axis=2)
    colors = np.array([(0, 0, 0), *KINDS])[mask]
    return np.uint8(np.where(mask[:, :, np.newaxis] > 0, 0.25 * grey + 0.9 * colors, grey).clip(0, 255))


def write(figure: Figure, x: float, y: float, text: str, color: Any = INK, **style: Any) -> None:
    figure.text(x / WIDTH, 1 - y / HEIGHT, text, color=color, **style)
