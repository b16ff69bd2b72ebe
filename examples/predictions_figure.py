"""A figure of images with their predictions, for predict_images.py and serving/ask.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, PALE, BAR = "#1f2430", "#6b7280", "#2563eb"
COLUMNS, LARGEST = 6, 3  # Images in a row, and bars below each.


class Prediction(NamedTuple):
    """An image [height, width, 3], None if it cannot be read here; its title; and the output, a vector or None."""

    title: str
    image: np.ndarray | None
    values: np.ndarray | None


def draw(title: str, predictions: Sequence[Prediction], classes: Sequence[str]) -> Figure:
    """Return the figure: each image above the largest values of its output.

    Args:
        title: title of the figure.
        predictions: what to draw.
        classes: names of the values of the output; values without a name are numbered.
    """
    lines = max(-(-len(predictions) // COLUMNS), 1)
    figure = Figure(figsize=(13, 0.9 + 3.1 * lines), dpi=100, facecolor="white", layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)
    figure.suptitle(title, fontsize=17, weight="bold", color=INK)
    grid = figure.subplots(2 * lines, COLUMNS, squeeze=False, height_ratios=[2.4, 1] * lines)
    for axes in grid.flat:
        axes.set_axis_off()
    for k, prediction in enumerate(predictions):
        line, column = divmod(k, COLUMNS)
        above, below = grid[2 * line, column], grid[2 * line + 1, column]
        above.set_title(prediction.title, fontsize=9, color=PALE)
        if prediction.image is not None:
            above.imshow(prediction.image)
        if prediction.values is not None:
            draw_values(below, prediction.values, classes)
    return figure


def draw_values(axes: Axes, values: np.ndarray, classes: Sequence[str]) -> None:
    """Draw a bar for each of the largest values."""
    largest: list[Any] = np.argsort(values)[::-1][:LARGEST].tolist()
    span = max(float(values.max()), 1e-6)
    for position, k in enumerate(largest):
        name = classes[k] if k < len(classes) else f"output {k}"
        axes.barh(position, values[k], color=BAR, height=0.75, alpha=0.35)
        axes.text(0.02 * span, position, f"{name}: {values[k]:.2f}", va="center", fontsize=9, color=INK)
    axes.set_ylim(LARGEST - 0.5, -0.5)
    axes.set_xlim(min(0.0, float(values.min())), span)
