"""show_strides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpyramid.visualize import _lines, _page

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def show_strides(history: Any) -> Figure:
    """Draw learned strides over the steps of training, each labelled with its last value.

    Args:
        history: array [steps, 2] of (s_y, s_x) after each step, for example the stacked values of `layer.strides`; or a
            dict of such arrays by the name of their layer. They may have different numbers of steps.

    Returns:
        A `matplotlib.figure.Figure`, with one line for each stride. s_x is dashed.

    Raises:
        ValueError: if `history` breaks a rule above.
        ImportError: if matplotlib is not installed.

    Example:
        >>> history = [layers.SpectralDownsample2D((2.0, 1.5)).initial_strides for step in range(10)]
        >>> figure = visualize.show_strides(history)
        >>> figure.savefig(os.path.join(folder, "strides.png"))
    """
    lines = _lines_of(history)
    last = max(len(line.values) for line in lines) - 1
    heading = f"Learned strides, {_page.counted(last + 1, 'step')}"
    figure = _lines.draw(lines, heading, "training step", "stride, pixels of the input")
    (axes,) = figure.axes
    if np.ptp(np.concatenate([line.values for line in lines])) < 0.05:  # Do not magnify rounding errors.
        middle = float(lines[0].values[0])
        axes.set_ylim(middle - 0.25, middle + 0.25)
    _lines.label(axes, lines)
    return figure


def _lines_of(history: Any) -> list[_lines.Line]:
    if isinstance(history, Mapping):
        if not history:
            raise ValueError("`history` must hold at least one array of strides. Received: history={}")
        named = [(f"{name} ", values) for name, values in history.items()]
    else:
        named = [("", history)]
    lines = []
    for k, (name, values) in enumerate(named):
        rule = "strides [steps, 2], (s_y, s_x) after each step, or a dict of such arrays"
        array = _page.numbers("history", values, rule)
        if array.ndim != 2 or array.shape[1] != 2 or not len(array):
            which = f"history[{name.strip()!r}]" if name else "history"
            raise ValueError(f"`history` must be {rule}. Received: {which} of shape {array.shape}")
        # The two strides of a layer share its colour; without names each stride has its own.
        for axis, (axis_name, style) in enumerate((("s_y", "-"), ("s_x", "--"))):
            color = _page.COLORS[(k if name else axis) % len(_page.COLORS)]
            lines.append(_lines.Line(f"{name}{axis_name}  {array[-1, axis]:.2f}", array[:, axis], color, style))
    return lines
