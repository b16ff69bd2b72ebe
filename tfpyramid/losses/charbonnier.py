"""Charbonnier."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras, register
from tfpyramid.ops import batches, similarity


@register
class Charbonnier(keras.losses.Loss):
    """Compare images by a smooth form of the absolute error, which is common in super-resolution.

    Equation:
        `loss = mean(sqrt((target - prediction)^2 + epsilon^2))`, the mean over the last axis, as in
        `keras.losses.MeanAbsoluteError`. Keras then reduces the other axes.

    Convention:
        The loss of equal images is `epsilon`, not 0. Weights of samples may be [batch] or one for each pixel. Integer
        targets are converted to the dtype of the predictions, and must have their range.

    Args:
        epsilon: error below which the loss is nearly quadratic, at least 1e-15. 1e-3 suits images from 0 to 1.
        name: name of the loss.
        **kwargs: arguments of `keras.losses.Loss`, such as `reduction`.

    Raises:
        ValueError: if an argument breaks a rule above, or if targets and predictions have different shapes.
        tf.errors.InvalidArgumentError: if sizes that are unknown until the graph runs differ.

    Example:
        >>> images = tf.zeros([2, 5, 7, 3])
        >>> round(float(losses.Charbonnier(epsilon=0.75)(images, images + 1)), 6)
        1.25

    References:
        Charbonnier, Blanc-Feraud, Aubert and Barlaud, Two Deterministic Half-Quadratic Regularization Algorithms for
        Computed Imaging, 1994; Lai, Huang, Ahuja and Yang, Deep Laplacian Pyramid Networks for Fast and Accurate
        Super-Resolution, 2017, section 3.2 (with epsilon 1e-3).
    """

    def __init__(self, epsilon: float = 1e-3, *, name: str | None = "charbonnier", **kwargs: Any) -> None:
        super().__init__(name=None if name is None else _checks.text("name", name), **kwargs)
        # The square of a smaller number would vanish in float32, and the gradient of equal images be NaN.
        self.epsilon = _checks.at_least("epsilon", epsilon, 1e-15, "the error below which the loss is nearly quadratic")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tf.Tensor:
        if sample_weight is not None:
            y_pred = _checks.tensor("predictions", y_pred)
            sample_weight = batches.check_weight(sample_weight, y_pred, "predictions")
            # Keras pairs the last axes of weights and losses, so weights [batch] need an axis for each of the others.
            while 0 < sample_weight.shape.rank < y_pred.shape.rank - 1:
                sample_weight = sample_weight[..., None]
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        targets, predictions = similarity.same_shape(*similarity.comparable(y_true, y_pred))
        return tf.reduce_mean(similarity.charbonnier(targets, predictions, self.epsilon), -1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.epsilon}
