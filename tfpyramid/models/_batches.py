"""Layers that change how many samples there are, and neither their values nor their dtype."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid._compat import keras, register, shape_tuple
from tfpyramid.layers._base import BaseLayer
from tfpyramid.ops import batches, routing
from tfpyramid.ops.shapes import dimensions


class BatchLayer(BaseLayer):
    """A layer with an output for each of its first inputs, in the dtype of this input."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, **kwargs})

    def compute_output_spec(self, inputs: Any) -> Any:
        """Keras 3's symbolic call, whose default is this layer's dtype."""
        if not isinstance(inputs, (list, tuple)):
            return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=inputs.dtype)
        shapes = self.compute_output_shape([x.shape for x in inputs])
        if not isinstance(shapes, list):
            return keras.KerasTensor(shapes, dtype=inputs[0].dtype)
        return [keras.KerasTensor(shape, dtype=x.dtype) for shape, x in zip(shapes, inputs)]


@register
class AtLeastOneSample(BatchLayer):
    """Images [batch, ...] as they are, or one sample of zeros for an empty batch.

    TensorFlow's convolutions on a CPU return the wrong shape for an empty batch. A model of Keras's layers computes the
    sample of zeros instead, and `AsManyAsImages` drops its result. A batch normalisation that is training counts it.
    """

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return batches.at_least_one(images)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch, *sample = shape_tuple(input_shape)
        return (1 if batch == 0 else batch, *sample)


@register
class AsManyAsImages(BatchLayer):
    """From [y, ..., images] to each y, made from `AtLeastOneSample()(images)`: as many samples as there are images."""

    def call(self, inputs: list[tf.Tensor]) -> list[tf.Tensor]:
        *made, images = inputs
        count = dimensions(images)[0]
        return [batches.as_many_as(y, images, count) for y in made]

    def compute_output_shape(self, input_shape: Any) -> list[tuple[int | None, ...]]:
        *made, images = map(shape_tuple, input_shape)
        return [(images[0], *y[1:]) for y in made]


@register
class ImageOfEachQuestion(BatchLayer):
    """From [images, questions] to the image of each question: n questions about an image repeat it n times.

    Equation:
        `y[i] = images[i // n]`, with n the number of questions divided by that of images.
    """

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        images, questions = inputs
        return of_each_question(images, questions)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        images, questions = map(shape_tuple, input_shape)
        return (questions[0], *images[1:])


def of_each_question(samples: tf.Tensor, questions: tf.Tensor) -> tf.Tensor:
    """Return what belongs to the images once for each question about them."""
    rule = "`question` must hold as many for every sample of `image`, those of one image in a row."
    return routing.repeated(samples, dimensions(questions)[0], rule)
