"""The metric EndPointError."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras
from tfpyramid.ops import flow


# The loss of this name is registered, too.
@keras.saving.register_keras_serializable(package="tfpyramid", name="EndPointErrorMetric")
class EndPointError(keras.metrics.Mean):
    """Measure the distance between the ends of the vectors of optical flows, in pixels: the average endpoint error.

    Equation:
        `sum_p w[p] ||target[p] - prediction[p]|| / sum_p w[p]` over the pixels of all flows. w is `sample_weight`.

    Convention:
        `sample_weight` may be one number, [batch], or a mask for the pixels, [batch, height, width] or [batch, height,
        width, 1]. Pixels of weight 0 have no effect, even if their target is NaN. A NaN of another pixel makes the
        result NaN.

    Args:
        name: name of the metric.
        **kwargs: arguments of `keras.metrics.Metric`, such as `dtype`.

    Raises:
        ValueError: if an argument breaks a rule above, or if targets and predictions are not flows [batch, height,
            width, 2] of one shape.
        tf.errors.InvalidArgumentError: if sizes that are unknown until the graph runs differ.

    Example:
        >>> metric = metrics.EndPointError()
        >>> _ = metric.update_state(tf.zeros([1, 1, 2, 2]), [[[[0.0, 1.0], [3.0, 4.0]]]])
        >>> float(metric.result())
        3.0

    References:
        Baker, Scharstein, Lewis, Roth, Black and Szeliski, A Database and Evaluation Methodology for Optical Flow,
        2011, section 4.1 (absolute endpoint error).
    """

    def __init__(self, name: str = "end_point_error", **kwargs: Any) -> None:
        super().__init__(name=_checks.text("name", name), **kwargs)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        targets, predictions = flow.comparable(y_true, y_pred)
        difference = predictions - targets
        if sample_weight is None:
            return super().update_state(flow.length(difference))
        weight = flow.weight_of_pixels(sample_weight, predictions)
        errors = flow.length(flow.ignore(difference, weight))
        # Keras interprets weights of fewer axes in different ways, so give one for each pixel.
        weight = tf.broadcast_to(weight, tf.shape(errors))
        return super().update_state(tf.reshape(errors, [-1]), sample_weight=tf.reshape(weight, [-1]))
