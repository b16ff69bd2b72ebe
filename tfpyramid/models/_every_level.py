"""The answers of a model from every level, for `cost_curve` and `calibrate_confidence`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras


@runtime_checkable
class AnswersEveryLevel(Protocol):
    """A model that can answer from every level, and tell the probability that each answer is right.

    Attributes:
        level_costs: [levels], the pixels of each level relative to those of an image, finest first.
    """

    level_costs: Any

    def answer_every_level(self, inputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Return (answers [samples, levels, ..., classes], log-odds that they are right), as at inference.

        The log-odds are [samples, levels] for a model that chooses one level, and [samples, levels - 1], those of all
        levels but the finest, for a cascade: a model that goes from the coarsest level to finer ones.
        """

    def probabilities(self, logits: tf.Tensor) -> tf.Tensor:
        """Return the probabilities that the answers are right, as the model compares them, from the log-odds."""


class EveryLevel(NamedTuple):
    """What a model answers from every level.

    Attributes:
        right: [samples, levels], whether the answers are right.
        logits: [samples, levels], or [samples, levels - 1] for a cascade.
        probabilities: P of the same shape.
        costs: [levels].
    """

    right: np.ndarray
    logits: np.ndarray
    probabilities: np.ndarray
    costs: np.ndarray

    @property
    def is_cascade(self) -> bool:
        return self.logits.shape[1] < self.right.shape[1]

    @property
    def pixels(self) -> np.ndarray:
        """The pixels that a sample reads if it ends at each level: in a cascade, those of the coarser levels too."""
        return np.cumsum(self.costs[::-1])[::-1] if self.is_cascade else self.costs

    def changes(self) -> np.ndarray:
        """Return the cost weights at which the choice for a sample can change."""
        p = self.probabilities.astype(np.float64)
        if self.is_cascade:
            return (1 - p) / self.costs[:-1]
        finer, coarser = np.triu_indices(len(self.costs), 1)
        return (p[:, finer] - p[:, coarser]) / (self.costs[finer] - self.costs[coarser])

    def thresholds(self, cost_weights: np.ndarray) -> np.ndarray:
        """Return the weights to assign to the model."""
        if not self.is_cascade:
            return cost_weights.astype(np.float32)
        return np.clip(1 - cost_weights[:, None] * self.costs[:-1], 0, 1).astype(np.float32)

    def choose(self, thresholds: np.ndarray) -> np.ndarray:
        """Return the level of each sample, [settings, samples]."""
        p = self.probabilities
        if self.is_cascade:
            stops = p[None] >= thresholds[:, None]
            return np.max(np.where(stops, np.arange(1, stops.shape[2] + 1), 0), axis=2)
        return np.stack([np.argmax(p - weight * self.costs.astype(p.dtype), axis=1) for weight in thresholds])


def answers_of_every_level(model: keras.Model, data: Any) -> EveryLevel:
    """Return what a model answers from every level about a data set with labels, checked."""
    if getattr(model, "objective", None) in ("softmax", "gumbel"):
        rule = "`model` must be trained with the objective 'value' or 'cascade', so that every level learns to answer."
        raise ValueError(f"{rule} Received: a model with the objective {model.objective!r}")
    if not isinstance(model, AnswersEveryLevel):
        raise ValueError(
            "`model` must be a model of `pyramid_vlm` with the objective 'value' or 'cascade', or of "
            f"`pyramid_classifier` with `early_exit=True`. Received: model of type {type(model).__name__}"
        )

    @tf.function(reduce_retracing=True)
    def ask(inputs: Any, labels: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        answers, logits = model.answer_every_level(inputs)
        return is_right(answers, labels), logits, model.probabilities(logits)

    def asked(inputs: Any, labels: Any) -> list[np.ndarray]:
        try:
            return [part.numpy() for part in ask(inputs, labels)]
        except Exception as error:  # The type of the error depends on the layers of the model.
            shapes = [tuple(part.shape) for part in tf.nest.flatten((inputs, labels))]
            last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise ValueError(
                "`data` must hold inputs and labels as `fit` takes them. "
                f"Received: data of shapes {shapes}, which ends in: {last.strip()}"
            ) from error

    found = [asked(inputs, labels) for inputs, labels in _batches(data)]
    if not sum(len(right) for right, *_ in found):
        raise ValueError("`data` must hold at least one sample. Received: data with no samples")
    right, logits, probabilities = map(np.concatenate, zip(*found))
    return EveryLevel(right, logits, probabilities, np.asarray(model.level_costs, np.float64))


def is_right(answers: tf.Tensor, labels: Any) -> tf.Tensor:
    """Return whether answers [samples, levels, ..., classes] are right, [samples, levels]: if all their words are."""
    equal = tf.argmax(answers, axis=-1) == class_indices(labels, answers)[:, None]
    return tf.reduce_all(equal, list(range(2, equal.shape.rank)))


def class_indices(labels: Any, answers: tf.Tensor) -> tf.Tensor:
    """Return class indices [batch] or [batch, words] from indices or one-hot vectors."""
    labels = tf.convert_to_tensor(labels)
    if labels.shape.rank == answers.shape.rank - 1 and labels.shape[-1] == answers.shape[-1] > 1:
        return tf.argmax(labels, axis=-1)
    return tf.cast(tf.reshape(labels, [-1, *answers.shape[2:-1]]), tf.int64)


def _batches(data: Any) -> Iterable[tuple[Any, Any]]:
    rule = "`data` must be a tf.data.Dataset of batches (inputs, labels), or one pair (inputs, labels) of arrays."
    if isinstance(data, tf.data.Dataset):
        spec = data.element_spec
        if not isinstance(spec, tuple) or len(spec) < 2:
            raise ValueError(f"{rule} Received: a dataset of {type(spec).__name__}")
        return ((batch[0], batch[1]) for batch in data)
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise ValueError(f"{rule} {_checks.received('data', data)}")
    try:
        return [tuple(tf.nest.map_structure(tf.convert_to_tensor, tuple(data)))]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{rule} {_checks.received('data', data)}") from error
