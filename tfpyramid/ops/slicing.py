"""Reads along one axis of a tensor: a run of samples, samples at indices, and interpolation between samples."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfpyramid.ops import portable
from tfpyramid.ops.coordinates import Positions, array_module, to_float
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.shapes import dimension, dimensions, reshape


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
    size = dimension(x, axis)
    if tf.is_tensor(size):
        return samples(x, axis, tf.minimum(count, size), tf.maximum(size - count, 0))
    return samples(x, axis, count, size - count)


def add(x: tf.Tensor, axis: int, parts: Sequence[tuple[int | tf.Tensor, tf.Tensor]]) -> tf.Tensor:
    """Return x with tensors added to runs of samples of an axis, each (first sample, tensor), in place if possible."""
    shape = dimensions(x)
    # As a matrix: the update takes longer for every sample the more axes it has.
    sample = math.prod(shape[axis + 1 :])
    matrix = tf.reshape(x, [-1, shape[axis] * sample])
    for first, part in parts:
        begin, count = first * sample, dimension(part, axis) * sample
        matrix = tf.raw_ops.TensorStridedSliceUpdate(
            input=matrix,
            begin=[0, begin],
            end=[0, begin + count],
            strides=[1, 1],
            value=samples(matrix, 1, begin, count) + tf.reshape(part, [-1, count]),
            begin_mask=1,
            end_mask=1,
        )
    return reshape(matrix, shape)


def add_at(
    x: tf.Tensor, shape: Sequence[int | tf.Tensor], axis: int, index: Positions, y: tf.Tensor, first: int
) -> tf.Tensor:
    """Return x with the samples of y on an axis added at `index`, which is a run of `first` indices and another run."""
    if are_runs(index, first):
        parts = tf.split(y, [first, y.shape[axis] - first], axis)
        runs = [(run, part) for run, part in zip(np.split(index, [first]), parts) if run.size]
        return add(x, axis, [_summed(run, axis, part) for run, part in runs])
    sample = math.prod(shape[axis + 1 :])
    work = working_dtype(x.dtype)  # GPUs have no float16 kernel.
    lines = tf.reshape(tf.cast(x, work), [-1, sample])
    starts = tf.range(0, tf.shape(lines)[0], shape[axis])
    places = tf.reshape(starts[:, None] + tf.cast(index, tf.int32), [-1, 1])
    lines = tf.tensor_scatter_nd_add(lines, places, tf.reshape(tf.cast(y, work), [-1, sample]))
    return tf.cast(tf.reshape(lines, shape), x.dtype)


def fold_ends(y: tf.Tensor, axis: int, index: np.ndarray, first: int, size: int) -> tf.Tensor:
    """Return the `size` samples of y after the first ones, to which these and the last ones are added at `index`.

    The indices of the first ones are a run, and those of the last ones another, which does not overlap with it.
    """
    last = index.size - first
    runs = [run for run in np.split(index, [first]) if run.size]
    ends = sorted((int(run.min()), int(run.max()) + 1, k) for k, run in enumerate(runs))
    cuts = [0, *(cut for begin, end, _ in ends for cut in (begin, end)), size]
    front, *pieces, back = tf.split(y, [first, *np.diff(cuts), last], axis)
    parts = [part for part, count in ((front, first), (back, last)) if count]
    for place, (_, _, k) in enumerate(ends):
        pieces[2 * place + 1] += _summed(runs[k], axis, parts[k])[1]
    return tf.concat(pieces, axis)


def are_apart(index: Positions, first: int) -> bool:
    """Return whether indices are known to be two runs that do not overlap, as in `fold_ends`."""
    return are_runs(index, first) and not np.intersect1d(index[:first], index[first:]).size


def are_runs(index: Positions, first: int) -> bool:
    """Return whether indices are known to be two runs, the first of `first` indices: each up, down or on one sample."""
    if not isinstance(index, np.ndarray):
        return False
    steps = [np.unique(np.diff(run)) for run in np.split(index, [first])]
    return all(step.size < 2 and np.all(np.abs(step) < 2) for step in steps)


def _summed(run: np.ndarray, axis: int, part: tf.Tensor) -> tuple[int, tf.Tensor]:
    """Return the first sample of a run, and what `read` of the run adds to its samples for the gradient `part`."""
    if run[0] == run[-1]:
        return int(run[0]), tf.reduce_sum(part, axis, keepdims=True)
    return int(run.min()), part if run[0] < run[-1] else tf.reverse(part, [axis])


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
    low, high, fraction = neighbours(positions, dimension(x, axis))
    if fraction is None:
        return read(x, axis, low)
    return weighted(read(x, axis, low), axis, 1 - fraction) + weighted(read(x, axis, high), axis, fraction)


def neighbours(positions: Positions, size: int | tf.Tensor) -> tuple[Positions, Positions, Positions | None]:
    """Return the samples before and after float64 positions, and the fractions between; None if all are known as 0."""
    last = to_float(size - 1)
    m = array_module(positions, last)
    positions = m.minimum(m.maximum(positions, 0), last)
    # `ceil`, not low + 1: at a whole position both reads are the same sample. Its neighbour would be multiplied by the
    # weight 0, and 0 times NaN is NaN.
    low, high = m.floor(positions), m.ceil(positions)
    known = m is np and np.array_equal(low, high)
    return low, high, None if known else positions - low


def weighted(x: tf.Tensor, axis: int, weights: Positions | None) -> tf.Tensor:
    """Return x times the weights of the samples on an axis; None stands for ones."""
    if weights is None:
        return x
    return x * along(weights, x, axis)


def along(values: Positions, x: tf.Tensor, axis: int) -> Positions:
    """Return values for the samples of an axis of x, their last axis, in a shape and a dtype that multiply x."""
    shape = [*values.shape[:-1], -1, *[1] * (x.shape.rank - 1 - axis)]
    if tf.is_tensor(values):
        return tf.reshape(tf.cast(values, x.dtype), shape)
    return values.reshape(shape).astype(x.dtype.as_numpy_dtype)
