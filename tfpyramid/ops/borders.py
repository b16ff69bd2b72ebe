"""What an image is beyond its border, for any size of at least one sample.

    reflect     d c b | a b c d | c b a      mirror, without the edge sample twice
    symmetric   c b a | a b c d | d c b      mirror, with it
    edge        a a a | a b c d | d d d
    wrap        b c d | a b c d | a b c
    constant    0 0 0 | a b c d | 0 0 0

The names are `numpy.pad`'s. Unlike `tf.pad` a rule keeps mirroring when the extension is longer than the axis, and an
axis of one sample is legal under every rule.
"""

import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Union

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.ops import portable

NAMES = ("reflect", "symmetric", "edge", "constant", "wrap")

# What counts places on an axis: NumPy's where the size is known when the operation is called, else TensorFlow's.
Places = Union[np.ndarray, tf.Tensor]


def check(border: str) -> str:
    """Raise `ValueError` unless `border` is a known rule; return it."""
    return _checks.one_of("border", border, NAMES)


def dimensions(x: tf.Tensor) -> list[int | tf.Tensor]:
    """Return the sizes of all axes, each an int where it is known and else a scalar int32 tensor."""
    known = x.shape.as_list()
    if None not in known:
        return known
    return [dynamic if n is None else n for n, dynamic in zip(known, tf.unstack(tf.shape(x)))]


def places(count: int | tf.Tensor) -> Places:
    """Return 0, 1, ... count - 1 in float64."""
    return tf.range(real(count)) if tf.is_tensor(count) else np.arange(count, dtype=np.float64)


def indices(count: int | tf.Tensor) -> Places:
    """Return 0, 1, ... count - 1 as whole numbers."""
    return tf.range(count) if tf.is_tensor(count) else np.arange(count)


def real(count: int | Places) -> int | Places:
    """Return whole numbers in a form that float64 places can be compared with."""
    return tf.cast(count, portable.place_dtype()) if tf.is_tensor(count) else count


def mathematics(*values: Places | int) -> ModuleType:
    """Return `numpy` where all values are known, so that a graph gets but constants of them, else `tf.math`."""
    return tf.math if any(tf.is_tensor(value) for value in values) else np


def fold(positions: Places, size: int | tf.Tensor, border: str) -> Places:
    """Return where on the axis the signal at `positions` is read, for samples at 0 to size - 1.

    Args:
        positions: any shape, integer or floating, in samples; any value.
        size: at least 1; a number, or a scalar tensor of the dtype of `positions`.
        border: "reflect", "symmetric", "edge" or "wrap". "constant" folds as "edge": its caller puts the zeros.

    Returns:
        The folded positions, between 0 and size - 1 (for "wrap" of a floating position: less than size).
    """
    m = mathematics(positions, size)
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

    def strip(outside: Places) -> tf.Tensor:
        if spacing == 1:
            return read(x, axis, fold(outside, size, border))
        return read_linear(x, axis, fold(real(outside) * spacing, real(length), border) / spacing)

    if tf.is_tensor(size):  # One read for both strips, as each is many operations.
        outside = np.arange(-before, after, dtype=np.int32)
        front, behind = tf.split(strip(size * np.int32(outside >= 0) + outside), [before, after], axis)
        return tf.concat([front, x, behind], axis)
    parts = [strip(np.arange(-before, 0))] if before else []
    parts.append(x)
    parts += [strip(np.arange(size, size + after))] if after else []
    return tf.concat(parts, axis)


