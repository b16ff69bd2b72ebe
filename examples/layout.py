"""Positions in pixels of a figure, from its upper left corner, for the figures of the examples."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, PALE = "#1f2430", "#6b7280"


def place(figure: Figure, x: float, y: float, width: float, height: float, *, frame: bool = False) -> Axes:
    """Return axes with their upper left corner at (x, y), in pixels of the figure."""
    pixels_wide, pixels_high = 100 * figure.get_size_inches()
    axes = figure.add_axes((x / pixels_wide, 1 - (y + height) / pixels_high, width / pixels_wide, height / pixels_high))
    if not frame:
        axes.set_axis_off()
    return axes


def write(figure: Figure, x: float, y: float, text: str, color: str = INK, **style: object) -> None:
    pixels_wide, pixels_high = 100 * figure.get_size_inches()
    figure.text(x / pixels_wide, 1 - y / pixels_high, text, color=color, **style)
