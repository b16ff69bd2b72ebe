"""GeneralizedIoU."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras, register
from tfpyramid.ops import boxes


@register
class GeneralizedIoU(keras.losses.Loss):
    """The loss of predicted boxes: 1 minus their generalized intersection over union with the true boxes.

    Equation:
        `loss = 1 - generalized_iou(y_true, y_pred)` for each box; see `tfpyramid.ops.generalized_iou`.

    Convention:
        Boxes are (y_min, x_min, y_max, x_max), [..., 4]. Integers are converted to floating point. The loss has the
        shape [...] before it is reduced, as Keras losses do it, and `sample_weight` has that shape, too: weigh padding
        by 0. Values are from 0 to below 2. Boxes without area have a finite loss and gradient.

    Args:
        name: name of the loss.
        **kwargs: arguments of `keras.losses.Loss`, such as `reduction`.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> loss = losses.GeneralizedIoU()
        >>> round(float(loss([[0, 0, 2, 2]], [[0.0, 3.0, 2.0, 5.0]])), 3)
        1.2

    References:
        Rezatofighi, Tsoi, Gwak, Sadeghian, Reid and Savarese, Generalized Intersection over Union, 2019, section 3.2.
    """

    def __init__(self, name: str | None = "generalized_iou", **kwargs: Any) -> None:
        super().__init__(name=None if name is None else _checks.text("name", name), **kwargs)

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        y_pred = boxes.check_boxes("y_pred", y_pred)
        y_true = boxes.check_boxes("y_true", tf.cast(y_true, y_pred.dtype))
        return 1 - boxes.generalized_iou(y_true, y_pred)
