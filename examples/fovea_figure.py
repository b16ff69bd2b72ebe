"""The figure of fovea.py: scenes with the fixations, the crops that were read there, and the accuracies."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from fashion_mnist import GARMENTS
from fovea_data import Scenes, as_floats
from fovea_models import CROP, Fovea
from layout import INK, PALE, place, write
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tfpyramid import layers

GOOD, BAD = "#15803d", "#c2410c"
SHOWN, FIXATIONS = 3, 3
WIDTH, HEIGHT = 1000, 760  # The page, in pixels.
LEFT, TOP, SIDE, GAP = 40, 110, 300, 10  # The scenes.
CROPS = 92  # Side of a crop.


def draw(fovea: Fovea, scenes: Scenes, numbers: dict[str, Any], side: int) -> Figure:
    """Return the figure of three scenes, with the table of the numbers below them."""
    images, labels, _ = scenes.several(SHOWN, side, seed=12345)
    images = as_floats(images)
    fixations, scores = fovea.places(FIXATIONS)(images)
    (crops,) = layers.FoveatedPyramid(CROP, num_levels=1)([images, fixations])
    logits = np.asarray(fovea.reader(crops))
    weights = np.asarray(tf.nn.softmax(scores))
    answers = np.argmax(layers.SoftmaxMixture()([logits, scores]), axis=1)

    figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100)
    write(figure, LEFT, 48, "Which garment is in the green frame?", size=21, weight="bold")
    note = f"Scenes of {side} × {side} pixels, their {FIXATIONS} most promising places, and what is read there"
    write(figure, LEFT, 78, note, size=12, color=PALE)
    for k in range(SHOWN):
        x = LEFT + k * (SIDE + GAP)
        axes = place(figure, x, TOP, SIDE, SIDE)
        axes.imshow(images[k])
        for n, (row, column) in enumerate(side * np.asarray(fixations[k]), start=1):
            corner = (column - CROP / 2, row - CROP / 2)
            axes.add_patch(Rectangle(corner, CROP, CROP, fill=False, edgecolor="white", linewidth=1.6))
            axes.text(*corner, f" {n}", color="white", size=10, weight="bold", va="bottom")
        axes.set_xlim(0, side)
        axes.set_ylim(side, 0)
        for n in range(FIXATIONS):
            left = x + n * (CROPS + 12)
            place(figure, left, TOP + SIDE + 12, CROPS, CROPS).imshow(np.clip(crops[k, n], 0, 1))
            text = f"{n + 1}: {GARMENTS[logits[k, n].argmax()]} {100 * weights[k, n]:.0f} %"
            write(figure, left, TOP + SIDE + CROPS + 28, text, size=9)
        color = GOOD if answers[k] == labels[k] else BAD
        answer = f"answer: {GARMENTS[answers[k]]}; truth: {GARMENTS[labels[k]]}"
        write(figure, x, TOP + SIDE + CROPS + 50, answer, color, size=11, weight="bold")
    draw_table(figure, numbers, TOP + SIDE + CROPS + 84)
    return figure


def draw_table(figure: Figure, numbers: dict[str, Any], top: float) -> None:
    columns = (LEFT, 330, 510, 690)
    for x, text in zip(columns, ("network", "accuracy", "pixels read", "times as fast")):
        write(figure, x, top, text, PALE, size=11)
    totals = numbers["summary"]
    for k, (name, (mean, spread)) in enumerate(totals["accuracy"].items(), start=1):
        speed = totals["times as fast"][name][0]
        row = (name, f"{mean:.1f} ± {spread:.1f} %", f"{100 * numbers['pixels'][name]:.1f} %", f"{speed:.1f}")
        for x, text in zip(columns, row):
            write(figure, x, top + 21 * k, text, INK, size=11, weight="bold" if name.startswith("fovea") else "normal")
