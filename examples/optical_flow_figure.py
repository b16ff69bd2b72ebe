"""The figure of optical_flow.py: pairs of images, their flow as colors, and the errors of all contenders."""

from __future__ import annotations

import numpy as np
from layout import INK, PALE, place, write
from matplotlib.figure import Figure

from tfpyramid import visualize

COLORS = ("#9ca3af", "#93c5fd", "#60a5fa", "#3b82f6", "#ea580c")  # The last is the network.
WIDTH, MARGIN, GAP, TOP, CELL = 1400, 40, 14, 150, 252  # In pixels of the figure.
PLOT = 250  # The height of the axes of errors.

Shown = list[tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]]


def draw(shown: Shown, table: dict[str, dict[str, dict[str, list[float]]]]) -> Figure:
    """Return the figure.

    Args:
        shown: for each row the first image, the second image, and flows by their names, the true one first.
        table: errors of each seed, by scene and contender.
    """
    heights = [CELL * first.shape[0] / first.shape[1] for first, _, _ in shown]
    height = TOP + sum(heights) + GAP * len(shown) + PLOT + 140
    figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100)
    write(figure, MARGIN, 52, "Optical flow", size=21, weight="bold")
    note = "hue: direction; saturation: length, full for the longest true flow of the row; black: unknown"
    write(figure, MARGIN, 82, note, size=12, color=PALE)
    top = TOP
    for row, ((first, second, flows), tall) in enumerate(zip(shown, heights)):
        longest = float(np.nanmax(np.linalg.norm(flows["true"], axis=-1)))
        images = {
            "first": first,
            "second": second,
            **{name: visualize.flow_colors(flow, max_length=longest) / 255 for name, flow in flows.items()},
        }
        for column, (label, image) in enumerate(images.items()):
            x = MARGIN + column * (CELL + GAP)
            if row == 0:
                write(figure, x, TOP - 12, f"{label} flow" if label == "true" else label, size=13)
            place(figure, x, top, CELL, tall).imshow(image, interpolation="nearest", vmin=0, vmax=1, aspect="auto")
        top += tall + GAP
    draw_errors(figure, top + 60, table)
    return figure


def draw_errors(figure: Figure, top: float, table: dict[str, dict[str, dict[str, list[float]]]]) -> None:
    """Draw a bar for each scene and contender, and a point for each seed, as ratios to the error of no flow."""
    write(figure, MARGIN, top - 22, "end-point error, divided by that of no flow; points: seeds", size=13)
    axes = place(figure, MARGIN + 30, top, WIDTH - 2 * MARGIN - 30, PLOT, frame=True)
    names = list(next(iter(table.values())))
    for k, (name, color) in enumerate(zip(names[1:], COLORS[1:])):
        at = np.arange(len(table)) + 0.2 * (k - (len(names) - 2) / 2)
        ratios = [np.divide(rows[name]["error"], np.mean(rows[names[0]]["error"])) for rows in table.values()]
        axes.bar(at, [each.mean() for each in ratios], 0.19, color=color, label=name)
        for x, each in zip(at, ratios):
            axes.plot([x] * len(each), each, ".", color=INK, markersize=5)
    axes.set_xticks(range(len(table)), list(table), fontsize=13)
    axes.set_ylim(0, 1.25 * axes.get_ylim()[1])  # Room for the legend.
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelcolor=PALE, length=0)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.legend(loc="upper right", fontsize=12, edgecolor="none", ncols=4)
