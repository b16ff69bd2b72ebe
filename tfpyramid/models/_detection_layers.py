"""Layers of the model that `pyramid_detector` builds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import register, shape_tuple
from tfpyramid.layers._base import BaseLayer
from tfpyramid.ops import detection
from tfpyramid.ops.shapes import sides


@register
class LevelDistances(BaseLayer):
    """Map levels of any numbers to distances in pixels, with a learned scale for each level.

    Equation:
        `y[k] = strides[k] * exp(scales[k] * x[k])`, with at most 1024 strides.
    """

    def __init__(self, strides: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.strides = tuple(strides)

    def build(self, input_shape: Any) -> None:
        self.scales = self.add_weight(name="scales", shape=(len(self.strides),), initializer="ones")
        super().build(input_shape)

    def call(self, levels: list[tf.Tensor]) -> list[tf.Tensor]:
        scales = tf.unstack(tf.convert_to_tensor(self.scales))
        largest = math.log(detection.LARGEST_REACH)
        return [s * tf.exp(tf.minimum(a * x, largest)) for s, a, x in zip(self.strides, scales, levels)]

    def compute_output_shape(self, input_shape: Any) -> list[tuple[int | None, ...]]:
        return [shape_tuple(each) for each in input_shape]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "strides": list(self.strides)}


@register
class Detections(BaseLayer):
    """Map [predictions, images] to the best boxes of each image; see `tfpyramid.ops.detection.detections`.

    `predictions` is a dict of "logits", "distances" and "centerness", each a list of levels.
    """

    def __init__(
        self,
        strides: Sequence[int],
        *,
        max_detections: int,
        score_threshold: float,
        iou_threshold: float,
        max_candidates: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.supports_jit = False  # XLA has no combined non-maximum suppression, and Keras 3 would use XLA on a GPU.
        self.strides = tuple(strides)
        self.options: dict[str, Any] = {
            "max_detections": _checks.integer("max_detections", max_detections, 1, maximum=_checks.MOST_CHANNELS),
            "score_threshold": _checks.at_least("score_threshold", score_threshold, 0, maximum=1),
            "iou_threshold": _checks.at_least("iou_threshold", iou_threshold, 0, maximum=1),
            "max_candidates": _checks.integer("max_candidates", max_candidates, 1, maximum=_checks.MOST_CLASSES),
        }

    def call(self, inputs: Any) -> dict[str, tf.Tensor]:
        predictions, images = inputs
        names = ("logits", "distances", "centerness")
        levels = {name: detection.joined(predictions[name]) for name in names}
        points = detection.points_of(predictions["logits"], self.strides)
        return detection.detections(points, **levels, size=sides(images), **self.options)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "strides": list(self.strides), **self.options}
