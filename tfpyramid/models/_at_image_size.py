"""The layer that returns features of a backbone at the size of its images."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import register, shape_tuple
from tfpyramid.layers._base import ImageLayer
from tfpyramid.ops import resample
from tfpyramid.ops.shapes import sides


@register
class AtImageSize(ImageLayer):
    """Map [features, images] to the features magnified to the size of the images, linearly.

    Convention:
        Sample i of the features sits at pixel i * scale_factor + phase. With `scale_factor=None` the centres are
        aligned, as in `tfpyramid.ops.resize_by`.
    """

    def __init__(self, scale_factor: float | None, phase: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        meaning = "the stride of the features"
        self.scale_factor = None if scale_factor is None else _checks.at_least("scale_factor", scale_factor, 1, meaning)
        self.phase = _checks.phase(phase, self.scale_factor)

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        features, images = inputs
        return resample.resize_by(features, self.scale_factor, sides(images), phase=self.phase)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        features, images = map(shape_tuple, input_shape)
        return (features[0], *images[1:3], features[3])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale_factor": self.scale_factor, "phase": self.phase}
