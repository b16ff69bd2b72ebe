"""Strided convolutions with two-dimensional kernels, dense or depthwise, in the convention of `pyr_down`."""

from collections.abc import Sequence
from typing import Union

import tensorflow as tf

from tfpyramid import _checks, _size_checks
from tfpyramid._sizes import level_size, per_axis
from tfpyramid.ops import batches, borders, slicing
from tfpyramid.ops._operation import operation
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.shapes import dimension, dimensions

Strides = Union[int, tuple[int, int]]


@operation
def conv_down(images: tf.Tensor, kernel: tf.Tensor, strides: Strides = 2, *, border: str = "reflect") -> tf.Tensor:
    """Return a strided convolution with a dense kernel, with borders and alignment as in `pyr_down`.

    Convention:
        Output sample i sits at i * strides of the input, and a side of n becomes ceil(n / strides). Kernels of even
        size reach one sample further right and down than left and up, so their centre is half a sample later. A
        convolution reads every pixel under its kernel, so NaN or infinity reaches the output through a weight of 0 too.

    Equation:
        `y[i, j, f] = sum_{a, b, c} kernel[a, b, c, f] x[strides i + a - r, strides j + b - r, c]`, with
        `r = (size - 1) // 2` of the kernel's rows and columns, and x extended by the border rule.

    Args:
        images: [batch, height, width, channels], floating point; sides of at least 1, known or not.
        kernel: [rows, columns, channels, filters], of the same dtype.
        strides: from 1 to 1024, for both axes or as (rows, columns).
        border: "reflect", "symmetric", "edge", "constant" or "wrap".

    Returns:
        [batch, ceil(height / strides), ceil(width / strides), filters] of the same dtype.

    Raises:
        ValueError: if an argument breaks a rule above.
    """
    images = _checks.images(images)
    strides = _size_checks.strides(strides)
    kernel = check_kernel(images, kernel)
    x, padding = _extended(images, kernel, strides, border)
    return conv2d(x, kernel, strides, padding=padding)


def check_kernel(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Return a kernel as a tensor; raise `ValueError` unless it is dense and fits the images."""
    kernel = _checks.tensor("kernel", kernel)
    if kernel.shape.rank != 4 or 0 in kernel.shape or kernel.shape[2] != images.shape[3]:
        raise ValueError(
            "`kernel` must be [rows, columns, channels, filters], with as many channels as `images`, "
            f"{images.shape[3]}. Received: kernel of shape {kernel.shape}"
        )
    if kernel.dtype != images.dtype:
        raise ValueError(
            f"`kernel` must have the dtype of `images`, {images.dtype.name}. Received: kernel of {kernel.dtype.name}"
        )
    return kernel


@operation
def depthwise_down(images: tf.Tensor, kernel: tf.Tensor, strides: int = 2, *, border: str = "reflect") -> tf.Tensor:
    """Return a strided convolution of each channel with its own kernel, with alignment as in `pyr_down`.

    Convention:
        As in `conv_down`.

    Equation:
        `y[i, j, c] = sum_{a, b} kernel[a, b, c, 0] x[strides i + a - r, strides j + b - r, c]`, with
        `r = (size - 1) // 2` of the kernel's rows and columns, and x extended by the border rule.

    Args:
        images: [batch, height, width, channels], floating point; sides of at least 1, known or not. float16 and
            bfloat16 are summed in float32 and rounded once.
        kernel: floating tensor [rows, columns, channels, 1]. It is used in float32 for half-precision images, so it
            need not be rounded to their dtype.
        strides: from 1 to 1024.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".

    Returns:
        [batch, ceil(height / strides), ceil(width / strides), channels] of the dtype of `images`.

    Raises:
        ValueError: if an argument breaks a rule above.
    """
    images = _checks.images(images)
    strides = _checks.strides(strides)
    kernel = _checks.floating_tensor("kernel", kernel)
    if kernel.shape.rank != 4 or 0 in kernel.shape or kernel.shape[2:] != [images.shape[3], 1]:
        raise ValueError(
            f"`kernel` must be [rows, columns, channels, 1], with as many channels as `images`, {images.shape[3]}. "
            f"Received: kernel of shape {kernel.shape}"
        )
    # The CPU has no gradient of a bfloat16 depthwise convolution, and half-precision sums lose the last bits.
    work = working_dtype(images.dtype)
    x, padding = _extended(tf.cast(images, work), kernel, strides, border)
    kernel = tf.cast(kernel, work)
    y = batches.call(tf.nn.depthwise_conv2d, x, kernel, [1, strides, strides, 1], padding)
    return tf.cast(y, images.dtype)


def _extended(images: tf.Tensor, kernel: tf.Tensor, strides: Strides, border: str) -> tuple[tf.Tensor, str]:
    """Return images extended by the samples that the kernel reads beyond them, and the padding for the convolution.

    If the convolution's own "SAME" padding puts zeros where "constant" does, the images are not copied.
    """
    borders.check(border)
    axes = zip(images.shape[1:3], kernel.shape[:2], per_axis(strides))
    if border == "constant" and all(_same_fits(*axis) for axis in axes):
        return images, "SAME"
    return extend(images, kernel.shape[:2], strides, border), "VALID"


def extend(images: tf.Tensor, sizes: Sequence[int], strides: Strides, border: str) -> tf.Tensor:
    """Return images with exactly the samples, on each axis, that kernels of these sizes read from them."""
    channels = images.shape[3]
    for axis, taps, stride in zip((1, 2), sizes, per_axis(strides)):
        size, before = dimension(images, axis), (taps - 1) // 2
        length = (level_size(size, stride) - 1) * stride + taps
        after = length - before - size
        images = borders.extend(images, axis, before, taps // 2 if tf.is_tensor(size) else max(after, 0), border)
        if tf.is_tensor(size) or after < 0:
            images = slicing.samples(images, axis, 0, length)
        images.set_shape([None, None, None, channels])  # A slice of unknown size loses it.
    return images


def _same_fits(size: int | None, taps: int, stride: int) -> bool:
    """Return whether "SAME", which pads half of the missing samples on either side, aligns taps as `conv_down` does."""
    left_of_last_stride = range(1, stride + 1) if size is None else [(size - 1) % stride + 1]
    return all(max(taps - rest, 0) // 2 == (taps - 1) // 2 for rest in left_of_last_stride)


def conv2d(x: tf.Tensor, kernel: tf.Tensor, strides: Strides = 1, *, padding: str = "VALID") -> tf.Tensor:
    """Return `tf.nn.conv2d`; the batch may be empty. With "VALID", x must have no samples that are not read."""
    rows, columns, channels, filters = kernel.shape
    down, across = per_axis(strides)
    if across == 1 or padding == "SAME" or columns % across:
        return batches.call(tf.nn.conv2d, x, kernel, [down, across], padding)
    # Neighbours in a row become channels. This copies nothing, and the gradient of x takes two thirds of the time.
    batch, height, width, _ = dimensions(x)
    x = tf.reshape(x, [batch, height, width // across, across * channels])
    kernel = tf.reshape(kernel, [rows, columns // across, across * channels, filters])
    return batches.call(tf.nn.conv2d, x, kernel, [down, 1], padding)
