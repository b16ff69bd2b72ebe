"""show_cost_curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpyramid import _checks
from tfpyramid.visualize import _page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 12
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 640, 400, 78, 60, 56  # In pixels; width and height of the axes.
# An accuracy a is drawn at -log(1 - a + _FLOOR): close to 1, equal distances are equal ratios of errors.
_FLOOR = 1e-3
_TICKS = np.array([0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 1])


def show_cost_curve(curves: Mapping[str, Any]) -> Figure:
    """Draw accuracy against the pixels read, for models that trade one for the other.

    A curve above another reaches the same accuracy with fewer pixels. The x axis is logarithmic. The y axis stretches
    high accuracies, so that 99% and 99.5% are as far apart as 98% and 99%.

    Args:
        curves: from names to the results of `models.cost_curve`, or to any (thresholds, accuracy, pixels). Accuracies
            are from 0 to 1, and pixels greater than 0, both [points]; the function ignores thresholds. A curve of one
            point, such as a level that is always read, is drawn as a marker. At most 12 curves.

    Returns:
        A `matplotlib.figure.Figure`, with a legend of the names in the order of `curves`.

    Raises:
        ValueError: if `curves` breaks a rule above.
        ImportError: if matplotlib is not installed.

    Example:
        >>> curves = {
        ...     "cascade": ([0.99, 0.9, 0.5], [0.86, 0.95, 0.99], [0.02, 0.03, 0.06]),
        ...     "always 16 px": (None, [0.95], [0.0625]),
        ... }
        >>> figure = visualize.show_cost_curve(curves)
        >>> figure.savefig(os.path.join(folder, "cost_curve.png"))
    """
    found = _checked(curves)
    longest = max(len(_page.short(name)) for name in found)
    figure = _page.page(LEFT + WIDTH + 84 + 7.2 * longest, TOP + HEIGHT + BOTTOM)
    axes = _page.area(figure, LEFT, TOP, WIDTH, HEIGHT)
    markers = "osD^vP*Xp<>h"
    for k, (name, (accuracy, pixels)) in enumerate(found.items()):
        color, label = _page.COLORS[k % len(_page.COLORS)], _page.short(name)
        style: dict[str, Any]
        if len(pixels) == 1:
            style = {"linestyle": "none", "marker": markers[k], "markersize": 7}
        else:
            style = {"linestyle": ("-", "--")[k // len(_page.COLORS)], "linewidth": 1.8}
        axes.plot(pixels, accuracy, color=color, label=label, **style)
    _scales(axes, np.concatenate([accuracy for accuracy, _ in found.values()]))
    axes.set_xlabel("pixels read, relative to those of an image", fontsize=10, color=_page.PALE)
    axes.set_ylabel("accuracy, %", fontsize=10, color=_page.PALE)
    axes.grid(color="#e5e7eb")
    axes.set_axisbelow(True)
    _page.plain(axes)
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, fontsize=10, borderaxespad=0)
    _page.title(figure, LEFT, f"Accuracy against pixels, {_page.counted(len(found), 'curve')}")
    return figure


def _scales(axes: Axes, accuracy: np.ndarray) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:.3g}")
    axes.set_yscale(
        "function", functions=(lambda a: -np.log(np.maximum(1 - a, 0) + _FLOOR), lambda y: 1 + _FLOOR - np.exp(-y))
    )
    inside = (accuracy.min() <= _TICKS) & (accuracy.max() >= _TICKS)
    # One tick below the lowest accuracy and one above the highest.
    inside |= np.r_[inside[1:], False] | np.r_[False, inside[:-1]]
    ticks = _TICKS[inside] if inside.any() else _TICKS[np.searchsorted(_TICKS, accuracy.min()) + np.array([-1, 0])]
    axes.set_yticks(ticks, [f"{100 * tick:g}" for tick in ticks])
    axes.set_ylim(ticks[0], ticks[-1])
    axes.yaxis.set_minor_locator(_no_ticks())


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()


def _checked(curves: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rule = f"`curves` must be a dict of 1 to {MOST} curves, from names to (thresholds, accuracy, pixels)"
    if not isinstance(curves, Mapping) or not 1 <= len(curves) <= MOST:
        raise ValueError(f"{rule}. {_checks.received('curves', curves)}")
    found = {}
    for name, curve in curves.items():
        if not isinstance(curve, Sequence) or isinstance(curve, (str, bytes)) or len(curve) != 3:
            raise ValueError(f"{rule}. Received: curves[{name!r}] of type {type(curve).__name__}")
        accuracy = _page.numbers("curves", curve[1], f"{rule}, with accuracies of numbers")
        pixels = _page.numbers("curves", curve[2], f"{rule}, with pixels of numbers")
        if accuracy.ndim != 1 or accuracy.shape != pixels.shape or not len(pixels):
            shapes = f"curves[{name!r}] with accuracy of shape {accuracy.shape} and pixels of shape {pixels.shape}"
            raise ValueError(f"{rule}, both [points]. Received: {shapes}")
        if accuracy.min() < 0 or accuracy.max() > 1 or pixels.min() <= 0:
            ranges = f"accuracy from {accuracy.min():g} to {accuracy.max():g}, pixels from {pixels.min():g}"
            raise ValueError(
                f"{rule}, accuracies from 0 to 1 and pixels greater than 0. Received: curves[{name!r}] with {ranges}"
            )
        found[str(name)] = (accuracy, pixels)
    return found
