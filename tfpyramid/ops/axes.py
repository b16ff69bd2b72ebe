"""Convolution along the height and the width, and its transpose, each in a form for TensorFlow and one for XLA.

TensorFlow runs depthwise convolutions. On a CPU, XLA compiles these to loops that are a hundred times slower. It
compiles sums of slices to code as fast as TensorFlow's kernels; TensorFlow would write every slice to memory.

Taps are a tensor, or a NumPy array if they are constants, which saves the operations that would compute their gradient.
"""

from collections.abc import Callable, Sequence
from typing import Union

import numpy as np
import tensorflow as tf

from tfpyramid._sizes import level_size
from tfpyramid.ops import borders, slicing
from tfpyramid.ops.portable import in_slices
from tfpyramid.ops.shapes import dimension, dimensions, sides

Taps = Union[np.ndarray, tf.Tensor]

# Of small images one convolution of both axes is faster than one of each, up to this many taps.
_MANY = 9

# Larger constant kernels are tiled by the graph, to keep it small.
_LARGEST_CONSTANT = 2**12


def at_once(x: tf.Tensor, taps: Taps) -> bool:
    """Return whether one convolution of both axes of x is faster than one of each."""
    return not in_slices() and taps.shape[0] <= _MANY and borders.is_small(x)


def convolve_both(x: tf.Tensor, taps: Taps, step: int) -> tf.Tensor:
    """Return `convolve` of the height and the width, as one convolution."""
    return _depthwise(x, taps[:, None] * taps, step)


def spread_both(x: tf.Tensor, taps: Taps, step: int) -> tf.Tensor:
    """Return `spread` of the height and the width."""
    if at_once(x, taps):
        height, width = ((n - 1) * step + taps.shape[0] for n in sides(x))
        return transposed(x, taps[:, None] * taps, step, [height, width, x.shape[3]])
    # Spread the width first: spreading rows is fastest if they already have their final length.
    return spread(spread(x, 2, taps, step), 1, taps, step)


def convolve(x: tf.Tensor, axis: int, taps: Taps, step: int) -> tf.Tensor:
    """Return `sum_k taps[k] x[step i + k]` on axis 1 or 2, for every i with all taps inside x; at least one."""
    shape, length = dimensions(x), taps.shape[0]
    count = (shape[axis] - length) // step + 1
    if in_slices():
        phases = _phases(x, axis, step)
        return sum(
            tap * slicing.samples(phases[k % step], axis, k // step, count) for k, tap in enumerate(tf.unstack(taps))
        )
    y = _depthwise(tf.reshape(x, _lines(shape, axis)), _kernel(taps, axis), step)
    return tf.reshape(y, _with_size(shape, axis, count))


def spread(x: tf.Tensor, axis: int, taps: Taps, step: int) -> tf.Tensor:
    """Return `sum_i taps[j - step i] x[i]` on axis 1 or 2, for every output j that depends on some input i.

    It is the transpose of `convolve`.
    """
    shape = dimensions(x)
    count = shape[axis]
    size = (count - 1) * step + taps.shape[0]
    if in_slices():
        longest = level_size(taps.shape[0], step)  # Taps at the phase that has most of them.
        zeros, count = longest - 1, count + longest - 1
        x, taps = borders.extend(x, axis, zeros, zeros, "constant"), tf.unstack(taps)
        phases = [
            sum(taps[k] * slicing.samples(x, axis, zeros - k // step, count) for k in range(phase, len(taps), step))
            for phase in range(min(step, len(taps)))
        ]
        phases += [tf.zeros_like(phases[0])] * (step - len(phases))
        y = tf.reshape(tf.stack(phases, axis + 1), _with_size(shape, axis, count * step))
        return slicing.samples(y, axis, 0, size)
    sizes = _lines(_with_size(shape, axis, size), axis)[1:]
    y = transposed(tf.reshape(x, _lines(shape, axis)), _kernel(taps, axis), step, sizes)
    return tf.reshape(y, _with_size(shape, axis, size))


def _depthwise(x: tf.Tensor, kernel: Taps, step: int) -> tf.Tensor:
    """Return the convolution of each channel with one kernel [rows, columns]."""
    # A CPU requires equal strides. Along an axis of size 1 the stride has no effect.
    if tf.is_tensor(kernel) or None in x.shape[1:]:
        return tf.nn.depthwise_conv2d(x, _tiled(kernel, dimension(x, 3)), [1, step, step, 1], "VALID")

    @tf.custom_gradient
    def run(x: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        y = tf.nn.depthwise_conv2d(x, _tiled(kernel, x.shape[3]), [1, step, step, 1], "VALID")
        return y, lambda dy: transposed(dy, kernel, step, x.shape[1:])

    return run(x)


def transposed(y: tf.Tensor, kernel: Taps, step: int, size: Sequence[int | tf.Tensor]) -> tf.Tensor:
    """Return the transpose of `_depthwise`, for images of a size [height, width, channels]."""
    sizes = tf.stack([dimension(y, 0), *size])
    filters = _tiled(kernel, size[2])
    x = tf.nn.depthwise_conv2d_backprop_input(sizes, filters, y, [1, step, step, 1], "VALID")
    x.set_shape([y.shape[0], *(n if isinstance(n, int) else None for n in size)])
    return x


def _kernel(taps: Taps, axis: int) -> Taps:
    """Return taps along an axis as a kernel [rows, columns]."""
    return taps[:, None] if axis == 1 else taps[None]


def _tiled(kernel: Taps, channels: int | tf.Tensor) -> Taps:
    """Return a kernel [rows, columns] for each of the channels."""
    if isinstance(kernel, np.ndarray) and isinstance(channels, int) and kernel.size * channels <= _LARGEST_CONSTANT:
        return np.tile(kernel[:, :, None, None], [1, 1, channels, 1])
    return tf.tile(kernel[:, :, None, None], [1, 1, channels, 1])


def _phases(x: tf.Tensor, axis: int, step: int) -> list[tf.Tensor]:
    """Return the `step` phases of an axis: phase k holds the samples k, k + step, k + 2 step, ..."""
    shape = dimensions(x)
    count = level_size(shape[axis], step)
    x = tf.pad(x, [[0, count * step - shape[axis]] if k == axis else [0, 0] for k in range(4)])
    return tf.unstack(tf.reshape(x, [*shape[:axis], count, step, *shape[axis + 1 :]]), axis=axis + 1)


def _lines(shape: Sequence[int | tf.Tensor], axis: int) -> list[int | tf.Tensor]:
    """Return the shape in which a depthwise convolution runs along an axis of images.

    Axis 1 is the height of images of width 1, and rows become their channels. Axis 2 is the width of images of height
    1. Both read memory in order, which is up to ten times faster than the reverse assignment.
    """
    _, height, width, channels = shape
    return [-1, height, 1, width * channels] if axis == 1 else [-1, 1, width, channels]


def _with_size(shape: Sequence[int | tf.Tensor], axis: int, size: int | tf.Tensor) -> list[int | tf.Tensor]:
    """Return the shape of a batch of images of any number, with `size` samples on one axis."""
    return [-1, *shape[1:axis], size, *shape[axis + 1 :]]
