"""A Keras model as what a server calls: a function of named tensors that returns named tensors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfpyramid._compat import keras, producer
from tfpyramid.export.pixels import Pixels
from tfpyramid.ops.portable import portable as portable_operations

Function = Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]

# Of an image of unknown size in the check of a written model: odd, and not square.
_SIDES = (65, 79)


def functional(model: Any) -> keras.Model:
    """Return `model`, which must have symbolic inputs, as a functional model."""
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError(
            "`model` must be a keras.Model with symbolic inputs; a subclassed one becomes that by "
            f"keras.Model(inputs, model(inputs)). Received: model={model!r}"
        )
    # A Sequential model of Keras 3 that was never called does not know its `input` and `output`.
    return keras.Model(model.inputs, model.outputs, name=model.name) if isinstance(model, keras.Sequential) else model


def input_specs(model: keras.Model) -> dict[str, tf.TensorSpec]:
    """Return what the model's inputs are, by name, in the order of `model.inputs`."""
    named = {tensor.name.split(":")[0]: tensor for tensor in model.inputs}
    return {name: tf.TensorSpec(tensor.shape, tensor.dtype, name=name) for name, tensor in named.items()}


def output_names(model: keras.Model) -> list[str]:
    """Return a name for each output: the key of a dict, or the layer it comes from, numbered where that repeats."""
    if isinstance(model.output, Mapping):
        return sorted(model.output)  # tf.nest flattens a dict in this order.
    names = [producer(tensor).name for tensor in model.outputs]
    return [f"{name}_{names[:k].count(name)}" if names.count(name) > 1 else name for k, name in enumerate(names)]


def endpoint(model: keras.Model, names: list[str] | None = None, *, portable: bool = False) -> Function:
    """Return `model` at inference as a traced function; `names` are those of its outputs, by default numbers."""

    @tf.function(autograph=False)
    def call(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        with portable_operations() if portable else contextlib.nullcontext():
            structured = tf.nest.pack_sequence_as(model.input, list(inputs.values()))
            outputs = tf.nest.flatten(model(structured, training=False))
        return dict(zip(names or map(str, range(len(outputs))), outputs))

    return call


def is_image(spec: tf.TensorSpec) -> bool:
    """Tell whether an input can be a batch of images as files have them."""
    return spec.dtype.is_floating and spec.shape.rank == 4 and spec.shape[3] in (1, 3, 4)


def sample_inputs(
    model: keras.Model, sample: Any, argument: str = "sample", pixels: Pixels = Pixels()
) -> dict[str, tf.Tensor]:
    """Return one batch by name: `sample`, or random numbers with the unknown sizes chosen."""
    specs = input_specs(model)
    if sample is None:
        return {name: _random(spec, pixels) for name, spec in specs.items()}
    values = [sample[name] for name in specs] if isinstance(sample, Mapping) and set(sample) == set(specs) else sample
    values = tf.nest.flatten(values)
    if len(values) != len(specs):
        raise ValueError(f"`{argument}` must hold one batch for each of {list(specs)}. Received: {len(values)} values")
    return {name: tf.convert_to_tensor(value, spec.dtype) for value, (name, spec) in zip(values, specs.items())}


def _random(spec: tf.TensorSpec, pixels: Pixels) -> tf.Tensor:
    if spec.dtype == tf.string:
        raise ValueError(
            f"`sample` must be given for a model with an input of strings. Received: sample=None, input {spec.name!r}"
        )
    batch, *rest = spec.shape.as_list()
    sides = (n if n is not None else _SIDES[k % 2] for k, n in enumerate(rest))
    low, high = pixels.value_range if is_image(spec) else (0.0, 1.0)
    values = low + (high - low) * np.random.default_rng(0).random([batch or 2, *sides])
    return tf.cast(tf.constant(values), spec.dtype)
