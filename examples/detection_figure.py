"""The figure of detection.py: test images with boxes, and the average precision of each band of sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from layout import INK, PALE, place, write
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

GOOD, BAD = "#15803d", "#c2410c"
COLORS = ("#2563eb", "#9ca3af", "#1f2430")  # Of the models, in the chart.
WIDTH, HEIGHT = 840, 960  # The page, in pixels.
LEFT, TOP, CELL, GAP = 106, 84, 174, 8  # The images.
COLUMNS, SHOWN = 4, 0.4  # Detections with lower scores are not drawn.
CHART = 660  # The top of the chart.


def draw(
    scenes: Any,
    found: dict[str, dict[str, np.ndarray]],
    names: Sequence[str],
    bands: dict[str, dict[str, dict[str, Any]]],
) -> Figure:
    """Return the figure.

    Args:
        scenes: the test images with their objects.
        found: the detections of each model.
        names: of the classes.
        bands: the result of `summary`.
    """
    figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100)
    write(figure, 20, 34, "Garments of 14 to 48 pixels, found by a pyramid and by one level", size=15, weight="bold")
    note = f"solid: detections with a score above {SHOWN}, green if the class and the place are right; dotted: missed"
    write(figure, 20, 58, note, size=9, color=PALE)
    for row, (name, outputs) in enumerate(found.items()):
        top = TOP + row * (CELL + GAP)
        write(figure, 20, top + CELL / 2, name.replace(", ", ",\n"), size=9, va="center")
        for k in range(min(COLUMNS, len(scenes.images))):
            axes = picture(figure, LEFT + k * (CELL + GAP), top, scenes.images[k])
            draw_boxes(
                axes, scenes.boxes[k], scenes.classes[k], {key: value[k] for key, value in outputs.items()}, names
            )
    draw_chart(figure, bands)
    return figure


def draw_boxes(
    axes: Axes, boxes: np.ndarray, classes: np.ndarray, found: dict[str, np.ndarray], names: Sequence[str]
) -> None:
    """Draw the detections of an image, and the objects that no right detection overlaps."""
    missed = {k for k, label in enumerate(classes) if label >= 0}
    for box, score, label in zip(found["boxes"], found["scores"], found["classes"]):
        if label < 0 or score < SHOWN:
            continue
        right = [k for k in missed if classes[k] == label and iou(box, boxes[k]) >= 0.5]
        missed -= set(right[:1])
        color = GOOD if right else BAD
        outline(axes, box, color, "-")
        text = f"{names[label]} {score:.2f}"
        y, va = (box[0] - 1, "bottom") if box[0] > 10 else (box[2] + 1, "top")
        axes.text(
            min(box[1], 60),
            y,
            text,
            size=6,
            color="white",
            va=va,
            bbox={"facecolor": color, "edgecolor": "none", "pad": 1},
        )
    for k in missed:
        outline(axes, boxes[k], "white", ":")


def outline(axes: Axes, box: np.ndarray, color: str, style: str) -> None:
    # Pixel i covers i to i + 1 in a box, and i - 0.5 to i + 0.5 on the axes.
    y_min, x_min, y_max, x_max = box - 0.5
    rectangle = Rectangle((x_min, y_min), x_max - x_min, y_max - y_min, fill=False, color=color, ls=style, lw=1.3)
    axes.add_patch(rectangle)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = np.prod(np.maximum(sides, 0))
    return both / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both)


def draw_chart(figure: Figure, bands: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Draw AP50 in bars for each model and band, with the standard deviation of the seeds."""
    write(figure, 20, CHART, "AP50 in percent, by the size of the garment", size=10)
    axes = figure.add_axes((LEFT / WIDTH, 30 / HEIGHT, (WIDTH - LEFT - 20) / WIDTH, 1 - (CHART + 46) / HEIGHT))
    names = list(next(iter(bands.values())))
    width = 0.8 / len(bands)
    for k, ((model, each), color) in enumerate(zip(bands.items(), COLORS)):
        values = [each[band]["AP50"] for band in names]
        x = np.arange(len(names)) + (k - (len(bands) - 1) / 2) * width
        means, spreads = [value["mean"] for value in values], [value["spread"] for value in values]
        axes.bar(x, means, 0.92 * width, yerr=spreads, color=color, label=model, error_kw={"lw": 1, "ecolor": PALE})
        for at, mean, spread in zip(x, means, spreads):
            axes.text(at, mean + spread + 1, f"{mean:.1f}", ha="center", size=9, color=INK)
    axes.set_xticks(range(len(names)), [name if name != "all" else "all sizes" for name in names])
    axes.set_ylim(0, max(1, 1.12 * axes.get_ylim()[1]))
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9, labelcolor=INK, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(PALE)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(bands), fontsize=9, frameon=False)


def picture(figure: Figure, x: float, y: float, image: np.ndarray) -> Axes:
    """Draw an image of CELL pixels with its upper left corner at (x, y)."""
    axes = place(figure, x, y, CELL, CELL)
    axes.imshow(image, interpolation="nearest")
    return axes
