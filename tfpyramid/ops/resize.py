"""Resizing with half-pixel centres: output samples are the centres of equal cells of the image."""

import functools
import math

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._sizes import level_sizes, ratio
from tfpyramid.ops import axes, batches, borders, portable
from tfpyramid.ops._operation import operation
from tfpyramid.ops.coordinates import array_module, positions, to_float
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.fractional import weighted_sum
from tfpyramid.ops.resample import resize_by
from tfpyramid.ops.shapes import dimension, sides


@operation
def bilinear_down(images: tf.Tensor, scale_factor: float = 2.0, *, antialias: bool = False) -> tf.Tensor:
    """Return the images resized by bilinear interpolation to the size of the next level.

    Convention:
        Half-pixel centres, unlike `pyr_down`, but like `tf.image.resize` and OpenCV's `resize`: output sample i sits at
        the centre of its cell, (i + 1/2) r - 1/2 of the input. Here r is the exact ratio of the two sizes,
        n / ceil(n / scale_factor). At factor 2 the output is the mean of two by two samples, the mipmap. The output has
        the size of `pyr_down`, where the factor stands for a fraction of integers.

    Equation:
        `y[i] = sum_k h(k - p[i]) x[k] / sum_k h(k - p[i])` on each axis, with `p[i] = (i + 1/2) r - 1/2` and k inside
        the image; h is the hat `max(0, 1 - |u|)`, which covers two samples, or with `antialias` the wider hat
        `max(0, 1 - |u| / r)`, which reaches to the neighbouring outputs.

    Args:
        images: [batch, height, width, channels], floating point; sides of at least 1, known or not. float16 and
            bfloat16 are summed in float32 and rounded once.
        scale_factor: ratio of the sides of input and output, greater than 1 and at most 1024.
        antialias: widen the hat, so that the output depends on every input sample at any factor.

    Returns:
        [batch, ceil(height / scale_factor), ceil(width / scale_factor), channels] of the same dtype.

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Equal to `tf.image.resize` with the method "bilinear", with the same `antialias`.
    """
    images = _checks.images(images)
    scale_factor = _checks.scale_factor(scale_factor)
    size = level_sizes(sides(images), scale_factor)
    x = tf.cast(images, working_dtype(images.dtype))
    if _checks.flag("antialias", antialias):
        for axis, length in zip((1, 2), size):
            x = batches.call(functools.partial(_wide_hats, axis=axis, length=length, scale_factor=scale_factor), x)
    else:
        x = resize_by(x, None, size)
    x.set_shape([images.shape[0], *level_sizes(images.shape[1:3], scale_factor), images.shape[3]])
    return tf.cast(x, images.dtype)


def _wide_hats(x: tf.Tensor, axis: int, length: int | tf.Tensor, scale_factor: float) -> tf.Tensor:
    """Return `bilinear_down` of one axis with `antialias`, to `length` samples."""
    size = dimension(x, axis)
    width = to_float(size) / to_float(length)
    centres = (positions(length) + 0.5) * width - 0.5
    m = array_module(centres)
    first = m.floor(centres - width) + 1
    # At most this many whole positions lie strictly inside a hat. The ratio of the sizes is at most the factor.
    p, q = ratio(scale_factor)
    count = math.ceil(2 * (p / q if tf.is_tensor(width) else width))
    reads = first + np.arange(count)[:, None]
    weights = m.maximum(1 - m.abs(reads - centres) / width, 0)
    if isinstance(weights, np.ndarray) and size % length == 0:
        return _whole_hats(x, axis, size // length, int(first[0]), weights.T)
    inside = m.minimum(m.maximum(reads, 0), to_float(size - 1))
    weights = m.maximum(weights - m.abs(reads - inside), 0)  # 0 beyond the image.
    return weighted_sum(x, axis, inside, tf.cast(weights / tf.reduce_sum(weights, 0), x.dtype))


def _whole_hats(x: tf.Tensor, axis: int, step: int, first: int, weights: np.ndarray) -> tf.Tensor:
    """Return `_wide_hats` if the ratio of the sizes is an integer: a convolution, divided by the weights inside."""
    # At an odd step the last weight is 0. Trim it, because 0 times NaN is NaN in a convolution.
    taps = np.trim_zeros(weights[0], "b")
    weights = weights[:, : len(taps)]
    x = borders.extend(x, axis, -first, first + len(taps) - step, "constant")
    reads = np.arange(len(weights))[:, None] * step + first + np.arange(len(taps))
    inside = (reads >= 0) & (reads < len(weights) * step)
    shape = [-1 if k == axis else 1 for k in range(4)]
    gains = tf.constant(np.reshape(1 / np.sum(weights * inside, axis=1), shape), x.dtype)
    return axes.convolve(x, axis, taps.astype(x.dtype.as_numpy_dtype), step) * gains


def area_resize(images: tf.Tensor, output_size: tuple[int, int]) -> tf.Tensor:
    """Return the mean of each of `output_size` equal cells. Edges may cut samples; images may have any sides.

    Equation: `y[i] = (1 / r) sum_k overlap([i r, (i + 1) r], [k, k + 1]) x[k]` on each axis, r the ratio of the sizes.
    """
    x = tf.cast(images, working_dtype(images.dtype))
    # One matrix product for each axis. Its matrix, outputs by samples, is at most as large as the image.
    for axis, length, pattern in zip((1, 2), output_size, ("oi,bijc->bojc", "oj,bijc->bioc")):
        size = tf.shape(x)[axis]
        samples = tf.cast(tf.range(size), portable.position_dtype())
        ratio = tf.cast(size, samples.dtype) / length
        left = tf.cast(tf.range(length), samples.dtype)[:, None] * ratio
        weights = tf.maximum(tf.minimum(samples + 1, left + ratio) - tf.maximum(samples, left), 0)
        weights = tf.cast(weights / tf.reduce_sum(weights, 1, keepdims=True), x.dtype)
        x = tf.einsum(pattern, weights, x)
    x.set_shape([images.shape[0], *output_size, images.shape[3]])
    return tf.cast(x, images.dtype)
