"""show_gates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfpyramid.visualize import _page, _weights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OPEN = 0.5


def show_gates(gates: Any, *, names: Sequence[str] | None = None) -> Figure:
    """Draw how far each gate of a layer is open, from 0 (closed) to 1 (open).

    A bar is a gate. For a batch, the bar is the mean over the samples, and a heat map below the bars has one row for
    each sample. Gates that are equal for all samples, as those of `AdaptiveDepthPyramid`, are drawn once, without a
    heat map. The dashed line is 0.5, the threshold that `hard=True` applies to each sigmoid.

    Args:
        gates: array or tensor [gates] or [samples, gates], from 0 to 1: the second output of `AdaptiveDepthPyramid`,
            with a gate for each level, or the result of `ChannelAdaptiveDownsample2D.gates(images)`, with a gate for
            each channel.
        names: a list with one name for each gate. None means "0", "1", ...

    Returns:
        A `matplotlib.figure.Figure`. Its title counts the gates that are open, with a mean of at least 0.5. It shows at
        most 256 gates; if there are more, its title says so.

    Raises:
        ValueError: if an argument breaks a rule above.
        ImportError: if matplotlib is not installed.

    Example:
        >>> levels, gates = layers.AdaptiveDepthPyramid(3)(tf.random.uniform([2, 33, 47, 3]))
        >>> figure = visualize.show_gates(gates, names=["level 0", "level 1", "level 2"])
        >>> figure.savefig(os.path.join(folder, "gates.png"))
    """
    rule = "gates [gates] or [samples, gates], from 0 to 1"
    array = _weights.checked("gates", gates, rule)
    if array.min() < 0 or array.max() > 1:
        received = f"gates from {array.min():g} to {array.max():g}"
        raise ValueError(f"`gates` must be {rule}. Received: {received}")
    if (array == array[:1]).all():
        array = array[:1]
    samples, count = array.shape
    titles = [*map(str, range(count))] if names is None else _page.names(names, count, "gates in `gates`")
    is_open = int((array.mean(axis=0) >= OPEN).sum())
    heading = f"{is_open} of {_page.counted(count, 'gate')} open"
    if samples > 1:
        heading += f" on average, {samples} samples"
    if count > _weights.MOST:
        heading += f"; drawn: the first {_weights.MOST}"
    return _weights.draw(array, titles, heading, "gate", "gate, 0 to 1", threshold=OPEN)
