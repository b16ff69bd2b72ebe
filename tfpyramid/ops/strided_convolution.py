"""A convolution with fractional, differentiable strides."""

from collections.abc import Sequence
from typing import NamedTuple, Union

import tensorflow as tf

from tfpyramid import _checks, _sizes
from tfpyramid.ops import batches, custom_gradients, portable
from tfpyramid.ops._operation import operation
from tfpyramid.ops.convolution import check_kernel
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.resample import Size, size_pair
from tfpyramid.ops.shapes import sides

_FIT = "`images` must be at least as large as the kernel if `output_size` is None."

# Smaller strides would make outputs of any size.
_LEAST = 1 / _checks.LARGEST
_MEANING = "in pixels, or two of them, (s_y, s_x)"
_TOO_SMALL = f"`strides` must be at least {_LEAST}, in pixels."

Strides = Union[float, Sequence[float], tf.Tensor, tf.Variable]


@operation
def strided_conv2d(
    images: tf.Tensor, kernel: tf.Tensor, strides: Strides, *, output_size: Size | None = None
) -> tf.Tensor:
    """Return a convolution with fractional strides, which get gradients; windows between pixels are interpolated.

    Convention:
        The window of the first output begins at the first pixel. Without `output_size` every window lies inside the
        image, and the result equals a convolution with `padding="valid"` at integer strides. With `output_size`,
        windows may reach beyond the image, which is zero there. Sides must then be at least 1, otherwise at least those
        of the kernel.
        The number of windows, floor((n - kernel) / stride) + 1, is the same in eager mode, in a graph and under XLA. In
        it, a stride that is a number stands for a fraction, as the factor of `pyr_down` does. If it is a tensor, the
        quotient is rounded to an integer if it is within four units in the last place of one.

    Equation:
        `y[p] = sum_k w[k] x(p s + k)` for p = (0, 0), (0, 1), ... and s = (s_y, s_x), x read bilinearly, zero outside.

        Convolution and interpolation commute. With the convolution z at stride 1, `y = A(s_y) z A(s_x)^T`, where each
        row of A holds two numbers, 1 - f and f, at floor(p s) and the next pixel, with f = p s - floor(p s). So the
        gradient of z is `A(s_y)^T dy A(s_x)`, and that of the strides is
        `ds_y = sum_p p_y dy[p] (dy[p] / d position)`. The last factor is the difference of the two rows of z on either
        side of y[p]. At an integer position it is the difference to the right, in the cell that floor selects. The
        two-sided derivative of the hat is 0 there, so a stride that starts as an integer would never move.

    Args:
        images: [batch, height, width, channels], floating point.
        kernel: [rows, columns, channels, filters], of the same dtype.
        strides: (s_y, s_x) in pixels, or a number for both, from 1 / 1024 to 1024. A tensor [2] or variable of any
            floating dtype gets a gradient. It is not rounded to the dtype of half-precision images.
        output_size: (height, width) to return; None for floor((n - kernel) / stride) + 1. If the strides are a tensor,
            that size is only known when the graph runs, and XLA, which requires known sizes, cannot compile it.

    Returns:
        [batch, *output_size, filters], of the dtype of `images`.

    Raises:
        ValueError: if an argument breaks a rule above.
        tf.errors.InvalidArgumentError: when the graph runs, if a size unknown until then is smaller than the kernel, or
            a stride is too small.

    References:
        The equation, and the one-sided derivative, are those of deformable convolution's position gradient: Dai, Qi,
        Xiong, Li, Zhang, Hu and Wei, Deformable Convolutional Networks, 2017, section 2.1 and appendix A.
    """
    images = _checks.images(images)
    kernel = check_kernel(images, kernel)
    strides, known = _stride_pair(strides)
    if output_size is None:
        output_size = _valid_size(images, kernel, strides if known is None else known)
    else:
        output_size = size_pair(output_size)

    @tf.custom_gradient
    def convolve(x: tf.Tensor, kernel: tf.Tensor, strides: tf.Tensor) -> tuple:
        return _convolve(x, kernel, strides, output_size)

    y = batches.call(lambda x: custom_gradients.call(convolve, x, kernel, strides), images)
    y.set_shape([images.shape[0], *(n if isinstance(n, int) else None for n in output_size), kernel.shape[3]])
    return y


def _stride_pair(strides: Strides) -> tuple[tf.Tensor, tuple[float, float] | None]:
    """Return strides as a tensor [2], and as two numbers unless they were given as a tensor."""
    if _checks.is_tensor(strides):
        strides = _checks.floating_tensor("strides", strides)
        if strides.shape != [2]:
            raise ValueError(f"`strides` must be (s_y, s_x), a tensor of shape [2]. Received: shape {strides.shape}")
        return strides, None
    known = _checks.both(strides, lambda each: check_stride("strides", each))
    return tf.constant(known, tf.float64), known


def check_stride(name: str, value: object) -> float:
    """Return a stride as a float within its bounds."""
    stride = _checks.number(name, value, above=0, meaning=_MEANING, maximum=_checks.LARGEST)
    if stride < _LEAST:
        raise ValueError(f"{_TOO_SMALL.replace('strides', name)} {_checks.received(name, value)}")
    return stride


