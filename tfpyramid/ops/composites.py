"""The computation of `blending`: images merged level by level of their Laplacian pyramids. Nothing is checked here."""

import functools
import math
from collections.abc import Sequence

import tensorflow as tf

from tfpyramid.ops import kernels, pyramid
from tfpyramid.ops._operation import shared
from tfpyramid.ops.convolution import depthwise_down
from tfpyramid.ops.shapes import reshape, sides

_LUMA = (0.299, 0.587, 0.114)  # Grey of red, green and blue, as in BT.601.
_LAPLACIAN = ((0, 1, 0), (1, -4, 1), (0, 1, 0))
_MIDDLE, _WIDTH = 0.5, 0.2  # The best exposed value, and the standard deviation around it.
_LEAST_WEIGHT = 1e-12  # Pixels that are flat or grey in all images get equal weights.
_LEAST_VARIANCE = 1e-18  # It keeps the logarithm and its derivatives finite, in float32 too.


@functools.partial(shared, in_graphs=False)
def masked(
    inputs: Sequence[tf.Tensor], scale_factor: float, kernel: kernels.Kernel, border: str, levels: int
) -> tf.Tensor:
    """Return the image with the Laplacian pyramid of the first input times the Gaussian pyramid of the second."""
    x, mask = inputs
    bands = pyramid.laplacian_levels(x, kernel, scale_factor, border, levels)
    weights = pyramid.gaussian_levels(mask, kernel, scale_factor, border, levels)
    return pyramid.from_levels([w * band for band, w in zip(bands, weights)], kernel, scale_factor, border)


@functools.partial(shared, in_graphs=False)
def exposed(
    x: tf.Tensor,
    scale_factor: float,
    kernel: kernels.Kernel,
    border: str,
    levels: int,
    count: int,
    contrast: float,
    saturation: float,
    well_exposedness: float,
) -> tf.Tensor:
    """Return the exposure fusion of `count` images, which are in the channels."""
    channels = x.shape[3] // count
    apart = reshape(x, [-1, count, channels])
    # Logarithms of the weights: their softmax neither overflows nor divides by zero.
    measures = []
    if contrast:
        luma = tf.constant(_LUMA if channels == 3 else [1 / channels] * channels, x.dtype)
        grey = tf.reshape(tf.reduce_sum(luma * apart, -1), [-1, *sides(x), count])
        taps = tf.tile(tf.constant(_LAPLACIAN, x.dtype)[:, :, tf.newaxis, tf.newaxis], [1, 1, count, 1])
        detail = reshape(tf.abs(depthwise_down(grey, taps, 1, border=border)), [-1, count])
        measures.append(contrast * tf.math.log(detail + _LEAST_WEIGHT))
    if saturation and channels > 1:
        variance = tf.math.reduce_variance(apart, -1)
        measures.append(0.5 * saturation * tf.math.log(variance + _LEAST_VARIANCE))
    if well_exposedness:
        exponent = -well_exposedness / (2 * _WIDTH**2)
        measures.append(exponent * tf.reduce_sum(tf.square(apart - _MIDDLE), -1))
    logits = tf.add_n(measures) if measures else tf.zeros_like(apart[:, :, 0])
    logits = tf.math.softplus(logits - math.log(_LEAST_WEIGHT))  # The logarithm of `w + 1e-12`, up to a constant.
    weights = tf.reshape(tf.nn.softmax(logits), [-1, *sides(x), count])
    bands = pyramid.laplacian_levels(x, kernel, scale_factor, border, levels)
    # Zeros beyond the border would make the sum of the weights less than 1.
    inside = "edge" if border == "constant" else border
    shares = pyramid.gaussian_levels(weights, kernel, scale_factor, inside, levels)
    merged = [_sum(band, reshape(share, [-1, count, 1]), count) for band, share in zip(bands, shares)]
    return pyramid.from_levels(merged, kernel, scale_factor, border)


@functools.partial(shared, in_graphs=False)
def sharpest(
    x: tf.Tensor, scale_factor: float, kernel: kernels.Kernel, border: str, levels: int, count: int
) -> tf.Tensor:
    """Return the focus stack of `count` images, which are in the channels."""
    *bands, lowpass = pyramid.laplacian_levels(x, kernel, scale_factor, border, levels)
    merged = []
    for band in bands:
        energy = tf.reduce_sum(tf.square(reshape(band, [-1, count, band.shape[3] // count])), -1, keepdims=True)
        chosen = tf.cast(tf.equal(energy, tf.reduce_max(energy, 1, keepdims=True)), band.dtype)
        merged.append(_sum(band, chosen / tf.reduce_sum(chosen, 1, keepdims=True), count))
    merged.append(_sum(lowpass, tf.constant(1 / count, lowpass.dtype), count))
    return pyramid.from_levels(merged, kernel, scale_factor, border)


def _sum(band: tf.Tensor, weights: tf.Tensor, count: int) -> tf.Tensor:
    """Return the weighted sum of the `count` images in the channels; weights are [pixels, count, 1], or one number."""
    channels = band.shape[3] // count
    summed = tf.reduce_sum(weights * reshape(band, [-1, count, channels]), 1)
    return tf.reshape(summed, [-1, *sides(band), channels])
