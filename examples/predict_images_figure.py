"""The figure of predict_images.py: a random sample of the images with their predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
from matplotlib.figure import Figure
from PIL import Image

INK, PALE, BAR = "#1f2430", "#6b7280", "#2563eb"
COLUMNS, LARGEST = 6, 3  # Images in a row, and the bars of each.


def sample_of(output: Path, count: int, seed: int) -> list[dict[str, Any]]:
    """Return `count` random rows of the results, or all of them if there are fewer."""
    rows = pyarrow.parquet.read_table(output / "results").to_pylist()
    chosen = np.random.default_rng(seed).permutation(len(rows))[:count]
    return [rows[k] for k in chosen]


def draw(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> Figure:
    """Return the figure: each image above the largest values of the first output of the model.

    Args:
        rows: rows of the results.
        names: the name of each value of the output; values beyond it are named by their number.
    """
    lines = max(-(-len(rows) // COLUMNS), 1)
    figure = Figure(figsize=(13, 0.9 + 3.1 * lines), dpi=100, facecolor="white", layout="constrained")
    figure.suptitle("A sample of the predictions", fontsize=17, weight="bold", color=INK)
    grid = figure.subplots(2 * lines, COLUMNS, squeeze=False, height_ratios=[2.4, 1] * lines)
    for axes in grid.flat:
        axes.set_axis_off()
    for k, row in enumerate(rows):
        line, column = divmod(k, COLUMNS)
        draw_image(grid[2 * line, column], row)
        draw_values(grid[2 * line + 1, column], row, names)
    return figure


def draw_image(axes: Any, row: dict[str, Any]) -> None:
    if Path(row["file"]).is_file():  # Files of a cluster may be on another machine.
        axes.imshow(np.asarray(Image.open(row["file"]).convert("RGB")))
    axes.set_title(f"{Path(row['file']).name}, {row['height']} × {row['width']}", fontsize=9, color=PALE)


def draw_values(axes: Any, row: dict[str, Any], names: Sequence[str]) -> None:
    """Draw bars for the largest values of the first output that is a vector of numbers."""
    outputs = [name for name in row if f"{name}/shape" in row and len(row[f"{name}/shape"]) == 1]
    numbers = [name for name in outputs if np.asarray(row[name]).dtype.kind in "fiu"]
    if not numbers:
        return
    values = np.asarray(row[numbers[0]], float)
    largest = np.argsort(values)[::-1][:LARGEST]
    titles = [names[k] if k < len(names) else f"{numbers[0]}[{k}]" for k in largest]
    axes.set_axis_on()
    axes.barh(range(len(largest)), values[largest], color=BAR, height=0.5)
    axes.set_ylim(LARGEST - 0.4, -0.6)
    axes.set_xlim(min(0.0, values.min()), 1.6 * max(values.max(), 1e-6))
    for position, (title, value) in enumerate(zip(titles, values[largest])):
        axes.text(max(value, 0), position, f" {title}, {value:.2f}", va="center", fontsize=9, color=INK, clip_on=False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
