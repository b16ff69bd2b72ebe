"""Checks of the argument `data` of `fit_distributed`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Union

import tensorflow as tf

from tfpyramid._compat import keras

Data = Union[tf.data.Dataset, Callable[[int], tf.data.Dataset]]

_RULE = (
    "`data` must be a tf.data.Dataset of batches (inputs, targets) or (inputs, targets, weights), or a function that "
    "takes the number of an epoch and returns such a dataset"
)


def check_data(data: Any) -> None:
    """Raise `ValueError` unless `data` is a dataset or a function."""
    if not isinstance(data, tf.data.Dataset) and (not callable(data) or isinstance(data, type)):
        advice = "For arrays, use tf.data.Dataset.from_tensor_slices((inputs, targets)).batch(32)"
        raise ValueError(f"{_RULE}. {advice}. Received: data of type {type(data).__name__}")


def epoch_dataset(data: Data, epoch: int, model: keras.Model) -> tf.data.Dataset:
    """Return the dataset of an epoch; raise `ValueError` if the model cannot train on its batches."""
    dataset = data if isinstance(data, tf.data.Dataset) else data(epoch)
    if not isinstance(dataset, tf.data.Dataset):
        raise ValueError(f"{_RULE}. Received: data({epoch}) of type {type(dataset).__name__}")
    cardinality = int(dataset.cardinality())
    if cardinality == tf.data.INFINITE_CARDINALITY:
        raise ValueError("`data` must be finite; use data.take(1000). Received: an infinite dataset")
    if cardinality == 0:
        raise no_batch_error(epoch)
    _check_structure(dataset.element_spec, model)
    return dataset


def no_batch_error(epoch: int) -> ValueError:
    """Return the error about an epoch without batches."""
    return ValueError(f"`data` must have at least one batch. Received: no batch for epoch {epoch}")


def _check_structure(spec: Any, model: keras.Model) -> None:
    # A model without a compiled loss needs no targets: its layers add all its losses.
    parts = spec if isinstance(spec, tuple) else (spec,)
    if len(parts) not in (2, 3) and not (len(parts) == 1 and not getattr(model, "loss", None)):
        raise ValueError(f"{_RULE}. Received: data with elements {spec}")
    shapes = [(tensor, tf.TensorShape(getattr(tensor, "shape", None))) for tensor in tf.nest.flatten(parts)]
    if any(shape.rank == 0 for _, shape in shapes):
        raise ValueError(f"`data` must yield batches; use data.batch(32). Received: data with elements {spec}")
    if len({shape[0] for _, shape in shapes if shape.rank} - {None}) > 1:
        rule = "`data` must yield batches with one target, and one weight if any, for each input"
        raise ValueError(f"{rule}. Received: data with elements {spec}")
    _check_inputs(parts[0], model)


def _check_inputs(spec: Any, model: keras.Model) -> None:
    """Raise `ValueError` if the model has one input and the data has another shape than that input."""
    inputs = getattr(model, "inputs", None) or []
    if len(inputs) != 1 or not isinstance(spec, tf.TensorSpec) or spec.shape.rank is None:
        return
    required = tf.TensorShape(inputs[0].shape)
    # Keras itself adds a last axis to vectors if the model needs one.
    is_comparable = required.rank is not None and (required.rank == spec.shape.rank or required.rank >= 3)
    if is_comparable and not required.is_compatible_with(spec.shape):
        raise ValueError(
            f"`data` must yield batches of inputs of shape {required}, the input shape of the model. "
            f"Received: inputs of shape {spec.shape}"
        )
