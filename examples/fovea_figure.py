"""The figure of fovea.py: where the fovea looked, what it saw there, and the accuracy of all networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from fovea_models import LEVELS, SIZE
from layout import INK, PALE, place, write
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tfpyramid import ops, visualize

GOOD, BAD = "#15803d", "#c2410c"
COLORS = ("#1f2430", "#9ca3af", "#2563eb", "#2563eb", "#2563eb")  # Of the networks, in the chart.
SHOWN = 3  # Scenes.
WIDTH = 840  # Of the page, in pixels.
LEFT, ACROSS = 24, 260  # The first scene, and from one to the next, in the drawing of `show_fixations`.
CROP, GAP = 72, 12
CHART = 170  # Height of the chart.


def draw(scenes: Any, answers: dict[str, np.ndarray], names: Sequence[str], table: dict[str, dict[str, Any]]) -> Figure:
    """Return the figure.

    Args:
        scenes: the scenes that were asked about, at least those of the answers.
        answers: of a fovea: "logits" and "fixations".
        names: of the classes.
        table: the result of `summary`.
    """
    images = scenes.images[:SHOWN].astype(np.float32) / 255
    fixations = answers["fixations"][:SHOWN]
    drawn = pixels_of(visualize.show_fixations(images, fixations, SIZE, LEVELS))
    crops = ops.foveated_pyramid(images, tf.constant(fixations), SIZE, LEVELS, border="edge")[0].numpy()
    top = 70 + drawn.shape[0]
    chart = top + CROP + 84
    height = chart + CHART + 34
    figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100)
    write(figure, LEFT, 34, "What is in the green frame? A fovea looks for it", size=15, weight="bold")
    note = "top: photographs of the test; below: the finest crop around each fixation, and the answer"
    write(
        figure,
        LEFT,
        58,
        note.replace("of the test", f"of {images.shape[1]} × {images.shape[2]} pixels"),
        size=9,
        color=PALE,
    )
    place(figure, 0, 66, drawn.shape[1], drawn.shape[0]).imshow(drawn, interpolation="nearest", aspect="auto")
    for k in range(len(images)):
        left = LEFT + k * ACROSS
        for n, crop in enumerate(crops[k]):
            axes = place(figure, left + n * (CROP + GAP), top + 14, CROP, CROP)
            axes.imshow(crop.clip(0, 1), interpolation="nearest")
            axes.set_title(str(n + 1), loc="left", fontsize=8, color=PALE, pad=2)
        answer, truth = names[answers["logits"][k].argmax()], names[scenes.classes[k]]
        text = answer if answer == truth else f"{answer} (it is a {truth})"
        write(figure, left, top + CROP + 34, text, GOOD if answer == truth else BAD, size=10)
    write(figure, LEFT, chart - 8, "Accuracy in percent, and the fraction of the pixels that is read", size=10)
    axes = place(figure, 180, chart, WIDTH - 180 - 150, CHART, frame=True)
    draw_chart(axes, table)
    return figure


def pixels_of(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :WIDTH, :3]


def draw_chart(axes: Any, table: dict[str, dict[str, Any]]) -> None:
    """Draw a bar for each network, with the standard deviation of the seeds."""
    rows = list(table.values())
    means, spreads = ([row["accuracy"][key] for row in rows] for key in ("mean", "spread"))
    axes.barh(range(len(rows)), means, 0.7, xerr=spreads, color=COLORS, error_kw={"lw": 1, "ecolor": PALE})
    for k, (row, mean, spread) in enumerate(zip(rows, means, spreads)):
        axes.text(
            mean + spread + 1, k, f"{mean:.1f}, {row['pixels']:.3g} of the pixels", va="center", size=9, color=INK
        )
    axes.set_yticks(range(len(rows)), list(table))
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.tick_params(labelsize=9, labelcolor=INK, length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(PALE)
