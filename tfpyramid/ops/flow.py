"""Errors of optical flows."""

import math
from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.ops import batches, similarity
from tfpyramid.ops.shapes import dimensions


def comparable(targets: Any, predictions: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Return what Keras passes to a loss or a metric as two flows of one shape, in the dtype to compare them in."""
    targets, predictions = similarity.image_pair(*similarity.comparable(targets, predictions))
    if predictions.shape[3] != 2:
        rule = "`predictions` must be flows [batch, height, width, 2], (dx, dy)"
        raise ValueError(f"{rule}. Received: predictions of shape {predictions.shape}")
    return targets, predictions


def weight_of_pixels(sample_weight: Any, predictions: tf.Tensor) -> tf.Tensor:
    """Return weights as a tensor [], [batch, 1, 1] or [batch, height, width].

    Args:
        sample_weight: one number, or numbers [batch], [batch, 1], [batch, height, width] or [batch, height, width, 1].
        predictions: [batch, height, width, 2].
    """
    weight: Any = _checks.tensor("sample_weight", sample_weight)
    if (weight.shape.rank or 0) < 3:
        weight = batches.weight_of_samples(weight, predictions, "predictions")
        return tf.reshape(tf.cast(weight, predictions.dtype), [-1, 1, 1] if weight.shape.rank else [])
    rule = "`sample_weight` must be [batch], [batch, height, width] or [batch, height, width, 1], as the predictions."
    return batches.weight_of_pixels(weight, predictions, rule, ("sample_weight", "predictions"))[..., 0]


def ignore(difference: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Return differences of flows, and 0 where the weight from `weight_of_pixels` is 0, even if they are NaN there."""
    return tf.where(tf.equal(weight, 0)[..., None], tf.zeros_like(difference), difference)


def length(difference: tf.Tensor) -> tf.Tensor:
    """Return the Euclidean length of vectors [..., 2]. At the vector 0, which has no derivative, the gradient is 0."""
    square = tf.reduce_sum(tf.square(difference), -1)
    zero = tf.equal(square, 0)
    # Replace the square before the root, because 0 times the infinite derivative of the root would be NaN.
    return tf.where(zero, tf.zeros_like(square), tf.sqrt(tf.where(zero, tf.ones_like(square), square)))


def largest_mean(values: tf.Tensor, share: float) -> tf.Tensor:
    """Return the mean of the largest values of each sample, [batch]; NaN if a value of the sample is NaN.

    Args:
        values: [batch, height, width].
        share: the share of values to average, above 0 and at most 1. If it is no whole number of values, the smallest
            of them has a fraction of the weight of the others.
    """
    batch, height, width = dimensions(values)
    flat = tf.reshape(values, [batch, height * width])
    if isinstance(height * width, int):
        count: Any = share * height * width
        most: Any = math.ceil(count)
    else:
        count = share * tf.cast(height * width, tf.float64)
        most = tf.cast(tf.math.ceil(count), tf.int32)
    weights = tf.minimum(count - tf.range(tf.cast(most, tf.float64), dtype=tf.float64), 1) / count
    mean = tf.linalg.matvec(tf.math.top_k(flat, most).values, tf.cast(weights, flat.dtype))
    # Comparisons do not order NaN, so `top_k` may leave it out.
    return tf.where(tf.reduce_any(tf.math.is_nan(flat), 1), tf.constant(math.nan, flat.dtype), mean)
