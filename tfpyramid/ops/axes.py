"""Convolution along the height and the width, and its transpose, each in a form for TensorFlow and one for XLA.

TensorFlow runs depthwise convolutions. On a CPU, XLA compiles these to loops that are a hundred times slower. It
compiles sums of slices to code as fast as TensorFlow's kernels; TensorFlow would write every slice to memory.

Taps are a tensor, or a NumPy array if they are constants, which saves the operations that would compute their gradient.
"""

from collections.abc import Sequence
from typing import Union

import numpy as np
import tensorflow as tf

from tfpyramid._sizes import level_size
from tfpyramid.ops import borders, slicing
from tfpyramid.ops.linear import Linear
from tfpyramid.ops.portable import in_slices
from tfpyramid.ops.shapes import dimension, dimensions

Taps = Union[np.ndarray, tf.Tensor]
Size = Union[int, tf.Tensor]

# Of small images one convolution of both axes is faster than one of each, up to this many taps.
_MANY = 9

# Larger constant kernels are tiled by the graph, to keep it small.
_LARGEST_CONSTANT = 2**12


def at_once(x: tf.Tensor, taps: Taps) -> bool:
    """Return whether one convolution of both axes of x is faster than one of each."""
    return not in_slices() and taps.shape[0] <= _MANY and borders.is_small(x)


def convolve(x: tf.Tensor, axis: int | None, taps: Taps, step: int) -> tf.Tensor:
    """Return `sum_k taps[k] x[step i + k]` on axis 1 or 2, for every i with all taps inside x; at least one.

    With the axis None, it is the same for both axes, as one convolution.
    """
    if axis is not None and in_slices():
        phases, count = _phases(x, axis, step), (dimension(x, axis) - taps.shape[0]) // step + 1
        return sum(
            tap * slicing.samples(phases[k % step], axis, k // step, count) for k, tap in enumerate(tf.unstack(taps))
        )
    convolved, _ = convolution(sizes(x), axis, taps, step)
    # The gradient of learned taps is TensorFlow's.
    return convolved.apply(x) if tf.is_tensor(taps) else convolved(x)


def spread(x: tf.Tensor, axis: int, taps: Taps, step: int) -> tf.Tensor:
    """Return `sum_i taps[j - step i] x[i]` on axis 1 or 2, for every output j that depends on some input i.

    It is the transpose of `convolve`.
    """
    shape = dimensions(x)
    count = shape[axis]
    size = (count - 1) * step + taps.shape[0]
    longest = level_size(taps.shape[0], step)  # Taps at the phase that has most of them.
    zeros, count = longest - 1, count + longest - 1
    x, taps = borders.extend(x, axis, zeros, zeros, "constant"), tf.unstack(taps)
    phases = [
        sum(taps[k] * slicing.samples(x, axis, zeros - k // step, count) for k in range(phase, len(taps), step))
        for phase in range(min(step, len(taps)))
    ]
    phases += [tf.zeros_like(phases[0])] * (step - len(phases))
    y = tf.reshape(tf.stack(phases, axis + 1), [-1, *shape[1:axis], count * step, *shape[axis + 1 :]])
    return slicing.samples(y, axis, 0, size)


def convolution(shape: Sequence[Size], axis: int | None, taps: Taps, step: int) -> tuple[Linear, list[Size]]:
    """Return `convolve` of images of a shape as a map, and the shape of its result. Other runtimes cannot run it."""
    result = list(shape)
    for each in (1, 2) if axis is None else (axis,):
        result[each] = (shape[each] - taps.shape[0]) // step + 1
    lines = _packed(_lines(shape, axis))
    filters = _tiled(_kernel(taps, axis), _lines(shape, axis)[3])
    strides = [1, step, step, 1]  # A CPU requires equal ones. Along an axis of size 1 the stride has no effect.

    def apply(x: tf.Tensor) -> tf.Tensor:
        x = x if axis is None else tf.reshape(x, lines)
        y = tf.raw_ops.DepthwiseConv2dNative(input=x, filter=filters, strides=strides, padding="VALID")
        # The reshape also corrects the shape of empty batches, which is wrong on a CPU.
        return tf.reshape(y, _packed(result))

    def transpose(y: tf.Tensor) -> tf.Tensor:
        y = tf.reshape(y, _packed(_lines(result, axis)))
        known = lines if tf.is_tensor(lines) else tf.stack([dimension(y, 0), *lines[1:]])
        x = tf.nn.depthwise_conv2d_backprop_input(known, filters, y, strides, "VALID")
        return tf.reshape(x, _packed(shape))

    return Linear(apply, transpose), result


def transposed(y: tf.Tensor, kernel: Taps, step: int, size: Sequence[int]) -> tf.Tensor:
    """Return the transpose of a convolution with a kernel [rows, columns], for images [height, width, channels]."""
    filters = _tiled(kernel, size[2])
    shape = tf.stack([dimension(y, 0), *size])
    x = tf.nn.depthwise_conv2d_backprop_input(shape, filters, y, [1, step, step, 1], "VALID")
    x.set_shape([y.shape[0], *size])
    return x


def sizes(x: tf.Tensor) -> list[Size]:
    """Return the shape of images for a map: the batch size is -1 if that is enough."""
    return dimensions(x) if None in x.shape[1:] else [-1, *x.shape[1:]]


def _packed(shape: Sequence[Size]) -> Sequence[Size] | tf.Tensor:
    """Return a shape as one tensor if a part of it is one."""
    return tf.stack(shape) if any(map(tf.is_tensor, shape)) else shape


def _kernel(taps: Taps, axis: int | None) -> Taps:
    """Return taps along an axis, or along both, as a kernel [rows, columns]."""
    if axis is None:
        return taps[:, None] * taps
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


def _lines(shape: Sequence[Size], axis: int | None) -> list[Size]:
    """Return the shape in which a depthwise convolution runs along an axis of images.

    Axis 1 is the height of images of width 1, and rows become their channels. Axis 2 is the width of images of height
    1. Both read memory in order, which is up to ten times faster than the reverse assignment.
    """
    batch, height, width, channels = shape
    if axis is None:
        return list(shape)
    if axis == 1:
        return [batch, height, 1, width * channels]
    return [batch * height if tf.is_tensor(batch) else -1, 1, width, channels]
