"""Shared by all figures: the import of matplotlib, the style, layout in pixels, and the checks of arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpyramid import _checks, _plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, PALE = "#1f2430", "#6b7280"
# The palette of Okabe and Ito, 2008, which colour-blind readers can tell apart.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
SIGNED = "RdBu_r"  # The colour map of values about zero: red above, blue below.
DPI = 100
LONGEST_NAME = 22  # Characters.


def page(width: float, height: float) -> Figure:
    """Return an empty figure, with its size in pixels. It is not registered with pyplot, so it cannot leak."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "tfpyramid.visualize requires matplotlib, which cannot be imported: pip install 'tfpyramid[visualize]'"
        ) from error
    return Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")


def area(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    """Add axes. (x, y) is their upper left corner, in pixels from the upper left corner of the figure."""
    across, down = figure.get_size_inches() * DPI
    return figure.add_axes((x / across, 1 - (y + height) / down, width / across, height / down))


def title(figure: Figure, x: float, text: str) -> None:
    """Write the title of the figure, starting x pixels from the left edge."""
    across, down = figure.get_size_inches() * DPI
    figure.suptitle(text, x=x / across, y=1 - 16 / down, ha="left", va="top", fontsize=13, color=INK)


def plain(axes: Axes) -> None:
    """Remove the right and the upper spine, and draw the others, the ticks and their labels in grey."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    grey_ticks(axes)


def grey_ticks(axes: Axes) -> None:
    """Draw the ticks and their labels in grey."""
    axes.tick_params(labelsize=9, color=PALE, labelcolor=PALE)


def bare(axes: Axes) -> None:
    """Frame an image with a grey line, without ticks."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(PALE)


def color_bar(figure: Figure, image: Any, axes: Axes, **options: Any) -> None:
    """Draw the colour bar of an image in `axes`."""
    figure.colorbar(image, cax=axes, **options).outline.set_edgecolor(PALE)
    grey_ticks(axes)


def numbers(name: str, value: Any, rule: str, *, finite: bool = True) -> np.ndarray:
    """Return an array or a tensor as float64. `rule` says what `name` must be; `finite` refuses NaN and infinity."""
    values = value.numpy() if hasattr(value, "numpy") and not isinstance(value, np.ndarray) else value
    if isinstance(values, (np.ndarray, np.generic)) and values.dtype == bool:  # A black-and-white image.
        values = np.uint8(values)
    array = _plain.real_array(values)
    if array is None:
        raise ValueError(f"`{name}` must be {rule}. Received: {name} of type {type(value).__name__}")
    if finite and not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        received = f"{name} of shape {array.shape}, {bad} of them not finite"
        raise ValueError(f"`{name}` must be {rule}, all finite numbers. Received: {received}")
    return array


def names(value: Any, count: int, what: str, name: str = "names") -> list[str]:
    """Return `count` names as texts; `what` is the plural of the things that they name."""
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)) or len(value) != count:
        rule = f"`{name}` must be a list of {count}, one for each of the {what}."
        raise ValueError(f"{rule} {_checks.received(name, value)}")
    return [str(each) for each in value]


def short(text: str) -> str:
    """Return a text of at most `LONGEST_NAME` characters."""
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"


def counted(count: int, what: str, most: int | None = None) -> str:
    """Return how many there are: "1 kernel", "3 kernels"; with `most` at most drawn, "the first 16 of 17 kernels"."""
    if most is not None and count > most:
        return f"the first {most} of {count} {what}s"
    return f"1 {what}" if count == 1 else f"{count} {what}s"


def unit_range(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return values from 0 to 1 unchanged; otherwise map the range of all the images together to 0 to 1."""
    low = min((image.min() for image in images), default=0.0)
    high = max((image.max() for image in images), default=1.0)
    if low >= 0 and high <= 1:
        return [*images]
    return [(image - low) / max(high - low, np.finfo(float).tiny) for image in images]
