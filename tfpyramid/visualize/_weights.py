"""Bars, and below them a heat map of one row for each sample. Weights of levels and gates are drawn so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpyramid.visualize import _page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 256  # Bars.
LEFT, TOP, RIGHT, BARS, GAP, BOTTOM = 66, 64, 84, 200, 44, 58  # In pixels.
CHARACTER = 7.2  # Width of a letter of a tick label, in pixels.


def checked(name: str, value: Any, rule: str) -> np.ndarray:
    """Return weights as [samples, weights]; raise unless they are [weights] or [samples, weights]."""
    array = _page.numbers(name, value, rule)
    if array.ndim not in (1, 2) or 0 in array.shape:
        raise ValueError(f"`{name}` must be {rule}. Received: {name} of shape {array.shape}")
    return np.atleast_2d(array)


def draw(
    weights: np.ndarray,
    names: Sequence[str],
    heading: str,
    x_label: str,
    y_label: str,
    *,
    threshold: float | None = None,
) -> Figure:
    """Draw weights [samples, weights]: a bar for the mean of each over the samples, and all of them as a heat map.

    A `threshold` is drawn as a dashed line, and the axis of the bars then covers 0 to 1.
    """
    weights, names = weights[:, :MOST], [_page.short(name) for name in names[:MOST]]
    samples, count = weights.shape
    width = float(np.clip(64 * count, 320, 720))
    rows = float(np.clip(16 * samples, 64, 320)) if samples > 1 else 0.0
    # Half of the first name may reach left of the bars.
    left = max(LEFT, CHARACTER * max(map(len, names)) / 2 - width / count / 2 + 8)
    top = TOP + 20 * heading.count("\n")
    below = top + BARS + GAP  # Where the heat map begins.
    figure = _page.page(left + width + RIGHT, (below + rows if rows else top + BARS) + BOTTOM)
    bars = _page.area(figure, left, top, width, BARS)
    _draw_bars(bars, weights.mean(axis=0), width / count, f"mean {y_label}" if rows else y_label)
    if threshold is not None:
        bars.set_ylim(0, 1.12)
        bars.axhline(threshold, color=_page.INK, linewidth=1, linestyle="--")
    charts = [bars]
    if rows:
        charts.append(_page.area(figure, left, below, width, rows))
        image = _draw_samples(charts[1], weights)
        _page.color_bar(figure, image, _page.area(figure, left + width + 14, below, 14, rows))
    for axes in charts:
        _name_ticks(axes, names, width)
    charts[-1].set_xlabel(x_label, fontsize=10, color=_page.PALE)
    _page.title(figure, left, heading)
    return figure


def _draw_samples(axes: Axes, weights: np.ndarray) -> Any:
    limit = float(np.abs(weights).max())
    low, high, colors = (-limit, limit, _page.SIGNED) if (weights < 0).any() else (0.0, max(limit, 1.0), "Blues")
    image = axes.imshow(weights, cmap=colors, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    axes.set_ylabel("sample", fontsize=10, color=_page.PALE)
    if len(weights) < 8:
        axes.set_yticks(range(len(weights)))  # Samples are whole numbers.
    _page.plain(axes)
    return image


def _draw_bars(axes: Axes, means: np.ndarray, slot: float, y_label: str) -> None:
    axes.bar(range(len(means)), means, width=0.62, color=_page.COLORS[0])
    axes.set_xlim(-0.5, len(means) - 0.5)
    axes.axhline(0, color=_page.PALE, linewidth=0.8)
    axes.margins(y=0.14)
    if slot >= 40:  # The numbers then fit above the bars.
        for k, mean in enumerate(means):
            offset, side = (-3, "top") if mean < 0 else (3, "bottom")
            text = axes.annotate(
                f"{mean:.2f}", (k, mean), (0, offset), textcoords="offset points", ha="center", va=side
            )
            text.set(fontsize=9, color=_page.INK, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})
    axes.set_ylabel(y_label, fontsize=10, color=_page.PALE)
    _page.plain(axes)


def _name_ticks(axes: Axes, names: Sequence[str], width: float) -> None:
    """Name every tick, or every n-th if the names would overlap."""
    step = int(np.ceil((CHARACTER * max(map(len, names)) + 8) * len(names) / width))
    ticks = range(0, len(names), step)
    axes.set_xticks(ticks, [names[k] for k in ticks])
