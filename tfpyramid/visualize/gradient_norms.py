"""show_gradient_norms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpyramid.visualize import _lines, _page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PREFIX = "gradient_norm/"
MOST = 24


def show_gradient_norms(history: Mapping[str, Any]) -> Figure:
    """Draw the gradient norm of each level over the epochs of a training that `PyramidMonitor` watched.

    The norm of a level is the length of the gradient of the loss, for the weights that lead to that level. A level with
    a norm that is far above or below the others learns at another pace. The y axis is logarithmic if all norms are
    positive and the largest is at least ten times the smallest.

    Args:
        history: the `history` of what `fit` returns, a dict of lists. The function draws the keys
            "gradient_norm/LAYER/level_k" and "gradient_norm/LAYER/shared", which
            `tfpyramid.training.PyramidMonitor(sample=...)` adds, and ignores all others.

    Returns:
        A `matplotlib.figure.Figure`, with one line for each level, labelled with its last norm. A norm that is NaN or
        infinite leaves a gap, and the title counts such norms. It shows at most 24 lines; if there are more, its title
        says so.

    Raises:
        ValueError: if `history` breaks a rule above, for example if it holds no gradient norms.
        ImportError: if matplotlib is not installed.

    Example:
        >>> history = {
        ...     "loss": [0.9, 0.5, 0.4],
        ...     "gradient_norm/pyramid/level_1": [0.8, 0.4, 0.3],
        ...     "gradient_norm/pyramid/level_2": [0.2, 0.1, 0.1],
        ... }
        >>> figure = visualize.show_gradient_norms(history)
        >>> figure.savefig(os.path.join(folder, "gradient_norms.png"))
    """
    norms = _norms(history)
    drawn = dict(list(norms.items())[:MOST])
    layers = {name.rpartition("/")[0] for name in drawn}
    lines = []
    for k, (name, values) in enumerate(drawn.items()):
        layer, _, level = name.rpartition("/")
        level = level.replace("_", " ")
        level = level if len(layers) == 1 else f"{_page.short(layer)}, {level}"
        # The line style tells apart lines of the same colour.
        style = ("-", "--", "-.", ":")[k // len(_page.COLORS)]
        color = _page.COLORS[k % len(_page.COLORS)]
        shown = np.where(np.isfinite(values), values, np.nan)
        lines.append(_lines.Line(f"{level}  {values[-1]:.2g}", shown, color, style))
    finite = np.concatenate([line.values[np.isfinite(line.values)] for line in lines])
    log = bool(finite.size and 0 < finite.min() <= finite.max() / 10)
    heading = _heading(norms, next(iter(layers)) if len(layers) == 1 else "")
    figure = _lines.draw(lines, heading, "epoch", "gradient norm", first=1, log=log)
    _lines.label(figure.axes[0], lines, first=1)
    return figure


def _norms(history: Any) -> dict[str, np.ndarray]:
    """Return the norms by "LAYER/level_k", each an array [epochs]."""
    rule = f"a dict with keys '{PREFIX}LAYER/level_k', as `fit` returns it with `PyramidMonitor(sample=...)`"
    if not isinstance(history, Mapping):
        hint = ". Pass its attribute `history`" if isinstance(getattr(history, "history", None), Mapping) else ""
        raise ValueError(f"`history` must be {rule}{hint}. Received: history of type {type(history).__name__}")
    found = {key: values for key, values in history.items() if isinstance(key, str) and key.startswith(PREFIX)}
    if not found:
        raise ValueError(f"`history` must be {rule}. Received: history with the keys {[*map(str, history)][:8]}")
    norms = {}
    for key, values in found.items():
        array = _page.numbers("history", values, f"{rule}, each with a list of one norm for each epoch", finite=False)
        if array.ndim != 1 or not len(array) or (array < 0).any():
            expected = "each with a list of one norm for each epoch, at least 0"
            low = f", least {array.min():g}" if array.ndim == 1 and len(array) else ""
            raise ValueError(
                f"`history` must be {rule}, {expected}. Received: history[{key!r}] of shape {array.shape}{low}"
            )
        norms[key[len(PREFIX) :]] = array
    return norms


def _heading(norms: dict[str, np.ndarray], layer: str) -> str:
    epochs = max(map(len, norms.values()))
    heading = f"Gradient norms{layer and ' of ' + _page.short(layer)}, {_page.counted(epochs, 'epoch')}"
    if len(norms) > MOST:
        heading += f", {_page.counted(len(norms), 'level', MOST)}"
    bad = sum(int((~np.isfinite(values)).sum()) for values in norms.values())
    return f"{heading}, {bad} not finite" if bad else heading
