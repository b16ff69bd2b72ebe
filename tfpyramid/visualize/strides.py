"""show_strides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfpyramid.visualize import _page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 640, 340, 66, 60, 56  # In pixels; width and height of the axes.
SPACING = 17  # Of two labels.


class _Line(NamedTuple):
    label: str
    values: np.ndarray
    color: str
    style: str


def show_strides(history: Any) -> Figure:
    """Draw learned strides over the steps of training, with the value each of them ends at.

    Args:
        history: array [steps, 2], (s_y, s_x) after each step, such as the stacked `layer.strides`; or arrays by name,
            one for each layer, of as many steps as there are.

    Returns:
        A figure, for `savefig`: a line for each stride, labelled at its end; s_x is dashed.

    Raises:
        ValueError: if `history` breaks a rule above.
        ImportError: if there is no matplotlib.

    Example:
        >>> history = [layers.SpectralDownsample2D((2.0, 1.5)).initial_strides for step in range(10)]
        >>> figure = visualize.show_strides(history)
        >>> figure.savefig(os.path.join(folder, "strides.png"))
    """
    lines = _lines(history)
    margin = 44 + 7.2 * max(len(line.label) for line in lines)
    figure = _page.page(LEFT + WIDTH + margin, TOP + HEIGHT + BOTTOM)
    axes = _page.area(figure, LEFT, TOP, WIDTH, HEIGHT)
    last = max(len(line.values) for line in lines) - 1
    for line in lines:
        steps = np.arange(len(line.values))
        axes.plot(steps, line.values, line.style, color=line.color, linewidth=1.8, label=line.label)
        axes.plot(steps[-1], line.values[-1], "o", color=line.color, markersize=4.5, clip_on=False, zorder=3)
    axes.set_xlim(0 if last else -1, last)
    axes.margins(y=0.08)
    if np.ptp(np.concatenate([line.values for line in lines])) < 0.05:  # Not rounding errors, as tall as the axes.
        middle = float(lines[0].values[0])
        axes.set_ylim(middle - 0.25, middle + 0.25)
    axes.grid(axis="y", color="#e5e7eb")
    axes.set_axisbelow(True)
    axes.set_xlabel("training step", fontsize=10, color=_page.PALE)
    axes.set_ylabel("stride", fontsize=10, color=_page.PALE)
    if last < 8:
        axes.set_xticks(range(last + 1))  # Steps are whole.
    _page.plain(axes)
    _page.title(figure, LEFT, f"Learned strides, {last + 1} step{'s' if last else ''}")
    _label(axes, lines)
    return figure


def _lines(history: Any) -> list[_Line]:
    if isinstance(history, Mapping):
        if not history:
            raise ValueError("`history` must hold at least one array of strides. Received: history={}")
        named = [(f"{name} ", values) for name, values in history.items()]
    else:
        named = [("", history)]
    lines = []
    for k, (name, values) in enumerate(named):
        rule = "strides [steps, 2], (s_y, s_x) after each step, or a dict of such by name"
        array = _page.numbers("history", values, rule)
        if array.ndim != 2 or array.shape[1] != 2 or not len(array):
            which = f"{name.strip()!r} " if name else "history "
            raise ValueError(f"`history` must be {rule}. Received: {which}of shape {array.shape}")
        # A pair of lines has the colour of its name; without names, each has its own.
        for axis, (axis_name, style) in enumerate((("s_y", "-"), ("s_x", "--"))):
            color = _page.COLORS[(k if name else axis) % len(_page.COLORS)]
            lines.append(_Line(f"{name}{axis_name}  {array[-1, axis]:.2f}", array[:, axis], color, style))
    return lines


def _label(axes: Axes, lines: list[_Line]) -> None:
    """Write the labels to the right, apart from each other, each with a thin line from the end of its own."""
    low, high = axes.get_ylim()
    places = _apart(np.array([(line.values[-1] - low) / (high - low) * HEIGHT for line in lines]))
    left, right = axes.get_xlim()
    leader = {"arrowstyle": "-", "linewidth": 0.7, "shrinkA": 1, "shrinkB": 3, "relpos": (0, 0.5)}
    for line, place in zip(lines, places):
        y = low + place / HEIGHT * (high - low)
        axes.annotate(
            line.label,
            xy=(len(line.values) - 1, line.values[-1]),
            xytext=(right + 26 / WIDTH * (right - left), y),
            annotation_clip=False,
            va="center",
            fontsize=10,
            color=line.color,
            arrowprops={**leader, "color": line.color},
        )


def _apart(places: np.ndarray) -> np.ndarray:
    """Return heights at least `SPACING` apart, in the same order, near the given ones."""
    order = np.argsort(places, kind="stable")
    spread = places[order].copy()
    for k in range(1, len(spread)):
        spread[k] = max(spread[k], spread[k - 1] + SPACING)
    # Groups that were pushed up come down by half of what they were pushed.
    start = 0
    for k in range(1, len(spread) + 1):
        if k == len(spread) or spread[k] - spread[k - 1] > SPACING + 1e-9:
            spread[start:k] -= np.mean(spread[start:k] - places[order][start:k])
            start = k
    for k in range(1, len(spread)):
        spread[k] = max(spread[k], spread[k - 1] + SPACING)
    result = np.empty_like(spread)
    result[order] = spread
    return result
