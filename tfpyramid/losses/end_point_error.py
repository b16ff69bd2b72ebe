"""The loss EndPointError."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras, register
from tfpyramid.ops import flow


@register
class EndPointError(keras.losses.Loss):
    """Compare optical flows by the distance between the ends of their vectors, in pixels.

    With `hardest` below 1 it is a loss max-pooling: it averages only the pixels of each flow with the largest errors,
    such as those of small objects, which a mean over all pixels hardly shows.

    Equation:
        `e[p] = ||target[p] - prediction[p]||`, the Euclidean length, for each pixel. Keras then reduces e.
        With `hardest < 1`, the loss of a flow of n pixels is `max_v sum_p v[p] w[p] e[p]` over all v with `0 <= v[p] <=
        1 / (hardest n)` and `sum_p v[p] = 1`: the mean of the `hardest n` largest `w e`. w is `sample_weight`, or 1.

    Convention:
        At a difference of 0, where the length has no derivative, the gradient is 0. Before Keras reduces the loss, its
        shape is [batch, height, width], or [batch] with `hardest < 1`.
        `sample_weight` may be [batch], or a mask for the pixels, [batch, height, width] or [batch, height, width, 1].
        Pixels of weight 0 have no effect, even if their target is NaN. The default reduction divides by the number of
        all pixels; `reduction="mean_with_sample_weight"` of Keras 3 divides by the sum of the weights. A NaN of another
        pixel makes the loss NaN.
        Inside `MultiScaleLoss`, each level has its own hardest pixels.

    Args:
        hardest: the share of pixels that the loss averages, above 0 and at most 1.
        name: name of the loss.
        **kwargs: arguments of `keras.losses.Loss`, such as `reduction`.

    Raises:
        ValueError: if an argument breaks a rule above, or if targets and predictions are not flows [batch, height,
            width, 2] of one shape.
        tf.errors.InvalidArgumentError: if sizes that are unknown until the graph runs differ.

    Example:
        >>> target, prediction = tf.zeros([1, 2, 2, 2]), tf.reshape([0., 0., 0., 0., 0., 2., 3., 4.], [1, 2, 2, 2])
        >>> float(losses.EndPointError()(target, prediction))  # the mean of 0, 0, 2 and 5
        1.75
        >>> float(losses.EndPointError(hardest=0.5)(target, prediction))  # the mean of 2 and 5
        3.5

    References:
        Baker, Scharstein, Lewis, Roth, Black and Szeliski, A Database and Evaluation Methodology for Optical Flow,
        2011, section 4.1 (absolute endpoint error).
        Rota Bulo, Neuhold and Kontschieder, Loss Max-Pooling for Semantic Image Segmentation, 2017 (for the norm p = 1
        of its weights); Hofinger, Rota Bulo, Porzi, Knapitsch, Pock and Kontschieder, Improving Optical Flow on a
        Pyramid Level, 2020 (at each level of a flow network).
    """

    def __init__(self, hardest: float = 1.0, *, name: str | None = "end_point_error", **kwargs: Any) -> None:
        super().__init__(name=None if name is None else _checks.text("name", name), **kwargs)
        self.hardest = _checks.number(
            "hardest", hardest, above=0, meaning="the share of pixels that the loss averages", maximum=1
        )

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tf.Tensor:
        if sample_weight is None:
            return super().__call__(y_true, y_pred)
        targets, predictions = flow.comparable(y_true, y_pred)
        weight = flow.weight_of_pixels(sample_weight, predictions)
        difference = flow.ignore(predictions - targets, weight)
        if self.hardest < 1:
            # Keras would multiply by the weights after `call`, which selects the pixels.
            difference, weight = weight[..., None] * difference, None
        return super().__call__(tf.zeros_like(difference), difference, weight)

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        targets, predictions = flow.comparable(y_true, y_pred)
        errors = flow.length(predictions - targets)
        return errors if self.hardest == 1 else flow.largest_mean(errors, self.hardest)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hardest": self.hardest}