def check_fit(image_shape: Sequence[int | None], kernel_size: Sequence[int]) -> None:
    """Raise `ValueError` if a side is known to be smaller than the kernel, so that no window lies inside."""
    if any(n is not None and n < taps for n, taps in zip(image_shape[1:3], kernel_size)):
        raise ValueError(
            f"{_FIT} Received: images with sides {tuple(image_shape[1:3])}, kernel with sides {tuple(kernel_size)}"
        )


def _valid_size(
    images: tf.Tensor, kernel: tf.Tensor, strides: tf.Tensor | tuple[float, float]
) -> Sequence[int | tf.Tensor]:
    """Return the number of windows that lie inside the images, for each axis."""
    size, taps = sides(images), kernel.shape[:2]
    check_fit(images.shape, taps)
    if any(map(tf.is_tensor, size)):
        tf.debugging.assert_greater_equal(tf.stack(size), taps, message=_FIT)
    room = [n - k for n, k in zip(size, taps)]
    if isinstance(strides, tuple):
        return [_sizes.divide(n, *reversed(_sizes.ratio(stride)))[0] + 1 for n, stride in zip(room, strides)]
    strides = tf.cast(strides, working_dtype(strides.dtype))
    tf.debugging.assert_greater_equal(strides, tf.cast(_LEAST, strides.dtype), message=_TOO_SMALL)
    return tf.unstack(tf.cast(tf.floor(_sizes.quotient(tf.stack(room), strides)), tf.int32) + 1)


class _Reads(NamedTuple):
    """The positions low + fraction at which outputs read one axis of z, which ends with a zero at `last`."""

    index: tf.Tensor
    low: tf.Tensor
    high: tf.Tensor
    fraction: tf.Tensor
    last: tf.Tensor

    @classmethod
    def at(cls, stride: tf.Tensor, size: int | tf.Tensor, last: tf.Tensor, dtype: tf.DType) -> "_Reads":
        index = tf.range(size, dtype=stride.dtype)
        positions = tf.minimum(index * stride, tf.cast(last, stride.dtype))
        floor = tf.floor(positions)
        low, fraction = tf.cast(floor, tf.int32), tf.cast(positions - floor, dtype)
        return cls(tf.cast(index, dtype), low, tf.minimum(low + 1, last), fraction, last)

    def between(self, z: tf.Tensor, axis: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Return z interpolated on the axis, and its derivative with respect to the position."""
        shape = [1] * z.shape.rank
        shape[axis] = -1
        fraction = tf.reshape(self.fraction, shape)
        low, high = tf.gather(z, self.low, axis=axis), tf.gather(z, self.high, axis=axis)
        # Ignore a pixel of weight 0: 0 times NaN would be NaN.
        return (1 - fraction) * low + portable.multiply_no_nan(high, fraction), high - low

    def spread(self, dy: tf.Tensor, axis: int) -> tf.Tensor:
        """Return A^T dy on the axis, with last + 1 samples: dy added to the samples that each output depends on.

        A product with the matrix A would multiply every dy by zeros, which would spread NaN along the axis.
        """
        order = [axis, *(k for k in range(4) if k != axis)]
        dy, fraction = tf.transpose(dy, order), tf.reshape(self.fraction, [-1, 1, 1, 1])
        parts = ((self.low, 1 - fraction), (self.high, fraction))
        sums = [
            tf.math.unsorted_segment_sum(portable.multiply_no_nan(dy, weight), index, self.last + 1)
            for index, weight in parts
        ]
        return tf.transpose(tf.add_n(sums), [order.index(k) for k in range(4)])


def _convolve(x: tf.Tensor, kernel: tf.Tensor, strides: tf.Tensor, size: Sequence[int | tf.Tensor]) -> tuple:
    """Return y and its gradient function, as `tf.custom_gradient` requires."""
    work = working_dtype(x.dtype)
    # Pad by the kernel, so that z reaches the position n, where the kernel is outside and z is zero.
    padded = tf.pad(x, [[0, 0], [0, kernel.shape[0]], [0, kernel.shape[1]], [0, 0]])
    z = tf.cast(tf.nn.conv2d(padded, kernel, 1, "VALID"), work)
    height, width = sides(x)
    stride_y, stride_x = tf.unstack(tf.cast(strides, portable.position_dtype()))
    rows, columns = _Reads.at(stride_y, size[0], height, work), _Reads.at(stride_x, size[1], width, work)
    on_rows, by_row = rows.between(z, 1)
    y, by_x = columns.between(on_rows, 2)
    by_y, _ = columns.between(by_row, 2)

    def grad(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        # The forward pass keeps two tensors of the size of y instead of the larger z.
        dy = tf.cast(upstream, work)
        dz = tf.cast(columns.spread(rows.spread(dy, 1), 2), x.dtype)
        dpadded = tf.nn.conv2d_transpose(dz, kernel, tf.shape(padded), 1, "VALID")
        dkernel = tf.raw_ops.Conv2DBackpropFilter(
            input=padded, filter_sizes=tf.shape(kernel), out_backprop=dz, strides=[1, 1, 1, 1], padding="VALID"
        )
        ds = [
            tf.einsum("bopf,bopf,o->", dy, by_y, rows.index),
            tf.einsum("bopf,bopf,p->", dy, by_x, columns.index),
        ]
        return dpadded[:, :height, :width], dkernel, tf.cast(tf.stack(ds), strides.dtype)

    return tf.cast(y, x.dtype), grad
