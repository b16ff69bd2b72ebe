"""How similar two batches of images are: structural similarity at several scales, and distances of their pixels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfpyramid import _checks, _level_checks
from tfpyramid.ops import axes, batches, resample
from tfpyramid.ops._operation import operation, shared
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.pyramid import laplacian_pyramid
from tfpyramid.ops.shapes import dimension, dimensions

# Wang et al., 2003, section 3.2: how much each scale counts, from fine to coarse.
POWER_FACTORS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

# Below this value a factor gets no gradient, because that of x^p is infinite at 0.
_FLOOR = 1e-4


@operation
def multi_scale_ssim(
    targets: tf.Tensor,
    predictions: tf.Tensor,
    max_val: float = 1.0,
    *,
    power_factors: Sequence[float] = POWER_FACTORS,
    filter_size: int = 11,
    filter_sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
) -> tf.Tensor:
    """Return the multi-scale structural similarity (MS-SSIM) of each pair of images: 1 if they are equal.

    Equation:
        `y = mean_c(l[M-1]^p[M-1] prod_k max(cs[k], 0)^p[k])`, the mean over the channels, with M scales and `p =
        power_factors`. `cs[k] = mean((2 cov(t, p) + c2) / (var(t) + var(p) + c2))` compares contrast and structure in
        a Gaussian window. At the last scale the brightness `(2 m(t) m(p) + c1) / (m(t)^2 + m(p)^2 + c1)` multiplies it
        before the mean. `c1 = (k1 max_val)^2` and `c2 = (k2 max_val)^2`. Scale k + 1 holds the means of 2 by 2 pixels
        of scale k; at an odd side the last pixel is repeated.

    Convention:
        Equal to `tf.image.ssim_multiscale`, which needs sides of at least 161 by default. Here, where a scale is
        smaller than the window, the window shrinks to its size; one pixel has no contrast, so only its brightness
        counts. Images of opposite contrast have the similarity 0, as there. The gradient is finite: where a mean is
        below 1e-4, its factor gets the gradient 0. So a loss of this value alone learns nothing from such images; add
        another, such as `losses.Charbonnier`.

    Args:
        targets: [batch, height, width, channels], floating point, of any size from 1 by 1.
        predictions: images of the same shape. float16 and bfloat16 are compared in float32.
        max_val: the difference between the largest and the smallest possible value: 1, or 255.
        power_factors: weight of each scale, from fine to coarse: 1 to 64 numbers from 0 to 1e30.
        filter_size: side of the window, from 1 to 1024.
        filter_sigma: standard deviation of the window, in pixels.
        k1: constant of the brightness, at least 1e-6.
        k2: constant of contrast and structure, at least 1e-6.

    Returns:
        The similarity of each sample, [batch], from 0 to 1.

    Raises:
        ValueError: if an argument breaks a rule above.
        tf.errors.InvalidArgumentError: if sizes that are unknown until the graph runs differ.

    References:
        Wang, Simoncelli and Bovik, Multiscale Structural Similarity for Image Quality Assessment, 2003, section 3.
    """
    settings = ssim_settings(max_val, power_factors, filter_size, filter_sigma, k1, k2)
    targets, predictions = image_pair(targets, predictions)
    pair = batches.at_least_one(targets), batches.at_least_one(predictions)
    return batches.as_many_as(_multi_scale_ssim(pair, *settings.values()), predictions)


def ssim_settings(
    max_val: Any, power_factors: Any, filter_size: Any, filter_sigma: Any, k1: Any, k2: Any
) -> dict[str, Any]:
    """Return the checked arguments of `multi_scale_ssim`, by name."""
    meaning = "the difference between the largest and the smallest possible value"
    return {
        "max_val": _checks.number("max_val", max_val, above=0, meaning=meaning),
        "power_factors": _level_checks.numbers("power_factors", power_factors, "one for each scale"),
        "filter_size": _checks.integer("filter_size", filter_size, 1, "side of the window", maximum=_checks.LARGEST),
        "filter_sigma": _checks.at_least("filter_sigma", filter_sigma, 1e-3, "the standard deviation of the window"),
        "k1": _checks.at_least("k1", k1, 1e-6, "the constant of the brightness", maximum=1e6),
        "k2": _checks.at_least("k2", k2, 1e-6, "the constant of contrast and structure", maximum=1e6),
    }


def image_pair(targets: Any, predictions: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Return two batches of images of one shape, in the dtype to compare them in."""
    pair = {"targets": _checks.images(targets, "targets"), "predictions": _checks.images(predictions, "predictions")}
    return same_shape(*pair.values())


