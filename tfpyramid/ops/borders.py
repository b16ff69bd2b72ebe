"""Border rules: how an image is extended beyond its border, for any size of at least one sample.

    reflect     d c b | a b c d | c b a      mirror, without repeating the edge
    symmetric   c b a | a b c d | d c b      mirror, repeating the edge
    edge        a a a | a b c d | d d d
    wrap        b c d | a b c d | a b c
    constant    0 0 0 | a b c d | 0 0 0

The names are those of `numpy.pad`. Unlike in `tf.pad`, an extension may be longer than the axis, which is then mirrored
repeatedly, and every rule accepts an axis of one sample.
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
    """Return the positions inside the axis that the border rule maps `positions` to, for samples at 0 to size - 1.

    Args:
        positions: any shape, integer or floating, in samples; any value.
        size: at least 1; a number, or a scalar tensor of the dtype of `positions`.
        border: "reflect", "symmetric", "edge" or "wrap". "constant" folds like "edge": the caller adds the zeros.

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
    """Return `x` extended on `axis` by `before` and `after` samples, by a border rule.

    The samples of `x` may belong to a coarse level, `spacing` apart on an axis of `length` fine samples. Then the rule
    applies to the fine axis. A coarse sample beyond the border is the linear interpolation of the coarse samples at the
    position that its fine position folds to.

    Args:
        x: tensor with a non-empty `axis`.
        axis: the axis to extend.
        before: number of samples to add before the first, at least 0.
        after: number of samples to add after the last, at least 0.
        border: one of `NAMES`.
        spacing: distance of two samples of `x`, in samples of the fine axis.
        length: number of samples of the fine axis; required if `spacing` is not 1.
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

    if tf.is_tensor(size):  # Read both strips at once, because each read is many operations.
        outside = np.arange(-before, after, dtype=np.int32)
        front, back = tf.split(strip(size * np.int32(outside >= 0) + outside), [before, after], axis)
        return tf.concat([front, x, back], axis)
    parts = [strip(np.arange(-before, 0))] if before else []
    parts.append(x)
    parts += [strip(np.arange(size, size + after))] if after else []
    return tf.concat(parts, axis)
