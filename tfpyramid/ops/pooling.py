"""Blur-pooling: the pooling of Keras with the maximum at stride 1 and a blur before the decimation.

Integer images give integers: the blur is rounded to the nearest.

On each axis, windows of p samples start at s i - b, as those of Keras's pooling do. With the padding "same", b is half
of the samples that Keras adds, rounded down, and depends on the number n of samples:

    b = max((ceil(n / s) - 1) s + p - n, 0) // 2

With stride 1 it is (p - 1) // 2. So the window of output i is window s i + (p - 1) // 2 - b of stride 1.
"""

from __future__ import annotations

from typing import Any, Union

import tensorflow as tf

from tfpyramid._sizes import level_size
from tfpyramid.ops import axes, batches, borders, portable, separable, slicing
from tfpyramid.ops._operation import shared
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.fractional import reach
from tfpyramid.ops.kernels import symmetric_phase
from tfpyramid.ops.shapes import dimensions, sides
from tfpyramid.ops.taps import binomial

Pair = tuple[int, int]
Side = Union[int, tf.Tensor]


def blur_pool(
    images: tf.Tensor, kernel_size: Pair, strides: Pair, pool_size: Pair, padding: str | None, pooling: str, border: str
) -> tf.Tensor:
    """Return the result of `BlurPool2D`, without checking the arguments; each pair is (rows, columns)."""
    known = [output_side(*each, padding) for each in zip(images.shape[1:3], pool_size, strides)]
    if 0 in (*images.shape[1:], *known):
        # TensorFlow refuses convolutions without outputs. A reshape keeps the gradient connected.
        batch, *now, channels = dimensions(images)
        shape = [batch, *(output_side(*each, padding) for each in zip(now, pool_size, strides)), channels]
        return tf.reshape(images[:, :0], shape)
    return batches.call(_blur_pool, images, kernel_size, strides, pool_size, padding, pooling, border)


@shared
def _blur_pool(
    images: tf.Tensor, kernel_size: Pair, strides: Pair, pool_size: Pair, padding: str | None, pooling: str, border: str
) -> tf.Tensor:
    # Other runtimes have no maximum of integers.
    x = tf.cast(images, _blur_dtype(images.dtype)) if portable.is_portable() else images
    if pooling == "max":
        x = max_filter(x, pool_size, "VALID" if padding == "valid" else "SAME")
        pool_size = (1, 1) if padding == "valid" else pool_size
    x = tf.cast(x, _blur_dtype(x.dtype))
    taps = [binomial(size).astype(x.dtype.as_numpy_dtype) for size in kernel_size]
    first = [offset(*each, padding) for each in zip(sides(x), pool_size, strides)]
    counts: list[Any] = [output_side(*each, padding) for each in zip(sides(x), pool_size, strides)]
    # A stride beyond the image gives one output, as that of its side does; XLA would pad the image to the stride.
    steps = tuple(min(step, n) if isinstance(n, int) else step for step, n in zip(strides, sides(x)))
    is_whole = padding != "valid" or pool_size == (1, 1)
    if is_whole and len({*steps}) == len({*kernel_size}) == 1 and all(isinstance(k, int) and k == 0 for k in first):
        x = separable.down(x, taps[0], steps[0], border)
    else:
        for axis, weights, step, start, count in zip((1, 2), taps, steps, first, counts):
            x = _decimate(x, axis, weights, step, start, count, border)
    x.set_shape([images.shape[0], *(n if isinstance(n, int) else None for n in counts), images.shape[3]])
    return tf.cast(x if images.dtype.is_floating else tf.round(x), images.dtype)


def _blur_dtype(dtype: tf.DType) -> tf.DType:
    """Return the dtype to blur images of `dtype` in; it holds all integers of 32 bits, if the runtime has float64."""
    if dtype.is_integer:
        return tf.float32 if dtype.size <= 2 or portable.is_portable() else tf.float64
    return working_dtype(dtype)


def _decimate(x: tf.Tensor, axis: int, taps: axes.Taps, step: int, first: Side, count: Side, border: str) -> tf.Tensor:
    """Return `count` samples of one axis of blurred images, at `first`, `first + step`, ..."""
    x = borders.extend(x, axis, *reach(taps), border)
    x = slicing.samples(x, axis, first, (count - 1) * step + taps.shape[0])
    return axes.convolve(x, axis, taps, step)


def max_filter(images: tf.Tensor, size: Pair, padding: str = "SAME") -> tf.Tensor:
    """Return, for each sample, the maximum of the window around it, without the samples beyond the border.

    With the padding "VALID", only windows inside the images are used, so the result is smaller.
    """
    return images if size == (1, 1) else tf.nn.max_pool2d(images, size, 1, padding)


def offset(size: Side, pool_size: int, step: int, padding: str | None) -> Side:
    """Return the sample at the centre of the first window, the left one of two, on an axis of `size` samples."""
    if padding == "valid":
        return (pool_size - 1) // 2
    if padding is None or step == 1 or pool_size <= 2:
        return 0  # For every size.
    missing = (level_size(size, step) - 1) * step + pool_size - size
    return (pool_size - 1) // 2 - (tf.maximum(missing, 0) if tf.is_tensor(missing) else max(missing, 0)) // 2


def output_side(size: Side | None, pool_size: int, step: int, padding: str | None) -> Side | None:
    """Return the number of outputs on an axis, those of Keras's pooling."""
    if size is None:
        return None
    if padding != "valid":
        return level_size(size, step)
    count = (size - pool_size) // step + 1
    return tf.maximum(count, 0) if tf.is_tensor(count) else max(count, 0)


def phase(kernel_size: int, step: int, pool_size: int, padding: str | None, pooling: str) -> float:
    """Return the position of output 0 on an axis of a number of samples that `step` divides."""
    first = offset(step * pool_size, pool_size, step, padding)
    return first + symmetric_phase(kernel_size) + (symmetric_phase(pool_size) if pooling == "max" else 0.0)
