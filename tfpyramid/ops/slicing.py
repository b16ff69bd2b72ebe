"""Reads along one axis of a tensor: a run of samples, samples at indices, and interpolation between samples."""

import numpy as np
import tensorflow as tf

from tfpyramid.ops import portable
from tfpyramid.ops.coordinates import Positions, array_module, to_float
from tfpyramid.ops.shapes import dimensions


def samples(x: tf.Tensor, axis: int, first: int, count: int | tf.Tensor) -> tf.Tensor:
    """Return `count` neighbouring samples of `axis`, as a slice: a gather's gradient takes ten times the operations."""
    if portable.is_portable():  # TFLite's converter loses all sizes after a `tf.slice` of unknown size.
        return x[(slice(None),) * axis + (slice(first, first + count),)]
    begin, size = [0] * x.shape.rank, [-1] * x.shape.rank
    begin[axis], size[axis] = first, count
    return tf.slice(x, begin, size)


def skip(x: tf.Tensor, axis: int, count: int) -> tf.Tensor:
    """Return x without the first `count` samples of `axis`; an axis that is shorter becomes empty."""
    if not count:
        return x
    size = dimensions(x)[axis]
    if tf.is_tensor(size):
        return samples(x, axis, tf.minimum(count, size), tf.maximum(size - count, 0))
    return samples(x, axis, count, size - count)


def read(x: tf.Tensor, axis: int, index: Positions) -> tf.Tensor:
    """Return x at whole positions on `axis`, which are a vector or have more axes."""
    if isinstance(index, np.ndarray) and index.ndim == 1:
        step = -1 if index.size > 1 and index[1] < index[0] else 1
        if np.array_equal(index, index[:1] + step * np.arange(index.size)):
            run = samples(x, axis, int(index.min()) if index.size else 0, index.size)
            return run if step > 0 else tf.reverse(run, [axis])
    return tf.gather(x, tf.cast(index, tf.int32), axis=axis)


def read_linear(x: tf.Tensor, axis: int, positions: Positions) -> tf.Tensor:
    """Return x at float64 `positions` on `axis`: linear between samples, constant beyond the first and the last."""
    last = to_float(dimensions(x)[axis] - 1)
    m = array_module(positions, last)
    positions = m.minimum(m.maximum(positions, 0), last)
    # `ceil`, not low + 1: at a whole position both reads are the same sample. Its neighbour would be multiplied by the
    # weight 0, and 0 times NaN is NaN.
    low, high = m.floor(positions), m.ceil(positions)
    if m is np and np.array_equal(low, high):
        return read(x, axis, low)
    shape = [1] * x.shape.rank
    shape[axis] = -1
    fraction = tf.reshape(tf.cast(positions - low, x.dtype), shape)
    return read(x, axis, low) * (1 - fraction) + read(x, axis, high) * fraction
