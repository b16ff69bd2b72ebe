"""The loss MultiScaleSSIM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras, register
from tfpyramid.ops import batches, similarity


@register
class MultiScaleSSIM(keras.losses.Loss):
    """Compare the structure of images at several scales: 1 minus their `ops.multi_scale_ssim`.

    Equation:
        `loss = 1 - multi_scale_ssim(target, prediction)`, one for each sample.

    Convention:
        Images may have any size from 1 by 1, and value and gradient are finite for all finite images. Images of
        opposite contrast have the loss 1 and the gradient 0, so add another loss if a training may start there.
        Integer targets are converted to the dtype of the predictions, and must have their range.

    Args:
        max_val: the difference between the largest and the smallest possible value: 1, or 255.
        power_factors: weight of each scale, from fine to coarse.
        filter_size: side of the Gaussian window.
        filter_sigma: standard deviation of the window, in pixels.
        k1: constant of the brightness.
        k2: constant of contrast and structure.
        name: name of the loss.
        **kwargs: arguments of `keras.losses.Loss`, such as `reduction`.

    Raises:
        ValueError: if an argument breaks a rule of `ops.multi_scale_ssim`, or if targets and predictions have different
            shapes.
        tf.errors.InvalidArgumentError: if sizes that are unknown until the graph runs differ.

    Example:
        >>> images = tf.random.uniform([2, 30, 40, 3])
        >>> float(losses.MultiScaleSSIM()(images, images))
        0.0

    References:
        Wang, Simoncelli and Bovik, Multiscale Structural Similarity for Image Quality Assessment, 2003, section 3;
        Zhao, Gallo, Frosio and Kautz, Loss Functions for Image Restoration with Neural Networks, 2017, section 3.3.
    """

    def __init__(
        self,
        max_val: float = 1.0,
        *,
        power_factors: Sequence[float] = similarity.POWER_FACTORS,
        filter_size: int = 11,
        filter_sigma: float = 1.5,
        k1: float = 0.01,
        k2: float = 0.03,
        name: str | None = "multi_scale_ssim",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=None if name is None else _checks.text("name", name), **kwargs)
        self.settings = similarity.ssim_settings(max_val, power_factors, filter_size, filter_sigma, k1, k2)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tf.Tensor:
        return super().__call__(y_true, y_pred, batches.weight_of_samples(sample_weight, y_pred, "predictions"))

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        return 1 - similarity.multi_scale_ssim(*similarity.comparable(y_true, y_pred), **self.settings)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.settings}
