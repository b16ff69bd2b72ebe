"""What an image is beyond its border, for any size of at least one sample.

    reflect     d c b | a b c d | c b a      mirror, without the edge sample twice
    symmetric   c b a | a b c d | d c b      mirror, with it
    edge        a a a | a b c d | d d d
    wrap        b c d | a b c d | a b c
    constant    0 0 0 | a b c d | 0 0 0

The names are `numpy.pad`'s. Unlike `tf.pad` a rule keeps mirroring when the extension is longer than the axis, and an
axis of one sample is legal under every rule.
"""

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.ops import portable
from tfpyramid.ops.coordinates import Positions, array_module, to_float
from tfpyramid.ops.shapes import dimensions
from tfpyramid.ops.slicing import read, read_linear

NAMES = ("reflect", "symmetric", "edge", "constant", "wrap")


def check(border: str) -> str:
    """Raise `ValueError` unless `border` is a known rule; return it."""
    return _checks.one_of("border", border, NAMES)


def fold(positions: Positions, size: int | tf.Tensor, border: str) -> Positions:
    """Return where on the axis the signal at `positions` is read, for samples at 0 to size - 1.

    Args:
        positions: any shape, integer or floating, in samples; any value.
        size: at least 1; a number, or a scalar tensor of the dtype of `positions`.
        border: "reflect", "symmetric", "edge" or "wrap". "constant" folds as "edge": its caller puts the zeros.

    Returns:
        The folded positions, between 0 and size - 1 (for "wrap" of a floating position: less than size).
    """
    m = array_module(positions, size)
    size = tf.cast(size, positions.dtype) if tf.is_tensor(positions) else size
    last = size - 1
    if border == "reflect":
        positions = portable.remainder(positions, m.maximum(2 * last, 1))
        positions = m.minimum(positions, 2 * last - positions)
    elif border == "symmetric":
        positions = portable.remainder(positions, 2 * size)
        positions = m.minimum(positions, 2 * size - 1 - positions)
    elif border == "wrap":
        return portable.remainder(positions, size)
    return m.minimum(m.maximum(positions, 0), last)


def extend(
    x: tf.Tensor,
    axis: int,
    before: int,
    after: int,
    border: str,
    *,
    spacing: float = 1.0,
    length: int | tf.Tensor | None = None,
) -> tf.Tensor:
    """Return `x` with `before` and `after` samples more on `axis`, by a border rule.

    The samples of `x` may be those of a coarse level, `spacing` apart on an axis of `length` fine samples. The rule is
    that of the fine axis: a coarse sample beyond the border has the value found, by linear interpolation between the
    coarse samples, at the position the fine axis is folded to.

    Args:
        x: tensor with a non-empty `axis`.
        axis: the axis that grows.
        before: samples to put in front, at least 0.
        after: samples to put behind, at least 0.
        border: one of `NAMES`.
        spacing: distance of two samples of `x`, in samples of the fine axis.
        length: samples of the fine axis; needed where `spacing` is not 1.
    """
    if before == after == 0:
        return x
    if border == "constant":
        return tf.pad(x, [[before, after] if k == axis else [0, 0] for k in range(x.shape.rank)])
    size = dimensions(x)[axis]

    def strip(outside: Positions) -> tf.Tensor:
        if spacing == 1:
            return read(x, axis, fold(outside, size, border))
        return read_linear(x, axis, fold(to_float(outside) * spacing, to_float(length), border) / spacing)

    if tf.is_tensor(size):  # One read for both strips, as each is many operations.
        outside = np.arange(-before, after, dtype=np.int32)
        front, behind = tf.split(strip(size * np.int32(outside >= 0) + outside), [before, after], axis)
        return tf.concat([front, x, behind], axis)
    parts = [strip(np.arange(-before, 0))] if before else []
    parts.append(x)
    parts += [strip(np.arange(size, size + after))] if after else []
    return tf.concat(parts, axis)
