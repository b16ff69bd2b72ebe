"""The figure of segmentation.py: IoU over the size of garments, and scenes with the masks of some decoders."""

from __future__ import annotations

from typing import Any

import numpy as np
from layout import INK, PALE, place, write
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLORS = ("#e2e5ea", "#c4c9d1", "#9ca3af", "#6b7280", "#2563eb", "#15803d")  # Of the decoders; greys: single levels.
KINDS = ((230, 57, 70), (69, 123, 250), (255, 183, 3), (42, 200, 120), (190, 90, 240))
WIDTH, HEIGHT, LEFT = 840, 1120, 108  # In pixels.
COLUMN = (WIDTH - LEFT - 12) / 4  # Width of a band, in the chart and below.
CHART, SCENES, CELL, STEP = (100, 280), 452, 128, 133  # Top and height of the chart; top, side and step of the scenes.


def draw(
    table: dict[str, dict[str, Any]],
    best: str,
    bands: dict[str, Any],
    shown: dict[str, dict[str, np.ndarray]],
    kinds: list[str],
) -> Figure:
    """Return the figure.

    Args:
        table: the result of `summary`.
        best: name of the best single level.
        bands: scenes of each band of sizes.
        shown: for each decoder, the masks of scenes of each band; the best single level and the last two are drawn.
        kinds: names of the kinds of garments.
    """
    figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100)
    write(figure, 20, 34, "Garments of 14 to 48 pixels, with one level and with all of them", size=15, weight="bold")
    count = len(next(iter(next(iter(table.values())).values()))["seeds"])
    seeds = f"{count} seeds" if count > 1 else "one seed"
    note = (
        f"mean IoU over five kinds of garments, by their size; {seeds}. One level: one feature map of the same backbone"
    )
    write(figure, 20, 56, note, size=9, color=PALE)
    top, height = CHART
    frame = (LEFT / WIDTH, 1 - (top + height) / HEIGHT, 4 * COLUMN / WIDTH, height / HEIGHT)
    draw_bars(figure.add_axes(frame), table, best)
    for k, (kind, color) in enumerate(zip(kinds, KINDS)):
        write(figure, LEFT + 8 + 90 * k, SCENES - 14, f"■ {kind}", size=10, color=np.array(color) / 255)
    rows = {"scene": None, "truth": None, **{name: shown[name] for name in (best, *list(table)[-2:])}}
    for row, name in enumerate(rows):
        y = SCENES + row * STEP
        write(figure, 20, y + CELL / 2, name.replace(" and ", "\nand ").replace(", ", ",\n"), size=9, va="center")
        for column, scenes in enumerate(bands.values()):
            image, mask = scenes.images[0], scenes.masks[0]
            if rows[name] is not None:
                mask = rows[name][list(bands)[column]][0]
            x = LEFT + (column + 0.5) * COLUMN - CELL / 2
            axes = place(figure, x, y, CELL, CELL)
            axes.imshow(image if name == "scene" else painted(image, mask), interpolation="nearest")
    return figure


def draw_bars(axes: Axes, table: dict[str, dict[str, Any]], best: str) -> None:
    width = 0.9 / len(table)
    for k, ((name, bands), color) in enumerate(zip(table.items(), COLORS)):
        x = np.arange(len(bands)) + (k - (len(table) - 1) / 2) * width
        means, spreads = ([band[key] for band in bands.values()] for key in ("mean", "spread"))
        label = f"{name} (best)" if name == best else name
        axes.bar(x, means, 0.92 * width, color=color, label=label, yerr=spreads, error_kw={"lw": 1})
        for at, mean, spread in zip(x, means, spreads):
            axes.text(at, mean + spread + 0.015, f"{mean:.2f}".lstrip("0"), size=8, ha="center", color=INK)
    axes.set_xticks(range(len(bands)), [f"{band} px" for band in bands])
    axes.set_xlim(-0.5, len(bands) - 0.5)
    axes.set_ylim(0, 0.9)
    axes.tick_params(labelsize=9, labelcolor=PALE, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 0.93), fontsize=9, ncols=3, frameon=False)


def painted(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return a dark grey scene with the color of each pixel's kind."""
    grey = np.repeat(image.mean(axis=2, keepdims=True) * 0.35, 3, axis=2)
    colors = np.array([(0, 0, 0), *KINDS])[mask]
    return np.uint8(np.where(mask[:, :, np.newaxis] > 0, 0.25 * grey + 0.9 * colors, grey).clip(0, 255))
