"""Layers that change the number of samples in a batch, but not their values or dtype."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid._compat import keras, register, shape_tuple
from tfpyramid.layers._base import BaseLayer
from tfpyramid.ops import batches, routing
from tfpyramid.ops.shapes import dimensions


class BatchLayer(BaseLayer):
    """A layer that returns an output for each of its first inputs, in the dtype of that input."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, **kwargs})

    def compute_output_spec(self, inputs: Any) -> Any:
        """Return symbolic outputs in the dtypes of the inputs; Keras 3 would use the dtype of this layer."""
        if not isinstance(inputs, (list, tuple)):
            return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=inputs.dtype)
        shapes = self.compute_output_shape([x.shape for x in inputs])
        if not isinstance(shapes, list):
            return keras.KerasTensor(shapes, dtype=inputs[0].dtype)
        return [keras.KerasTensor(shape, dtype=x.dtype) for shape, x in zip(shapes, inputs)]


@register
class AtLeastOneSample(BatchLayer):
    """Return images [batch, ...] unchanged, or one sample of zeros if the batch is empty.

    TensorFlow's convolutions on a CPU return the wrong shape for an empty batch. A model of Keras layers computes the
    sample of zeros instead, and `AsManyAsImages` drops its result. Batch normalization in training mode counts it.
    """

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return batches.at_least_one(images)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch, *sample = shape_tuple(input_shape)
        return (1 if batch == 0 else batch, *sample)


@register
class AsManyAsImages(BatchLayer):
    """Map [y, ..., images] to the y with one sample for each image; each y was made from `AtLeastOneSample()(images)`.

    It drops the sample that `AtLeastOneSample` adds to an empty batch.
    """

    def call(self, inputs: list[tf.Tensor]) -> list[tf.Tensor]:
        *outputs, images = inputs
        count = dimensions(images)[0]
        return [batches.as_many_as(y, images, count) for y in outputs]

    def compute_output_shape(self, input_shape: Any) -> list[tuple[int | None, ...]]:
        *outputs, images = map(shape_tuple, input_shape)
        return [(images[0], *y[1:]) for y in outputs]


@register
class ImageOfEachQuestion(BatchLayer):
    """Map [images, questions] to the image of each question: each image is repeated for its n questions.

    Equation:
        `y[i] = images[i // n]`, with n the number of questions divided by the number of images.
    """

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        images, questions = inputs
        return repeat_for_questions(images, questions)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        images, questions = map(shape_tuple, input_shape)
        return (questions[0], *images[1:])


def repeat_for_questions(samples: tf.Tensor, questions: tf.Tensor) -> tf.Tensor:
    """Repeat the sample of each image once for each question about that image."""
    rule = "`question` must hold the same number of questions for each image, and the questions of one image in a row."
    return routing.repeated(samples, dimensions(questions)[0], rule)
