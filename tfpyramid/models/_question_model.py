"""What the models of `pyramid_vlm` share: the loss and metrics of answers from every level, and checked parts."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid._compat import keras
from tfpyramid.layers._base import check_layer
from tfpyramid.models._batch_layers import repeat_for_questions
from tfpyramid.models._every_level import is_right
from tfpyramid.models._pyramid_model import TrainedModel


class QuestionModel(TrainedModel):
    """A functional model from {"image", "question"} to {"answer", "level_weights"} that may train every level.

    In training mode it may return {"answer": [questions, levels, answers], "level_logits": [questions, levels or levels
    - 1]} instead: the answers from all levels, and the log-odds that they are right, without those of the finest level
    if there is one fewer. `compute_loss` and `compute_metrics` read both.
    """

    question_encoder: keras.layers.Layer
    decoder: keras.layers.Layer

    def answers_of(self, features: list[tf.Tensor], question: tf.Tensor) -> tf.Tensor:
        """Return the answers [questions, levels, ...] from the features of every level."""
        # One call for all levels takes fewer operations than one for each.
        count = len(features)
        of_levels = tf.reshape(tf.stack(features, axis=1), [-1, *features[0].shape[1:]])
        answers = self.decoder([of_levels, tf.repeat(question, count, axis=0)])
        return tf.reshape(answers, [-1, count, *answers.shape[1:]])

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, **kwargs: Any
    ) -> tf.Tensor:
        """Return the compiled loss of the answer; training of every level adds the loss of the level logits."""
        answers = y_pred["answer"]
        if "level_logits" not in y_pred:
            return super().compute_loss(x, y, answers, sample_weight, **kwargs)
        num_levels = answers.shape[1]
        logits = tf.cast(y_pred["level_logits"], tf.float32)
        correct = tf.cast(is_right(answers, y), tf.float32)[:, num_levels - logits.shape[1] :]
        # Repeat each sample for each level, so that the compiled loss is the mean over the levels.
        y = tf.repeat(tf.convert_to_tensor(y), num_levels, axis=0)
        value_weight = sample_weight
        if sample_weight is not None:
            sample_weight = tf.repeat(tf.convert_to_tensor(sample_weight), num_levels, axis=0)
            # A weight for each word weighs the answer by their mean.
            value_weight = tf.reshape(tf.cast(value_weight, tf.float32), [tf.shape(answers)[0], -1])
            value_weight = tf.repeat(tf.reduce_mean(value_weight, axis=1), logits.shape[1], axis=0)
        answers = tf.reshape(answers, [-1, *answers.shape[2:]])
        entropy = keras.losses.BinaryCrossentropy(from_logits=True)
        value_loss = entropy(tf.reshape(correct, [-1, 1]), tf.reshape(logits, [-1, 1]), sample_weight=value_weight)
        return super().compute_loss(x, y, answers, sample_weight, **kwargs) + value_loss

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Return the compiled metrics of the answer from the chosen level, and report the cost of that level."""
        answers = y_pred["answer"]
        if "level_logits" in y_pred:
            weights = self.choose(y_pred["level_logits"])
            answers = tf.einsum("bk,bk...->b...", tf.cast(weights, answers.dtype), answers)
        else:
            weights = y_pred["level_weights"]
        self.report_cost(weights)
        return super().compute_metrics(x, y, answers, sample_weight)

    def choose(self, logits: tf.Tensor) -> tf.Tensor:
        """Return the one-hot weights [questions, levels] of inference, from the level logits."""
        raise NotImplementedError

    def report_cost(self, weights: tf.Tensor) -> None:
        """Update the metric of the cost with weights [questions, levels]."""
        raise NotImplementedError


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
        first, *_ = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"`{name}` must be a layer that can be called on inputs of shapes {shapes}. "
            f"Received: {name}={layer.name!r}, which says: {first}"
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
