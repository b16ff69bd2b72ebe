"""The default confidence of a cascade that answers questions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfpyramid._compat import keras, register, shape_tuple
from tfpyramid.layers._base import BaseLayer

_LEAST = 1e-7  # Keeps the logarithm of a probability finite, in float32.


@register
class AnswerConfidence(BaseLayer):
    """Log-odds that the answer from a level is right, from [features, vectors of the questions].

    A small network reads the vector of the question, its product with the features, and how sure the answer is: the
    logarithms of its two largest probabilities, and its entropy. The answer is the decoder's, which the model sets as
    `answer`: that the layer does not hold the decoder keeps its weights in one place, in files too.

    Args:
        units: size of the hidden layer.
        **kwargs: arguments of `keras.layers.Layer`.
    """

    answer: Callable[[list[tf.Tensor]], tf.Tensor]

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.hidden = keras.layers.Dense(units, activation="relu", name="hidden")
        # Losses need float32, under mixed precision too.
        self.log_odds = keras.layers.Dense(1, dtype="float32", name="log_odds")

    def build(self, input_shape: Sequence[Any]) -> None:
        features, question = ([n or 0 for n in shape_tuple(shape)[1:]] for shape in input_shape)
        self.hidden.build((None, math.prod(features) + question[0] + 3))
        self.log_odds.build((None, self.units))
        super().build(input_shape)

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        features, question = inputs
        answer = tf.cast(self.answer(inputs), tf.float32)
        # The answers do not learn from the confidence.
        sure = tf.cast(_sure(tf.stop_gradient(answer)), question.dtype)
        flat = tf.reshape(features, [-1, math.prod(features.shape[1:])])
        flat = flat * question if flat.shape[1] == question.shape[1] else flat
        return self.log_odds(self.hidden(tf.concat([flat, question, sure], axis=1)))

    def compute_output_shape(self, input_shape: Sequence[Any]) -> tuple[int | None, ...]:
        return (shape_tuple(input_shape[0])[0], 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


def _sure(answer: tf.Tensor) -> tf.Tensor:
    """Return three numbers for each answer [batch, ..., classes]; those of several words are summed."""
    largest = tf.math.log(tf.math.top_k(answer, min(2, answer.shape[-1])).values + _LEAST)
    entropy = -tf.reduce_sum(answer * tf.math.log(answer + _LEAST), axis=-1)
    numbers = tf.stack([largest[..., 0], largest[..., -1], entropy], axis=-1)
    return tf.reduce_sum(numbers, axis=list(range(1, numbers.shape.rank - 1)))
