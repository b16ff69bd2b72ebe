"""The metric MultiScaleSSIM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfpyramid import _checks
from tfpyramid._compat import keras
from tfpyramid.ops import batches, similarity


# The loss of this name is registered, too.
@keras.saving.register_keras_serializable(package="tfpyramid", name="MultiScaleSSIMMetric")
class MultiScaleSSIM(keras.metrics.Mean):
    """Measure how similar images are in structure: the mean of their `ops.multi_scale_ssim`.

    Equation:
        `mean(multi_scale_ssim(target, prediction))` over all samples, weighted if there are weights.

    Convention:
        Equal to the mean of `tf.image.ssim_multiscale`, and finite for images of any size and content. Integer targets
        are converted to the dtype of the predictions, and must have their range.

    Args:
        max_val: the difference between the largest and the smallest possible value: 1, or 255.
        power_factors: weight of each scale, from fine to coarse.
        filter_size: side of the Gaussian window.
        filter_sigma: standard deviation of the window, in pixels.
        k1: constant of the brightness.
        k2: constant of contrast and structure.
        name: name of the metric.
        **kwargs: arguments of `keras.metrics.Metric`, such as `dtype`.

    Raises:
        ValueError: if an argument breaks a rule of `ops.multi_scale_ssim`, if targets and predictions have different
            shapes, or if the weights are not one number, or one number for each sample.
        tf.errors.InvalidArgumentError: if sizes that are unknown until the graph runs differ.

    Example:
        >>> metric = metrics.MultiScaleSSIM()
        >>> images = tf.random.uniform([2, 30, 40, 3])
        >>> _ = metric.update_state(images, images)
        >>> float(metric.result())
        1.0

    References:
        Wang, Simoncelli and Bovik, Multiscale Structural Similarity for Image Quality Assessment, 2003, section 3.
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
        name: str = "multi_scale_ssim",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=_checks.text("name", name), **kwargs)
        self.settings = similarity.ssim_settings(max_val, power_factors, filter_size, filter_sigma, k1, k2)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        targets, predictions = similarity.comparable(y_true, y_pred)
        weight = batches.weight_of_samples(sample_weight, predictions, "predictions")
        return super().update_state(
            similarity.multi_scale_ssim(targets, predictions, **self.settings), sample_weight=weight
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.settings}
