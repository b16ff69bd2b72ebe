"""What the pictures share: matplotlib when it is needed, colours, places in pixels, and numbers that can be drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfpyramid import _plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, PALE = "#1f2430", "#6b7280"
# Of Okabe and Ito, 2008: told apart by the colour blind too.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DPI = 100


def page(width: float, height: float) -> Figure:
    """Return an empty figure of so many pixels, which belongs to no window and no global state."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "tfpyramid.visualize draws with matplotlib, which could not be imported: pip install 'tfpyramid[visualize]'"
        ) from error
    return Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")


def area(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    """Add axes with their upper left corner at (x, y), in pixels from that of the figure."""
    across, down = figure.get_size_inches() * DPI
    return figure.add_axes((x / across, 1 - (y + height) / down, width / across, height / down))


def title(figure: Figure, x: float, text: str) -> None:
    """Write the title of the figure, beginning x pixels from the left."""
    across, down = figure.get_size_inches() * DPI
    figure.suptitle(text, x=x / across, y=1 - 16 / down, ha="left", va="top", fontsize=13, color=INK)


def plain(axes: Axes) -> None:
    """Take off what says nothing: the frame on the right and above, and black where grey is enough."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(labelsize=9, color=PALE, labelcolor=PALE)


def numbers(name: str, value: Any, rule: str) -> np.ndarray:
    """Return an array or a tensor as float64, all of it finite; `rule` says what `name` must be."""
    values = value.numpy() if hasattr(value, "numpy") and not isinstance(value, np.ndarray) else value
    if isinstance(values, (np.ndarray, np.generic)) and values.dtype == bool:  # A picture of black and white.
        values = np.uint8(values)
    array = _plain.real_array(values)
    if array is None:
        raise ValueError(f"`{name}` must be {rule}. Received: {name} of type {type(value).__name__}")
    if not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        received = f"{name} of shape {array.shape}, {bad} of them not finite"
        raise ValueError(f"`{name}` must be {rule}, all finite numbers. Received: {received}")
    return array
