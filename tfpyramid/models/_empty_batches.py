"""Layers that let a model of Keras's layers take an empty batch, such as that of a replica without samples.

TensorFlow's convolutions on a CPU return the wrong shape for an empty batch. The model computes one sample of zeros
instead, and drops its result. A batch normalisation that is training counts this sample.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid._compat import register, shape_tuple
from tfpyramid.layers._base import BaseLayer
from tfpyramid.ops import batches, borders


@register
class AtLeastOneSample(BaseLayer):
    """Images [batch, ...] as they are, or one sample of zeros for an empty batch."""

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return batches.at_least_one(images)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch, *sample = shape_tuple(input_shape)
        return (1 if batch == 0 else batch, *sample)


@register
class AsManyAsImages(BaseLayer):
    """From [y, ..., images] to each y, made from `AtLeastOneSample()(images)`: as many samples as there are images."""

    def call(self, inputs: list[tf.Tensor]) -> list[tf.Tensor]:
        *made, images = inputs
        count = borders.dimensions(images)[0]
        return [batches.as_many_as(y, images, count) for y in made]

    def compute_output_shape(self, input_shape: Any) -> list[tuple[int | None, ...]]:
        *made, images = map(shape_tuple, input_shape)
        return [(images[0], *y[1:]) for y in made]
