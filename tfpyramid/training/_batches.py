"""What `fit_distributed` takes as `data`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Union

import tensorflow as tf

from tfpyramid._compat import keras

Data = Union[tf.data.Dataset, Callable[[int], tf.data.Dataset]]

_RULE = (
    "`data` must be a tf.data.Dataset of batches (inputs, targets) or (inputs, targets, weights), or a function that "
    "returns one for the number of an epoch"
)


def check(data: Any) -> None:
    """Raise `ValueError` unless `data` is a dataset or a function."""
    if not isinstance(data, tf.data.Dataset) and (not callable(data) or isinstance(data, type)):
        advice = "for arrays, tf.data.Dataset.from_tensor_slices((inputs, targets)).batch(32)"
        raise ValueError(f"{_RULE}; {advice}. Received: data of type {type(data).__name__}")


def of_epoch(data: Data, epoch: int, model: keras.Model) -> tf.data.Dataset:
    """Return the dataset of an epoch; raise `ValueError` if its batches cannot be trained on."""
    dataset = data if isinstance(data, tf.data.Dataset) else data(epoch)
    if not isinstance(dataset, tf.data.Dataset):
        raise ValueError(f"{_RULE}. Received: data({epoch}) of type {type(dataset).__name__}")
    cardinality = int(dataset.cardinality())
    if cardinality == tf.data.INFINITE_CARDINALITY:
        raise ValueError("`data` must end, for example by data.take(1000). Received: a dataset that repeats for ever")
    if cardinality == 0:
        raise no_batch(epoch)
    _check_structure(dataset.element_spec, model)
    return dataset


def no_batch(epoch: int) -> ValueError:
    """Return the error about an epoch without batches."""
    return ValueError(f"`data` must have at least one batch. Received: none for epoch {epoch}")


def _check_structure(spec: Any, model: keras.Model) -> None:
    # A model whose layers add all of its losses needs no targets.
    parts = spec if isinstance(spec, tuple) else (spec,)
    if len(parts) not in (2, 3) and not (len(parts) == 1 and not getattr(model, "loss", None)):
        raise ValueError(f"{_RULE}. Received: data of elements {spec}")
    shapes = [(tensor, tf.TensorShape(getattr(tensor, "shape", None))) for tensor in tf.nest.flatten(parts)]
    if any(shape.rank == 0 for _, shape in shapes):
        raise ValueError(f"`data` must yield batches; use data.batch(32). Received: data of elements {spec}")
    if len({shape[0] for _, shape in shapes if shape.rank} - {None}) > 1:
        rule = "`data` must yield as many targets and weights as inputs"
        raise ValueError(f"{rule}. Received: data of elements {spec}")
    _check_inputs(parts[0], model)


def _check_inputs(spec: Any, model: keras.Model) -> None:
    """Raise unless a single tensor has the shape of a model's single input."""
    inputs = getattr(model, "inputs", None) or []
    if len(inputs) != 1 or not isinstance(spec, tf.TensorSpec) or spec.shape.rank is None:
        return
    wanted = tf.TensorShape(inputs[0].shape)
    # Keras adds a last axis to vectors where the model needs one.
    checked = wanted.rank is not None and (wanted.rank == spec.shape.rank or wanted.rank >= 3)
    if checked and not wanted.is_compatible_with(spec.shape):
        raise ValueError(
            f"`data` must yield batches of inputs of shape {wanted}, those of the model. "
            f"Received: inputs of shape {spec.shape}"
        )
