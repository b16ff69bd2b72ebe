"""show_level_weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpyramid.visualize import _page, _weights

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def show_level_weights(weights: Any, *, names: Sequence[str] | None = None) -> Figure:
    """Draw how much each level of a pyramid counts: what a selector chose, or what a fusion learned.

    A bar is the weight of a level. For a batch, the bar is the mean over the samples, and a heat map below the bars has
    one row for each sample.

    Args:
        weights: array or tensor with the levels on its last axis: [levels], such as the result of
            `WeightedFusion.weigh()`, or [samples, levels], such as the output of a selector. With `per_channel=True`,
            `weigh()` returns [levels, channels]: transpose it, and the rows are channels.
        names: a list with one name for each level, finest first. None means "level 0", "level 1", ...

    Returns:
        A `matplotlib.figure.Figure`. For a batch, its title counts the samples that give each level the largest weight.

    Raises:
        ValueError: if an argument breaks a rule above.
        ImportError: if matplotlib is not installed.

    Example:
        >>> selector = layers.QueryLevelSelector(num_levels=3)
        >>> weights = selector(tf.random.normal([8, 16]))
        >>> figure = visualize.show_level_weights(weights)
        >>> figure.savefig(os.path.join(folder, "level_weights.png"))
    """
    array = _weights.checked("weights", weights, "weights [levels] or [samples, levels]")
    samples, levels = array.shape
    titles = (
        [f"level {k}" for k in range(levels)] if names is None else _page.names(names, levels, "levels in `weights`")
    )
    heading = f"Weights of {_page.counted(levels, 'level', _weights.MOST)}"
    if samples > 1:
        chosen = np.bincount(array.argmax(axis=1), minlength=levels)
        counts = ", ".join(map(str, chosen)) if levels <= 8 else f"{np.count_nonzero(chosen)} levels"
        heading = f"{heading}, {samples} samples\nlargest weight: {counts}"
    return _weights.draw(array, titles, heading, "level of the pyramid", "weight")
