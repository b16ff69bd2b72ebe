"""Convolution along the height or the width, and its transpose, each in a form for TensorFlow and one for XLA.

TensorFlow runs depthwise convolutions. On a CPU, XLA compiles these to loops that are a hundred times slower. It
compiles sums of slices to code as fast as TensorFlow's kernels; TensorFlow would write every slice to memory.
"""

import tensorflow as tf

from tfpyramid._sizes import level_size
from tfpyramid.ops import borders, portable, slicing
from tfpyramid.ops.shapes import dimensions


def convolve(x: tf.Tensor, axis: int, taps: tf.Tensor, step: int) -> tf.Tensor:
    """Return `sum_k taps[k] x[step i + k]` on axis 1 or 2, for every i with all taps inside x; there may be none."""
    size, length = dimensions(x)[axis], taps.shape[0]
    count = (size - length) // step + 1
    if in_slices():
        phases = _phases(x, axis, step)
        return sum(
            tap * slicing.samples(phases[k % step], axis, k // step, count) for k, tap in enumerate(tf.unstack(taps))
        )
    unknown = tf.is_tensor(size)
    if unknown:
        # TensorFlow's kernels require at least one output. If x has one, this padding and the slice below copy nothing.
        x = tf.pad(x, [[0, tf.maximum(length - size, 0) if k == axis else 0] for k in range(4)])
    shape = _depthwise_shape(x, axis)
    kernel = _depthwise_kernel(taps, axis, shape[3])
    # A CPU requires equal strides. Along the axis of size 1 the stride has no effect.
    y = tf.nn.depthwise_conv2d(tf.reshape(x, shape), kernel, [1, step, step, 1], "VALID")
    y = _with_size(y, x, axis, tf.maximum(count, 1) if unknown else count)
    return slicing.samples(y, axis, 0, tf.maximum(count, 0)) if unknown else y


def spread(x: tf.Tensor, axis: int, taps: tf.Tensor, step: int) -> tf.Tensor:
    """Return `sum_i taps[j - step i] x[i]` on axis 1 or 2, for every output j that depends on some input i.

    It is the transpose of `convolve`.
    """
    count = dimensions(x)[axis]
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
        y = _with_size(tf.stack(phases, axis + 1), x, axis, count * step)
        return slicing.samples(y, axis, 0, size)
    shape = _depthwise_shape(x, axis)
    sizes = tf.stack([*shape[:axis], size, *shape[axis + 1 :]])
    kernel = _depthwise_kernel(taps, axis, shape[3])
    y = tf.nn.depthwise_conv2d_backprop_input(sizes, kernel, tf.reshape(x, shape), [1, step, step, 1], "VALID")
    return _with_size(y, x, axis, size)


def in_slices() -> bool:
    """Return whether the graph is traced for XLA, with `jit_compile=True`, or for another runtime.

    Other runtimes have no transpose of a depthwise convolution, but all have sums of slices.
    """
    if portable.is_portable():
        return True
    # TensorFlow has no public function for this. Without these names, the depthwise form gives the same result.
    graph = tf.compat.v1.get_default_graph()
    while graph is not None:
        context = getattr(graph, "_get_control_flow_context", lambda: None)()
        while context is not None:
            if context.IsXLAContext():
                return True
            context = context.outer_context
        graph = getattr(graph, "outer_graph", None)
    return False


def _phases(x: tf.Tensor, axis: int, step: int) -> list[tf.Tensor]:
    """Return the `step` phases of an axis: phase k holds the samples k, k + step, k + 2 step, ..."""
    shape = dimensions(x)
    count = level_size(shape[axis], step)
    x = tf.pad(x, [[0, count * step - shape[axis]] if k == axis else [0, 0] for k in range(4)])
    return tf.unstack(tf.reshape(x, [*shape[:axis], count, step, *shape[axis + 1 :]]), axis=axis + 1)


def _depthwise_shape(x: tf.Tensor, axis: int) -> list[int | tf.Tensor]:
    """Return the shape in which a depthwise convolution runs along an axis of x.

    Axis 1 is the height of images of width 1, and rows become their channels. Axis 2 is the width of images of height
    1. Both read memory in order, which is up to ten times faster than the reverse assignment.
    """
    batch, height, width, channels = dimensions(x)
    return [batch, height, 1, width * channels] if axis == 1 else [batch * height, 1, width, channels]


def _depthwise_kernel(taps: tf.Tensor, axis: int, channels: int | tf.Tensor) -> tf.Tensor:
    shape = [-1, 1, 1, 1] if axis == 1 else [1, -1, 1, 1]
    return tf.tile(tf.reshape(taps, shape), [1, 1, channels, 1])


def _with_size(y: tf.Tensor, x: tf.Tensor, axis: int, size: int | tf.Tensor) -> tf.Tensor:
    """Return y in the shape of x, with `size` samples on one axis."""
    shape = dimensions(x)
    return tf.reshape(y, [*shape[:axis], size, *shape[axis + 1 :]])
