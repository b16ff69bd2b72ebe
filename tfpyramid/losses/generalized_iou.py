"""GeneralizedIoU."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras, register
from tfpyramid.ops import boxes, similarity


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
        ValueError: if an argument or the input breaks a rule above, or if targets and predictions have different
            shapes.
        tf.errors.InvalidArgumentError: if sizes that are unknown until the graph runs differ.

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
        targets, predictions = similarity.same_shape(*similarity.comparable(y_true, y_pred))
        return 1 - boxes.giou(targets, boxes.check_boxes("predictions", predictions))
