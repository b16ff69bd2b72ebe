"""Lines over the steps or epochs of training, each labelled at its end. Strides and gradient norms are drawn so."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tfpyramid.visualize import _page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 640, 340, 78, 60, 56  # In pixels; width and height of the axes.
SPACING = 17  # The least distance between the middles of two labels, in pixels.


class Line(NamedTuple):
    label: str
    values: np.ndarray
    color: str
    style: str = "-"


def draw(lines: list[Line], heading: str, x_label: str, y_label: str, *, first: int = 0, log: bool = False) -> Figure:
    """Draw the lines. Their values belong to the steps `first`, `first` + 1, ...; NaN leaves a gap."""
    margin = 44 + 7.2 * max(len(line.label) for line in lines)
    height = max(HEIGHT, SPACING * len(lines))
    figure = _page.page(LEFT + WIDTH + margin, TOP + height + BOTTOM)
    axes = _page.area(figure, LEFT, TOP, WIDTH, height)
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter("")
    else:
        axes.ticklabel_format(axis="y", scilimits=(-2, 3))  # Keeps the tick labels short.
    last = first + max(len(line.values) for line in lines) - 1
    for line in lines:
        steps = np.arange(first, first + len(line.values))
        axes.plot(steps, line.values, line.style, color=line.color, linewidth=1.8, label=line.label)
        axes.plot(steps[-1], line.values[-1], "o", color=line.color, markersize=4.5, clip_on=False, zorder=3)
    axes.set_xlim(first if last > first else first - 1, last)
    axes.margins(y=0.08)
    axes.grid(axis="y", color="#e5e7eb")
    axes.set_axisbelow(True)
    axes.set_xlabel(x_label, fontsize=10, color=_page.PALE)
    axes.set_ylabel(y_label, fontsize=10, color=_page.PALE)
    if last - first < 8:
        axes.set_xticks(range(first, last + 1))  # Steps are whole numbers.
    _page.plain(axes)
    _page.title(figure, LEFT, heading)
    return figure


def label(axes: Axes, lines: list[Line], *, first: int = 0) -> None:
    """Write the labels right of the axes, without overlap. A thin line joins each to the end of its own line."""
    # Labels are spread in pixels, which serves a logarithmic axis as well.
    to_pixels, to_data = axes.transData, axes.transData.inverted()
    low, high = axes.get_ylim()
    ends = [line.values[np.isfinite(line.values)] for line in lines]
    ends = [float(values[-1]) if len(values) else low for values in ends]
    heights = spread(np.array([to_pixels.transform((0, end))[1] for end in ends]))
    left, right = axes.get_xlim()
    leader = {"arrowstyle": "-", "linewidth": 0.7, "shrinkA": 1, "shrinkB": 3, "relpos": (0, 0.5)}
    for line, end, height in zip(lines, ends, heights):
        axes.annotate(
            line.label,
            xy=(first + len(line.values) - 1, end),
            xytext=(right + 26 / WIDTH * (right - left), to_data.transform((0, height))[1]),
            annotation_clip=False,
            va="center",
            fontsize=10,
            color=line.color,
            arrowprops={**leader, "color": line.color},
        )


def spread(heights: np.ndarray) -> np.ndarray:
    """Return heights that are at least `SPACING` apart, in the same order, near the given ones."""
    order = np.argsort(heights, kind="stable")
    spread = heights[order].copy()
    for k in range(1, len(spread)):
        spread[k] = max(spread[k], spread[k - 1] + SPACING)
    # Move each group of touching labels down by half of the distance that it was pushed up.
    start = 0
    for k in range(1, len(spread) + 1):
        if k == len(spread) or spread[k] - spread[k - 1] > SPACING + 1e-9:
            spread[start:k] -= np.mean(spread[start:k] - heights[order][start:k])
            start = k
    for k in range(1, len(spread)):
        spread[k] = max(spread[k], spread[k - 1] + SPACING)
    result = np.empty_like(spread)
    result[order] = spread
    return result
