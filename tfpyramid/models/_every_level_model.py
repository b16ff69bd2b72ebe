"""The loss and the metrics of a model that trains the answers from every level."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfpyramid import ops
from tfpyramid._compat import keras
from tfpyramid.layers.protocols import saved_names
from tfpyramid.layers.selection._mean_seen import MeanSeen
from tfpyramid.layers.selection.level_cascade import LevelCascade
from tfpyramid.models._every_level import is_right
from tfpyramid.models._pyramid_model import TrainedModel


class EveryLevelModel(TrainedModel):
    """A functional model to {`answer_name`: [samples, ...], "level_weights"} that may train every level.

    In training mode it may return {`answer_name`: [samples, levels, ...], "level_logits": [samples, levels or levels -
    1]} instead: the answers from all levels, and the log-odds that they are right, without those of the finest level if
    there is one fewer. `compute_loss` and `compute_metrics` read both.

    Attributes:
        answer_name: the name of the output with the answers.
    """

    answer_name = "answer"

    def __dir__(self) -> list[str]:
        return saved_names(self, super().__dir__())

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        return cls(**config)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, **kwargs: Any
    ) -> tf.Tensor:
        """Return the compiled loss of the answer; training of every level adds the loss of the level logits."""
        answers = y_pred[self.answer_name]
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
        answers = y_pred[self.answer_name]
        if "level_logits" in y_pred:
            weights = self.choose(y_pred["level_logits"])
            answers = tf.einsum("bk,bk...->b...", tf.cast(weights, answers.dtype), answers)
        else:
            weights = y_pred["level_weights"]
        self.report_cost(weights)
        return super().compute_metrics(x, y, answers, sample_weight)

    def choose(self, logits: tf.Tensor) -> tf.Tensor:
        """Return the one-hot weights [samples, levels] of inference, from the level logits."""
        raise NotImplementedError

    def report_cost(self, weights: tf.Tensor) -> None:
        """Update the metric of the cost with weights [samples, levels]."""
        raise NotImplementedError


class ChoosesByCascade:
    """How a model with a `LevelCascade` chooses a level and counts the pixels that it reads.

    Attributes:
        level_costs: [levels], the pixels of each level relative to those of an image, finest first.
    """

    cascade: LevelCascade
    level_costs: np.ndarray

    def _set_cascade(self, cascade: LevelCascade, level_costs: np.ndarray) -> None:
        self.cascade, self.level_costs = cascade, level_costs
        self._cost = MeanSeen(name=f"{cascade.name}_cost")

    def probabilities(self, logits: tf.Tensor) -> tf.Tensor:
        """Return P of the equation of `LevelCascade` from the log-odds of `answer_every_level`."""
        return self.cascade.probabilities(logits)

    def choose(self, logits: tf.Tensor) -> tf.Tensor:
        return self.cascade.choose(logits)

    def report_cost(self, weights: tf.Tensor) -> None:
        self._cost.update_state(ops.cascade_costs(tf.cast(weights, tf.float32), self.level_costs))
