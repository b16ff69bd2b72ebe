"""The figure of visual_questions.py: the level of each kind of question, and some answers."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure


def draw(levels: dict[str, list[int]], kinds: Sequence[str], sides: Sequence[int], panels: Sequence[dict]) -> Figure:
    """Return the figure.

    Args:
        levels: number of questions at each level, for each kind.
        kinds: rows of the table, in order.
        sides: side of each level in pixels.
        panels: at most twelve of {"image" [64, 64, 3] in 0..1, "question", "answer", "truth", "side"}.
    """
    with matplotlib.rc_context({"font.size": 10, "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(12, 11), dpi=100, layout="constrained")
        top, bottom = figure.subfigures(2, 1, height_ratios=[1, 2.6])
        _table(top.subplots(), levels, kinds, sides)
        for axes, panel in zip(bottom.subplots(3, 4).flat, panels):
            _panel(axes, panel, sides[0])
    return figure


def _table(axes: Any, levels: dict[str, list[int]], kinds: Sequence[str], sides: Sequence[int]) -> None:
    counts = np.array([levels[kind] for kind in kinds], float)
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(sides)), [f"{side} × {side} pixels" for side in sides])
    axes.set_yticks(range(len(kinds)), kinds)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for (row, column), fraction in np.ndenumerate(fractions):
        color = "white" if fraction > 0.5 else "black"
        axes.text(column, row, f"{100 * fraction:.0f} %", ha="center", va="center", color=color)
    axes.set_title("The resolution at which the questions of each kind stop", fontsize=12)


def _panel(axes: Any, panel: dict[str, Any], finest: int) -> None:
    """Draw the image at the chosen resolution, with the question and the answer."""
    side = panel["side"]
    step = finest // side
    pixels = panel["image"].reshape(side, step, side, step, 3).mean(axis=(1, 3))
    axes.imshow(pixels, extent=(0, 1, 0, 1), interpolation="nearest")
    axes.set_axis_off()
    right = panel["answer"] == panel["truth"]
    answer = panel["answer"] if right else f"{panel['answer']} (it is {panel['truth']})"
    lines = [*textwrap.wrap(panel["question"], 28), f"{answer}, at {side} pixels"]
    axes.set_title("\n".join(lines), fontsize=9.5, color="black" if right else "firebrick")
