"""What the models of `pyramid_vlm` share: answers from the features of every level, and checked parts."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _plain
from tfpyramid._compat import keras
from tfpyramid.layers._base import check_layer
from tfpyramid.models._batch_layers import repeat_for_questions
from tfpyramid.models._every_level_model import EveryLevelModel


class QuestionModel(EveryLevelModel):
    """A functional model from {"image", "question"} to {"answer", "level_weights"} that may train every level."""

    question_encoder: keras.layers.Layer
    decoder: keras.layers.Layer

    def answers_of(self, features: list[tf.Tensor], question: tf.Tensor) -> tf.Tensor:
        """Return the answers [questions, levels, ...] from the features of every level."""
        # One call for all levels takes fewer operations than one for each.
        count = len(features)
        of_levels = tf.reshape(tf.stack(features, axis=1), [-1, *features[0].shape[1:]])
        answers = self.decoder([of_levels, tf.repeat(question, count, axis=0)])
        return tf.reshape(answers, [-1, count, *answers.shape[1:]])


def for_questions(features: list[tf.Tensor], question: tf.Tensor) -> list[tf.Tensor]:
    """Repeat the features of each image once for each question about it.

    This costs less than to repeat the images before they are encoded.
    """
    return [repeat_for_questions(level, question) for level in features]


def checked_parts(**parts: Any) -> dict[str, keras.layers.Layer]:
    """Return layers by name, checked."""
    return {name: check_layer(name, part) for name, part in parts.items()}


def called(name: str, layer: keras.layers.Layer, inputs: Any) -> Any:
    """Return the output of a layer of the user's, and name the argument in its error."""
    try:
        return layer(inputs)
    except Exception as error:  # The type of the error depends on the layer.
        shapes = [tuple(x.shape) for x in tf.nest.flatten(inputs)]
        raise ValueError(
            f"`{name}` must be a layer that can be called on inputs of shapes {shapes}. "
            f"Received: {name}={layer.name!r}, which says: {_plain.first_line(error)}"
        ) from error


def vectors_of(name: str, layer: keras.layers.Layer, inputs: Any) -> Any:
    """Return the output of a layer of the user's, which must be a vector for each sample."""
    found = called(name, layer, inputs)
    shape = getattr(found, "shape", None)
    if shape is None or len(shape) != 2 or shape[1] is None:
        raise ValueError(
            f"`{name}` must return one vector for each sample, [batch, size] with a known size. "
            f"Received: output of shape {None if shape is None else tuple(shape)}"
        )
    return found