def ends(x: tf.Tensor, axis: int, count: int, step: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return x, and an axis of it without its middle: at least `count` samples of either end, or all there are.

    A multiple of `step` is left out, so that a step of that factor finds at the border of the ends what it finds at the
    border of x. What is returned as x is to be read from here on: the gradients of both then meet here, and that of the
    ends is added where it belongs, when the gradient of a slice would fill zeros as large as x.
    """

    def parts(x: tf.Tensor) -> list[tuple[int | tf.Tensor, int | tf.Tensor]]:
        size = dimensions(x)[axis]
        least, most = (tf.minimum, tf.maximum) if tf.is_tensor(size) else (min, max)
        first, omitted = least(count, size), most(size - 2 * count, 0) // step * step
        return [(0, first), (first + omitted, size - first - omitted)]

    @tf.custom_gradient
    def run(x: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable]:
        both = tf.concat([samples(x, axis, *part) for part in parts(x)], axis)

        def grad(to_x: tf.Tensor, to_ends: tf.Tensor) -> tf.Tensor:
            # What comes back may have lost its shape on the way.
            to_x, to_ends = tf.ensure_shape(to_x, x.shape), tf.ensure_shape(to_ends, both.shape)
            return _add(to_x, axis, parts(to_x), to_ends)

        return (tf.identity(x), both), grad

    return run(x)


def _add(x: tf.Tensor, axis: int, parts: Sequence[tuple[int | tf.Tensor, int | tf.Tensor]], y: tf.Tensor) -> tf.Tensor:
    """Return x with y added to some parts of an axis, each a first sample and a count, in place where it can be."""
    shape = dimensions(x)
    # In two axes: each of more takes its time for every sample.
    lines, sample = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    x = tf.reshape(x, [lines, shape[axis] * sample])
    for (first, count), part in zip(parts, tf.split(y, [count for _, count in parts], axis)):
        begin, count = first * sample, count * sample
        x = tf.raw_ops.TensorStridedSliceUpdate(
            input=x,
            begin=[0, begin],
            end=[0, begin + count],
            strides=[1, 1],
            value=samples(x, 1, begin, count) + tf.reshape(part, [lines, count]),
            begin_mask=1,
            end_mask=1,
        )
    return tf.reshape(x, shape)


def samples(x: tf.Tensor, axis: int, first: int, count: int | tf.Tensor) -> tf.Tensor:
    """Return `count` neighbours on `axis`: a slice, whose gradient is a tenth of the operations that a gather's is."""
    if portable.is_portable():  # TFLite's converter forgets all sizes behind a slice of an unknown one.
        return x[(slice(None),) * axis + (slice(first, first + count),)]
    begin, size = [0] * x.shape.rank, [-1] * x.shape.rank
    begin[axis], size[axis] = first, count
    return tf.slice(x, begin, size)


def drop(x: tf.Tensor, axis: int, count: int) -> tf.Tensor:
    """Return x without its first `count` samples on `axis`, or what is left where there are fewer."""
    size = dimensions(x)[axis]
    if tf.is_tensor(size):
        return samples(x, axis, tf.minimum(count, size), tf.maximum(size - count, 0)) if count else x
    return samples(x, axis, count, size - count) if count else x


def read(x: tf.Tensor, axis: int, index: Places) -> tf.Tensor:
    """Return `x` at whole places on `axis`, a vector or of more axes."""
    if isinstance(index, np.ndarray) and index.ndim == 1:
        step = -1 if index.size > 1 and index[1] < index[0] else 1
        if np.array_equal(index, index[:1] + step * np.arange(index.size)):
            part = samples(x, axis, int(index.min()) if index.size else 0, index.size)
            return part if step > 0 else tf.reverse(part, [axis])
    return tf.gather(x, tf.cast(index, tf.int32), axis=axis)


def read_linear(x: tf.Tensor, axis: int, positions: Places) -> tf.Tensor:
    """Return `x` at float64 `positions` on `axis`, linear between samples and constant beyond the last of them."""
    last = real(dimensions(x)[axis] - 1)
    m = mathematics(positions, last)
    positions = m.minimum(m.maximum(positions, 0), last)
    # Not low + 1: at a sample, what is beside it would come in with the weight 0, and 0 times NaN is NaN.
    low, high = m.floor(positions), m.ceil(positions)
    if m is np and np.array_equal(low, high):
        return read(x, axis, low)
    shape = [1] * x.shape.rank
    shape[axis] = -1
    share = tf.reshape(tf.cast(positions - low, x.dtype), shape)
    return read(x, axis, low) * (1 - share) + read(x, axis, high) * share
