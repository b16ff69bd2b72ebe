"""What an image is beyond its border, for any size of at least one sample.

    reflect     d c b | a b c d | c b a      mirror, without the edge sample twice
    symmetric   c b a | a b c d | d c b      mirror, with it
    edge        a a a | a b c d | d d d
    wrap        b c d | a b c d | a b c
    constant    0 0 0 | a b c d | 0 0 0

The names are `numpy.pad`'s. Unlike `tf.pad` a rule keeps mirroring when the extension is longer than the axis, and an
axis of one sample is legal under every rule.
"""

import tensorflow as tf

from tfpyramid import _checks

NAMES = ("reflect", "symmetric", "edge", "constant", "wrap")


def check(border: str) -> str:
    """Raise `ValueError` unless `border` is a known rule; return it."""
    return _checks.one_of("border", border, NAMES)


def fold(positions: tf.Tensor, size: tf.Tensor, border: str) -> tf.Tensor:
    """Return where on the axis the signal at `positions` is read, for samples at 0 to size - 1.

    Args:
        positions: any shape, integer or floating, in samples; any value.
        size: scalar of the same dtype, at least 1.
        border: "reflect", "symmetric", "edge" or "wrap". "constant" folds as "edge": its caller puts the zeros.

    Returns:
        The folded positions, between 0 and size - 1 (for "wrap" of a floating position: less than size).
    """
    zero, last = tf.zeros_like(size), size - 1
    if border == "reflect":
        period = tf.maximum(2 * last, 1)
        positions = tf.math.floormod(positions, period)
        positions = tf.minimum(positions, 2 * last - positions)
    elif border == "symmetric":
        positions = tf.math.floormod(positions, 2 * size)
        positions = tf.minimum(positions, 2 * size - 1 - positions)
    elif border == "wrap":
        return tf.math.floormod(positions, size)
    return tf.clip_by_value(positions, zero, last)


def extend(
    x: tf.Tensor,
    axis: int,
    before: int,
    after: int,
    border: str,
    *,
    spacing: float = 1.0,
    length: tf.Tensor | None = None
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
    size = tf.shape(x)[axis]

    def strip(start: tf.Tensor, count: int) -> tf.Tensor:
        outside = start + tf.range(count)
        if border == "constant":
            return tf.zeros_like(tf.gather(x, tf.zeros_like(outside), axis=axis))
        if spacing == 1:
            return tf.gather(x, fold(outside, size, border), axis=axis)
        fine = fold(tf.cast(outside, tf.float64) * spacing, tf.cast(length, tf.float64), border)
        return read_linear(x, axis, fine / spacing)

    parts = [strip(tf.constant(-before), before)] if before else []
    parts.append(x)
    parts += [strip(size, after)] if after else []
    return tf.concat(parts, axis) if len(parts) > 1 else x


def read_linear(x: tf.Tensor, axis: int, positions: tf.Tensor) -> tf.Tensor:
    """Return `x` at float64 `positions` on `axis`, linear between samples and constant beyond the last of them."""
    last = tf.shape(x)[axis] - 1
    positions = tf.clip_by_value(positions, 0, tf.cast(last, positions.dtype))
    low = tf.cast(tf.floor(positions), tf.int32)
    # Not low + 1: at a sample, what is beside it would come in with the weight 0, and 0 times NaN is NaN.
    high = tf.cast(tf.math.ceil(positions), tf.int32)
    shape = [1] * x.shape.rank
    shape[axis] = -1
    share = tf.reshape(tf.cast(positions - tf.cast(low, positions.dtype), x.dtype), shape)
    return tf.gather(x, low, axis=axis) * (1 - share) + tf.gather(x, high, axis=axis) * share