def comparable(targets: Any, predictions: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Return what Keras passes to a loss or a metric as two floating tensors: integer targets are converted."""
    predictions = _checks.floating_tensor("predictions", predictions)
    predictions = tf.cast(predictions, working_dtype(predictions.dtype))
    return tf.cast(_checks.tensor("targets", targets), predictions.dtype), predictions


def same_shape(targets: tf.Tensor, predictions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return two floating tensors, which must have the same shape, in the dtype to compare them in."""
    _level_checks.one_batch({"targets": targets.shape, "predictions": predictions.shape})
    rule = "`targets` must have the shape of `predictions`."
    if not targets.shape.is_compatible_with(predictions.shape):
        shapes = f"targets of shape {targets.shape}, predictions of shape {predictions.shape}"
        raise ValueError(f"{rule} Received: {shapes}")
    # Sizes that are known are compared above.
    unknown = [k for k, sizes in enumerate(zip(targets.shape, predictions.shape)) if None in sizes]
    sizes = [[dimensions(x)[k] for k in unknown] for x in (targets, predictions)]
    targets, predictions = batches.assert_equal(
        f"{rule} Received: the sizes of targets, then of predictions,", [targets, predictions], *sizes
    )
    dtype = working_dtype(predictions.dtype)
    return tf.cast(targets, dtype), tf.cast(predictions, dtype)


def charbonnier(targets: tf.Tensor, predictions: tf.Tensor, epsilon: float) -> tf.Tensor:
    """Return `sqrt((target - prediction)^2 + epsilon^2)` of each element."""
    return tf.sqrt(tf.square(targets - predictions) + epsilon**2)


def laplacian_distance(difference: tf.Tensor, weights: Sequence[float], norm: int) -> tf.Tensor:
    """Return the weighted sum over the levels of the mean of |laplacian_pyramid(difference)|^norm, [batch]."""
    size = tf.abs if norm == 1 else tf.square
    levels = laplacian_pyramid(difference, len(weights))
    return tf.add_n([weight * tf.reduce_mean(size(level), [1, 2, 3]) for weight, level in zip(weights, levels)])


@shared
def _multi_scale_ssim(
    images: tuple[tf.Tensor, tf.Tensor],
    max_val: float,
    powers: Sequence[float],
    size: int,
    sigma: float,
    k1: float,
    k2: float,
) -> tf.Tensor:
    """Return `multi_scale_ssim` of batches that are not empty, without checking the arguments."""
    x = tf.concat(images, 3)
    if max_val != 1:
        x = x / max_val
    product: Any = 1.0
    for k, power in enumerate(powers):
        if k:
            x = resample.next_level(x, "box", 2.0, "edge")
        brightness, structure = _compared(x, size, sigma, k1**2, k2**2)
        factor = structure if k + 1 < len(powers) else brightness * structure
        product *= _power(tf.reduce_mean(factor, [1, 2]), power)
    return tf.reduce_mean(product, 1)


def _compared(x: tf.Tensor, size: int, sigma: float, c1: float, c2: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the brightness, and the contrast and structure, of every window; x holds both images, side by side."""
    # Variances do not depend on the mean of an image. Without it, they lose fewer digits where they are small.
    centre = tf.stop_gradient(tf.reduce_mean(x, [1, 2], keepdims=True))
    x -= centre
    first, second = tf.split(x, 2, 3)
    moments = tf.concat([x, first * second, tf.square(first) + tf.square(second)], 3)
    for axis in (1, 2):
        moments, taps = _window(moments, axis, size, sigma)
        moments = axes.convolve(moments, axis, taps, 1)
    a, b, product, squares = tf.split(moments, 4, 3)
    # Rounding can make a variance negative.
    variances = tf.maximum(squares - tf.square(a) - tf.square(b), 0)
    structure = (2 * (product - a * b) + c2) / (variances + c2)
    c, d = tf.split(centre, 2, 3)
    a, b = a + c, b + d
    return (2 * a * b + c1) / (tf.square(a) + tf.square(b) + c1), structure


def _window(x: tf.Tensor, axis: int, size: int, sigma: float) -> tuple[tf.Tensor, axes.Taps]:
    """Return the taps of a Gaussian window that is no longer than the axis, and x, which they fit into.

    If the axis has an unknown length, there are `size` taps. Those beyond the window are 0 and read added zeros.
    """
    length = dimension(x, axis)
    if isinstance(length, int):
        positions = np.arange(min(size, length))
        taps = np.exp(-(((positions - (len(positions) - 1) / 2) / sigma) ** 2) / 2)
        return x, (taps / taps.sum()).astype(x.dtype.as_numpy_dtype)
    missing = tf.maximum(size - length, 0)
    x = tf.pad(x, [[0, missing if k == axis else 0] for k in range(4)])
    positions, count = tf.range(size), tf.minimum(length, size)
    offsets = (tf.cast(positions, x.dtype) - tf.cast(count - 1, x.dtype) / 2) / sigma
    taps = tf.where(positions < count, tf.exp(-tf.square(offsets) / 2), 0)
    return x, taps / tf.reduce_sum(taps)


def _power(x: tf.Tensor, power: float) -> tf.Tensor:
    """Return max(x, 0)^power, with the gradient 0 where x is below the floor."""
    is_above = x > _FLOOR
    # Bound the base before `tf.where`, because the gradient of the unused branch would be NaN.
    above = tf.pow(tf.where(is_above, x, tf.ones_like(x)), power)
    below = tf.pow(tf.where(x < 0, tf.zeros_like(x), x), power)
    return tf.where(is_above, above, tf.stop_gradient(below))
