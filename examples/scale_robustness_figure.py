"""The figure of scale_robustness.py: accuracy over size, and garments of these sizes with their predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
from layout import INK, PALE, place, write
from matplotlib.axes import Axes
from matplotlib.figure import Figure

GOOD, BAD = "#15803d", "#c2410c"
COLORS = (INK, "#2563eb", "#c026d3")  # The network alone, the pyramid, and its early exit.
WIDTH, HEIGHT = 1200, 990  # The page, in pixels.
LEFT, RIGHT, TOP, BOTTOM = 90, 1110, 130, 530  # The axes.
PIXELS_TOP, PIXELS_BOTTOM = 600, 720  # The axes of the pixels.
GARMENTS, CELL = 760, 116  # The top of the row of images, and their side.
TICKS = range(14, 57, 6)  # The sizes with a label and an image.
ROWS = (22, 42, 62, 82, 102)  # The lines of text below the images.


def draw(
    sizes: dict[str, list[dict[int, float]]],
    pixels: list[dict[int, float]],
    bands: dict[str, dict[str, Any]],
    shown: list[dict[str, Any]],
    trained: tuple[int, int],
    canvas: int,
) -> Figure:
    """Return the figure.

    Args:
        sizes: for the network alone, the pyramid and its early exit, the accuracy of each seed at each size in percent.
        pixels: the pixels that the early exit of each seed reads at each size, relative to the image.
        bands: the result of `summary`.
        shown: an image of each size, its class, the predictions, and the pixels that the early exit reads.
        trained: the smallest and the largest size of the training images.
        canvas: the side of an image.
    """
    figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100)
    write(figure, 40, 52, "Trained at one size, tested at all sizes", size=21, weight="bold")
    low, high = trained
    note = f"Fashion-MNIST on a canvas of {canvas} pixels, trained on garments of {low} to {high} pixels"
    if len(pixels) > 1:
        note = f"{note}; thin lines: {len(pixels)} seeds; thick lines: their mean"
    write(figure, 40, 82, note, size=12, color=PALE)
    draw_curves(figure, sizes, bands, trained)
    draw_pixels(figure, pixels, bands["pixels"], trained)
    draw_garments(figure, shown, list(sizes))
    return figure


def draw_curves(
    figure: Figure, sizes: dict[str, list[dict[int, float]]], bands: dict[str, dict[str, Any]], trained: tuple[int, int]
) -> None:
    axes = place(figure, LEFT, TOP, RIGHT - LEFT, BOTTOM - TOP, frame=True)
    axes.axvspan(*trained, color="#e5e7eb", linewidth=0)
    axes.text(sum(trained) / 2, 0.03, "trained", size=12, color=PALE, ha="center", transform=axes.get_xaxis_transform())
    lowest = 100.0
    for (name, runs), color in zip(sizes.items(), COLORS):
        x = list(runs[0])
        values = np.array([[run[size] for size in x] for run in runs])
        lowest = min(lowest, values.min())
        axes.plot(x, values.T, color=color, linewidth=0.8, alpha=0.5)
        axes.plot(x, values.mean(axis=0), color=color, linewidth=3, marker="o", markersize=5, label=name)
    bottom = 10 * (lowest // 10)
    axes.set_ylim(bottom, 104)
    axes.set_yticks(np.arange(bottom, 101, 10))
    style_axes(axes, x)
    axes.legend(loc="lower right", fontsize=13, labelcolor="linecolor", edgecolor="none", framealpha=1)
    write(
        figure,
        LEFT - 50,
        TOP - 16,
        "accuracy in percent; the numbers are means over bands of sizes",
        size=11,
        color=PALE,
    )
    write(figure, RIGHT + 6, BOTTOM + 18, "pixels", size=11, color=PALE)
    for k, (name, color) in enumerate(zip(sizes, COLORS)):
        for band, each in bands[name].items():
            first, last = map(int, band.split("-"))
            axes.plot([first, last], [93, 93], color=PALE, linewidth=1)
            middle = (first + last) / 2 + 2.6 * (k - 1)
            axes.text(middle, 95, f"{each['mean']:.1f}", size=14, weight="bold", color=color, ha="center")


def draw_pixels(
    figure: Figure, pixels: list[dict[int, float]], bands: dict[str, Any], trained: tuple[int, int]
) -> None:
    """Draw the pixels that each contender reads at each size, relative to the image."""
    axes = place(figure, LEFT, PIXELS_TOP, RIGHT - LEFT, PIXELS_BOTTOM - PIXELS_TOP, frame=True)
    axes.axvspan(*trained, color="#e5e7eb", linewidth=0)
    x = list(pixels[0])
    values = np.array([[run[size] for size in x] for run in pixels])
    for level, color in zip((1, 7.75), COLORS):
        axes.plot([min(x), max(x)], [level, level], color=color, linewidth=3)
    axes.plot(x, values.T, color=COLORS[2], linewidth=0.8, alpha=0.5)
    axes.plot(x, values.mean(axis=0), color=COLORS[2], linewidth=3, marker="o", markersize=5)
    axes.set_ylim(0, 8.5)
    axes.set_yticks([0, 2, 4, 6, 8])
    style_axes(axes, x)
    for band, each in bands.items():
        middle = sum(map(int, band.split("-"))) / 2
        near = float(np.interp(middle, x, values.mean(axis=0)))
        beside = near + 0.9 if near < 6 else near - 2  # Below the line where the caption is near.
        axes.text(middle, beside, f"{each['mean']:.2f}", size=14, weight="bold", color=COLORS[2], ha="center")
    mean = np.mean([each["mean"] for each in bands.values()])
    note = f"pixels that the network reads, relative to the image; early exit: {mean:.2f} on average over the bands"
    write(figure, LEFT - 50, PIXELS_TOP - 16, note, size=11, color=PALE)


def style_axes(axes: Axes, x: list[int]) -> None:
    axes.set_xlim(min(x) - 1, max(x) + 1)
    axes.set_xticks(TICKS)
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=11, labelcolor=PALE, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(PALE)


def draw_garments(figure: Figure, shown: list[dict[str, Any]], names: list[str]) -> None:
    """Draw an image below each of TICKS, with its class, all predictions, and the pixels of the early exit."""
    span = shown[-1]["size"] - shown[0]["size"] + 2  # The range of the axes above.
    for label, y in zip(("class", "alone", "pyramid", "early exit", "pixels"), ROWS):
        write(figure, 12, GARMENTS + CELL + y, label, size=10, color=PALE)
    for each in shown:
        if each["size"] not in TICKS:
            continue
        middle = LEFT + (each["size"] - shown[0]["size"] + 1) * (RIGHT - LEFT) / span
        axes = place(figure, middle - CELL / 2, GARMENTS, CELL, CELL)
        axes.imshow(each["image"], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        write(figure, middle, GARMENTS + CELL + ROWS[0], each["truth"], size=11, color=INK, ha="center")
        write(figure, middle, GARMENTS + CELL + ROWS[-1], f"{each['pixels']:g}", size=11, color=PALE, ha="center")
        for name, y in zip(names, ROWS[1:]):
            color = GOOD if each[name] == each["truth"] else BAD
            write(figure, middle, GARMENTS + CELL + y, each[name], size=11, color=color, ha="center")
