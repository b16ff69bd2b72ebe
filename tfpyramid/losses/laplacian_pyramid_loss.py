"""laplacian_pyramid_loss and LaplacianPyramidLoss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _level_checks
from tfpyramid._compat import keras, register
from tfpyramid.ops import batches, similarity


def laplacian_pyramid_loss(
    targets: tf.Tensor,
    predictions: tf.Tensor,
    num_levels: int = 5,
    *,
    weights: Sequence[float] | None = None,
    norm: int = 1,
    mask: tf.Tensor | None = None,
) -> tf.Tensor:
    """Return how much the Laplacian pyramids of targets and predictions differ: detail and brightness, by scale.

    Equation:
        `y = sum_k weights[k] mean(|residual[k]|^norm)`, with `residual = laplacian_pyramid(mask^(1 / norm) (target -
        prediction), num_levels)` and the mean over all axes but the batch. The last entry is the low-pass.

    Convention:
        The pyramid is linear, so that of the difference is the difference of the pyramids. A level has a quarter of the
        pixels of the level before it, so equal weights of the means are the weights 4^k of sums in the paper.
        Where the mask is 0, targets and predictions have no effect, even if they are NaN. A constant mask multiplies
        the loss.

    Args:
        targets: [batch, height, width, channels], floating point, of any size from 1 by 1.
        predictions: images of the same shape. float16 and bfloat16 are compared in float32.
        num_levels: number of levels, from 1 to 64.
        weights: a number from 0 to 1e30 for each level, finest first; None means 1 for each.
        norm: 1 for the mean absolute difference, or 2 for the mean square.
        mask: a number from 0 to 1 for each pixel, [batch, height, width] or [batch, height, width, 1], of any dtype.

    Returns:
        The loss of each sample, [batch].

    Raises:
        ValueError: if an argument breaks a rule above.
        tf.errors.InvalidArgumentError: if sizes that are unknown until the graph runs differ.

    Example:
        >>> images = tf.zeros([2, 9, 14, 3])
        >>> laplacian_pyramid_loss(images, images + 0.5).numpy()  # the low-pass differs, the detail does not
        array([0.5, 0.5], dtype=float32)

    References:
        Bojanowski, Joulin, Lopez-Paz and Szlam, Optimizing the Latent Space of Generative Networks, 2018, section 2.1
        (norm 1).
    """
    weights, norm = _settings(num_levels, weights, norm)
    targets, predictions = similarity.image_pair(targets, predictions)
    difference = targets - predictions
    if mask is not None:
        difference = _masked(difference, mask, norm)
    return similarity.laplacian_distance(difference, weights, norm)


def _settings(num_levels: Any, weights: Any, norm: Any) -> tuple[tuple[float, ...], int]:
    """Return the checked weights of the levels, and the norm."""
    num_levels = _checks.num_levels(num_levels)
    if weights is None:
        weights = [1.0] * num_levels
    norm = _checks.integer("norm", norm, 1, "1 or 2", maximum=2)
    return _level_checks.numbers("weights", weights, "one for each level", count=num_levels), norm


def _masked(difference: tf.Tensor, mask: Any, norm: int) -> tf.Tensor:
    """Return the difference, multiplied by mask^(1 / norm), and 0 where the mask is 0, even if it is NaN there."""
    rule = "`mask` must be numbers [batch, height, width] or [batch, height, width, 1], with the sizes of the images."
    mask = batches.weight_of_pixels(_checks.tensor("mask", mask), difference, rule, ("mask", "images"))
    mask = tf.stop_gradient(mask if norm == 1 else tf.sqrt(mask))
    return tf.where(mask == 0, tf.zeros_like(difference), mask * difference)


@register
class LaplacianPyramidLoss(keras.losses.Loss):
    """Compare images by their Laplacian pyramids; see `laplacian_pyramid_loss`.

    Equation:
        `loss = sum_k weights[k] mean(|laplacian_pyramid(target - prediction)[k]|^norm)`, one for each sample.

    Convention:
        `sample_weight` may be [batch], or a mask for the pixels, [batch, height, width] or [batch, height, width, 1]:
        `model.fit(x, y, sample_weight=masks)`. Pixels with the mask 0 have no effect, even if their target is NaN.
        Integer targets are converted to the dtype of the predictions, and must have their range.

    Args:
        num_levels: number of levels, from 1 to 64.
        weights: a number from 0 to 1e30 for each level, finest first; None means 1 for each.
        norm: 1 for the mean absolute difference, or 2 for the mean square.
        name: name of the loss.
        **kwargs: arguments of `keras.losses.Loss`, such as `reduction`.

    Raises:
        ValueError: if an argument breaks a rule above, or if targets and predictions have different shapes.
        tf.errors.InvalidArgumentError: if sizes that are unknown until the graph runs differ.

    Example:
        >>> loss = losses.LaplacianPyramidLoss(num_levels=3, norm=2)
        >>> images = tf.zeros([2, 9, 14, 3])
        >>> float(loss(images, images + 0.5))
        0.25

    References:
        Bojanowski, Joulin, Lopez-Paz and Szlam, Optimizing the Latent Space of Generative Networks, 2018, section 2.1
        (norm 1).
    """

    def __init__(
        self,
        num_levels: int = 5,
        *,
        weights: Sequence[float] | None = None,
        norm: int = 1,
        name: str | None = "laplacian_pyramid_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=None if name is None else _checks.text("name", name), **kwargs)
        self.weights, self.norm = _settings(num_levels, weights, norm)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tf.Tensor:
        weight = None if sample_weight is None else _checks.tensor("sample_weight", sample_weight)
        if weight is None or (weight.shape.rank or 0) < 3:
            weight = batches.weight_of_samples(weight, y_pred, "predictions")
            return super().__call__(y_true, y_pred, weight)
        targets, predictions = similarity.image_pair(*similarity.comparable(y_true, y_pred))
        difference = _masked(targets - predictions, weight, self.norm)
        return super().__call__(tf.zeros_like(difference), difference)

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        targets, predictions = similarity.image_pair(*similarity.comparable(y_true, y_pred))
        return similarity.laplacian_distance(targets - predictions, self.weights, self.norm)

    def get_config(self) -> dict[str, Any]:
        config = {"num_levels": len(self.weights), "weights": list(self.weights), "norm": self.norm}
        return {**super().get_config(), **config}
