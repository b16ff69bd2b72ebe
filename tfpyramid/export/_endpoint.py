"""A Keras model as a server calls it: a function of named tensors that returns named tensors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import first_call_shapes, keras
from tfpyramid.export._names import argument_name, input_names
from tfpyramid.export.pixels import Pixels
from tfpyramid.ops.portable import portable as portable_operations

Function = Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]

# Height and width of an image of unknown size in the check of a written model: odd, and not square.
_SIDES = (65, 79)


def functional(model: Any) -> keras.Model:
    """Return `model` as a functional model; its inputs must be known."""
    is_model = isinstance(model, keras.Model)
    if is_model and getattr(model, "inputs", None):
        # In Keras 3, a Sequential model that was never called has no `input` and `output`.
        sequential = isinstance(model, keras.Sequential)
        return keras.Model(model.inputs, model.outputs, name=model.name) if sequential else model
    shapes = first_call_shapes(model) if is_model else None
    if shapes is None:
        raise ValueError(
            "`model` must be a keras.Model with known inputs: a functional model, or another one after a first call "
            f"on one argument, such as model(images). {_checks.received('model', model)}"
        )
    inputs = _inputs(shapes)
    return keras.Model(inputs, model(inputs), name=model.name)


def _inputs(shapes: Any, name: str = "inputs") -> Any:
    """Return symbolic inputs for the shapes of a first call, in the same structure, named by its keys and indices."""
    if isinstance(shapes, Mapping):
        return {key: _inputs(shape, key) for key, shape in shapes.items()}
    if all(n is None or isinstance(n, int) for n in shapes):
        return keras.Input(tuple(shapes[1:]), name=name)
    return [_inputs(shape, f"{name}_{k}") for k, shape in enumerate(shapes)]


def input_specs(model: keras.Model) -> dict[str, tf.TensorSpec]:
    """Return the shape and dtype of each input by its name in a signature, in the order of `model.inputs`.

    The batch size is open, as in `model.export`. A Sequential model has the batch size of its first call in its shapes.
    """
    named = zip(input_names(model), model.inputs)
    return {name: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype, name=name) for name, tensor in named}


def endpoint(model: keras.Model, names: list[str] | None = None, *, portable: bool = False) -> Function:
    """Return `model` at inference as a function; `names` are the names of its outputs, by default numbers."""

    def call(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        with portable_operations() if portable else contextlib.nullcontext():
            structured = tf.nest.pack_sequence_as(model.input, list(inputs.values()))
            outputs = tf.nest.flatten(model(structured, training=False))
        return dict(zip(names or map(str, range(len(outputs))), outputs))

    return call


def is_image(spec: tf.TensorSpec) -> bool:
    """Return whether an input can be a batch of images from files."""
    return spec.dtype.is_floating and spec.shape.rank == 4 and spec.shape[3] in (1, 3, 4)


def sample_inputs(
    model: keras.Model, sample: Any, argument: str = "sample", pixels: Pixels = Pixels()
) -> dict[str, tf.Tensor]:
    """Return one batch by name: `sample`, or random numbers with fixed sizes in place of unknown ones."""
    specs = input_specs(model)
    if sample is None:
        return {name: _random(spec, pixels) for name, spec in specs.items()}
    values = _flat(model, sample, argument)
    return {name: _tensor(value, spec, argument) for value, (name, spec) in zip(values, specs.items())}


def _flat(model: keras.Model, sample: Any, argument: str) -> list[Any]:
    """Return the values of a batch in the order of the model's inputs; find them by name or by structure."""
    specs = input_specs(model)
    rule = f"`{argument}` must hold one batch for each of {list(specs)}."
    if isinstance(sample, Mapping):
        named = {argument_name(key): value for key, value in sample.items() if isinstance(key, str)}
        if len(named) == len(sample) and set(named) == set(specs):
            return [named[name] for name in specs]
        if not isinstance(model.input, Mapping) or set(model.input) != set(sample):
            raise ValueError(f"{rule} Received: a dict of {list(sample)}")
    values = tf.nest.flatten(sample)
    if len(values) != len(specs):
        raise ValueError(f"{rule} Received: {len(values)} values")
    return values


def _tensor(value: Any, spec: tf.TensorSpec, argument: str) -> tf.Tensor:
    """Return one batch for an input as a tensor; raise unless its shape fits."""
    rule = f"`{argument}` must be a batch that the model can process: {spec.name!r} must be {spec.dtype.name} of shape "
    try:
        if isinstance(value, np.ma.MaskedArray):
            raise TypeError("a masked array: the model would ignore the mask")
        if np.iscomplexobj(value):
            raise TypeError("complex numbers")
        tensor = tf.convert_to_tensor(value, spec.dtype)
    except (TypeError, ValueError, OverflowError, tf.errors.OpError) as error:
        raise ValueError(f"{rule}{spec.shape}. {_checks.received(spec.name, value)}, which raised: {error}") from error
    if not spec.shape.is_compatible_with(tensor.shape) or not tensor.shape[0]:
        raise ValueError(f"{rule}{spec.shape}, and not empty. Received: {spec.name!r} of shape {tensor.shape}")
    return tensor


def _random(spec: tf.TensorSpec, pixels: Pixels) -> tf.Tensor:
    if spec.dtype == tf.string:
        raise ValueError(
            f"`sample` must be given for a model with a string input. Received: sample=None, input {spec.name!r}"
        )
    _, *rest = spec.shape.as_list()
    sides = (n if n is not None else _SIDES[k % 2] for k, n in enumerate(rest))
    low, high = pixels.value_range if is_image(spec) else (0.0, 1.0)
    values = low + (high - low) * np.random.default_rng(0).random([2, *sides])
    return tf.cast(tf.constant(values), spec.dtype)
