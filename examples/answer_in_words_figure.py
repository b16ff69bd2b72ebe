"""The figure of answer_in_words.py: images, questions about each, and the sentences that the exported model writes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from layout import INK, PALE, place, write
from matplotlib.figure import Figure

WRONG = "#b91c1c"
STYLE = {"ha": "center", "va": "top"}  # Of all texts.
WIDTH, TOP, CELL = 840, 84, 206  # In pixels: the width of the figure, the height of its title, that of a row.
PICTURE, LINE, LETTERS = 112, 17, 26  # In pixels: the side of an image, the height of a line; letters in a line.


def draw(columns: Sequence[Sequence[dict[str, Any]]]) -> Figure:
    """Return the figure.

    Args:
        columns: for each image, panels {"image" [side, side, 3] in 0..1, "question", "answer", "truth", "side"}, where
            "side" is that of the level that the model read.
    """
    rows, across = max(map(len, columns)), WIDTH / len(columns)
    height = TOP + rows * CELL
    figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100)
    write(figure, WIDTH / 2, 14, "One image, three questions", size=14, weight="bold", color=INK, **STYLE)
    note = "each image at the resolution that the model chose for the question"
    write(figure, WIDTH / 2, 42, note, size=9, color=PALE, **STYLE)
    for column, panels in enumerate(columns):
        for row, panel in enumerate(panels):
            middle, y = (column + 0.5) * across, TOP + row * CELL
            axes = place(figure, middle - PICTURE / 2, y, PICTURE, PICTURE, frame=True)
            axes.imshow(_reduced(panel["image"], panel["side"]), interpolation="nearest", vmin=0, vmax=1)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_color("#d1d5db")
            y += PICTURE + 6
            for line in textwrap.wrap(panel["question"], LETTERS):
                write(figure, middle, y, line, size=9, color=PALE, **STYLE)
                y += LINE
            right = panel["answer"] == panel["truth"]
            answer = panel["answer"] if right else f"{panel['answer']} (wrong)"
            for line in textwrap.wrap(answer, LETTERS):
                write(figure, middle, y, line, size=9, color=INK if right else WRONG, weight="bold", **STYLE)
                y += LINE
    return figure


def _reduced(image: Any, side: int) -> Any:
    """Return an image as its mean over squares, [side, side, 3]."""
    step = len(image) // side
    return image.reshape(side, step, side, step, 3).mean(axis=(1, 3))
