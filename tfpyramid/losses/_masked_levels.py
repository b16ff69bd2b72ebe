"""Targets with weights of their pixels, at every level; unknown targets have the weight 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.ops import batches, kernels

_MASK = "`mask` must be [batch, height, width] or [batch, height, width, 1], with the sizes of `targets`."


class Masked(NamedTuple):
    """What Keras passes on as targets if they have weights of their pixels."""

    targets: Any
    mask: tf.Tensor


def share(mask: Any, dtype: tf.DType) -> tf.Tensor:
    """Return the mean weight of each sample, [batch]."""
    mask = tf.stop_gradient(tf.cast(mask, dtype))
    return tf.reduce_mean(mask, list(range(1, mask.shape.rank)))


def check_kernel(kernel: Any, scale_factor: float) -> None:
    """Raise `ValueError` if a level that `kernel` makes is not a mean of pixels, with weights of at least 0.

    The taps of a tensor may change, so they are not read.
    """
    taps = kernels.taps_of(kernel, scale_factor, tf.float64)
    if isinstance(taps, np.ndarray) and (taps < 0).any():
        rule = "`kernel` must have no negative taps if `mask` is given, because targets are means of known pixels."
        raise ValueError(f"{rule} {_checks.received('kernel', kernel)}")


def stacked(target: tf.Tensor, mask: Any) -> tf.Tensor:
    """Return a target times its weights, with the weights as a last channel.

    A pixel of weight 0 is 0, even if the target is NaN there.
    """
    weight = batches.weight_of_pixels(_checks.tensor("mask", mask), target, _MASK, ("mask", "targets"))
    weight = tf.stop_gradient(weight)
    weighted = tf.where(weight > 0, weight * target, tf.zeros_like(target))
    return tf.concat([weighted, weight], -1)


def weighted_mean(compare: Callable, target: tf.Tensor, prediction: tf.Tensor) -> tf.Tensor:
    """Return the mean of a loss over the pixels of each sample, by their weights, [batch]; 0 if all weights are 0.

    Args:
        compare: a function (target, prediction), which returns a value for each pixel or each number.
        target: from `stacked`, at the size of the prediction.
        prediction: [batch, height, width, channels].
    """
    target, weight = tf.split(target, [prediction.shape[3], 1], -1)
    known = weight > 0
    # Replace unknown values before the comparison. After it, 0 times NaN would be NaN, also in the gradient.
    target = tf.where(known, target / tf.where(known, weight, tf.ones_like(weight)), tf.zeros_like(target))
    values = compare(target, tf.where(known, prediction, tf.zeros_like(prediction)))
    if values.shape.rank not in (3, 4):
        raise ValueError(
            "`loss` must return a value for each pixel, [batch, height, width], if `mask` is given. "
            f"Received: a loss of shape {values.shape}"
        )
    if values.shape.rank == 3:
        known, weight = known[..., 0], weight[..., 0]
    axes = list(range(1, values.shape.rank))
    weight = tf.cast(weight, values.dtype) * tf.ones_like(values)
    total = tf.reduce_sum(tf.where(known, weight * values, tf.zeros_like(values)), axes)
    return tf.math.divide_no_nan(total, tf.reduce_sum(weight, axes))
