"""Copies of the graphs of models, in which strided layers have stride 1 and a blur with the stride."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any, NamedTuple

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import Call, graph_calls, keras, nested_layers, producer
from tfpyramid.layers import BlurPool2D

_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
_POOLS = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
_ACTIVATIONS = (
    keras.layers.Activation,
    keras.layers.ELU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ReLU,
)


class Settings(NamedTuple):
    """What to blur, and how."""

    chosen: Collection[Any]
    kernel_size: int | None
    border: str


def strided_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the pools and convolutions with strides in the graph of a model and of the models inside it."""
    found: list[keras.layers.Layer] = []
    for call in graph_calls(model):
        found += strided_layers(call.layer) if isinstance(call.layer, keras.Model) else [call.layer]
    # In Keras 2, a transposed convolution is a convolution.
    kept = [layer for layer in found if isinstance(layer, (*_CONVOLUTIONS, *_POOLS))]
    kept = [layer for layer in kept if not isinstance(layer, keras.layers.Conv2DTranspose) and max(layer.strides) > 1]
    return list(dict.fromkeys(kept))


def antialiased(model: keras.Model, settings: Settings) -> keras.Model:
    """Return a copy of a model with a graph, with blurs for the strides of the chosen layers."""
    return _Copy(settings).of_model(model)


class _Copy:
    """Copies models; a layer that is called several times is copied once."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.copies: dict[Any, Any] = {}
        self.blurs: dict[Any, BlurPool2D] = {}

    def of_model(self, model: keras.Model) -> keras.Model:
        calls = graph_calls(model)
        names = {call.layer.name for call in calls}
        before, after = self._places(calls, {id(x) for x in model.outputs})
        inputs = [producer(x) for x in model.inputs]
        sequence = [type(layer).from_config(layer.get_config()) for layer in inputs]
        tensors = {id(x): layer.output for x, layer in zip(model.inputs, sequence)}

        def blurred(x: Any, layer: keras.layers.Layer) -> Any:
            sequence.append(self._blur(layer, names))
            return sequence[-1](x)

        for k, call in enumerate(calls):
            given = {id(x): tensors[id(x)] for x in call.inputs}
            if k in before:
                given = {key: blurred(x, call.layer) for key, x in given.items()}
            args, kwargs = _replaced((call.args, call.kwargs), given)
            sequence.append(self.of_layer(call.layer))
            results = tf.nest.flatten(sequence[-1](*args, **kwargs))
            if k in after:
                results = [blurred(y, after[k]) for y in results]
            tensors.update(zip(map(id, call.outputs), results))
        if isinstance(model, keras.Sequential):
            copy = keras.Sequential(sequence, name=model.name)
        else:
            copy = keras.Model(_replaced(model.input, tensors), _replaced(model.output, tensors), name=model.name)
        for call in calls:
            _copy_weights(call.layer, self.copies[call.layer])
        if not model.trainable:
            copy.trainable = False
        return copy

    def _places(self, calls: list[Call], outputs: Collection[int]) -> tuple[set[int], dict[int, keras.layers.Layer]]:
        """Return before and after which calls there are blurs; after a call, it is the blur of a convolution."""
        before, after = set(), {}
        readers = defaultdict(list)
        for k, call in enumerate(calls):
            for x in call.inputs:
                readers[id(x)].append(k)
        # A result that the model returns is read by the caller, too.
        only_reader = {key: each[0] for key, each in readers.items() if len(each) == 1 and key not in outputs}
        for k, call in enumerate(calls):
            if call.layer not in self.settings.chosen or not isinstance(call.layer, _CONVOLUTIONS):
                continue
            end = _activation(k, calls, only_reader)
            if end is None and max(call.layer.kernel_size) == 1:
                before.add(k)
            else:
                after[k if end is None else end] = call.layer
        return before, after

    def _blur(self, layer: keras.layers.Layer, names: set[str]) -> BlurPool2D:
        """Return the blur for the strides of a convolution."""
        if layer not in self.blurs:
            name = f"{layer.name}_blur"
            while name in names:
                name += "_"
            names.add(name)
            # Without padding, the first result of stride 1 is the first result of any stride. With the padding "same",
            # the position of that depends on the sides, as in a pool.
            window = layer.kernel_size if layer.padding == "same" else 1
            self.blurs[layer] = self._pool(layer, pooling="average", pool_size=window, padding="same", name=name)
        return self.blurs[layer]

    def _pool(self, layer: keras.layers.Layer, pooling: str, pool_size: Any, **arguments: Any) -> BlurPool2D:
        window = pool_size if pooling == "average" and isinstance(layer, _POOLS) else 1
        rows, columns = (self._taps(*each) for each in zip(layer.strides, _checks.pair("pool_size", window, 1)))
        arguments = {**arguments, "border": self.settings.border, "dtype": layer.dtype_policy}
        return BlurPool2D((rows, columns), layer.strides, pool_size=pool_size, pooling=pooling, **arguments)

    def _taps(self, step: int, window: int) -> int:
        """Return the number of taps of a blur in the place of the average of a window, or after a layer of stride 1.

        By default their standard deviation is about half a step. Their centre is that of the window.
        """
        if step == 1:
            return 1
        return self.settings.kernel_size or min(1 + 4 * (step * step // 4), _checks.LARGEST - 1) - (window + 1) % 2

    def of_layer(self, layer: Any) -> Any:
        if layer not in self.copies:
            self.copies[layer] = self._copied(layer)
        return self.copies[layer]

    def _copied(self, layer: Any) -> Any:
        if isinstance(layer, keras.Model) and graph_calls(layer):
            return self.of_model(layer)
        if layer not in self.settings.chosen:
            return type(layer).from_config(layer.get_config())
        if isinstance(layer, _CONVOLUTIONS):
            return type(layer).from_config({**layer.get_config(), "strides": (1, 1)})
        pooling = "max" if isinstance(layer, keras.layers.MaxPooling2D) else "average"
        return self._pool(layer, pooling, layer.pool_size, padding=layer.padding, name=layer.name)


def _activation(k: int, calls: list[Call], only_reader: dict[int, int]) -> int | None:
    """Return the call of the activation of a convolution: its own, or one after at most batch normalization."""
    if calls[k].layer.activation is not keras.activations.linear:
        return k
    while True:
        reader = only_reader.get(id(calls[k].outputs[0]))
        if reader is None or len(calls[reader].inputs) != 1:
            return None
        layer = calls[reader].layer
        # The weights of a PReLU may belong to places of the smaller map.
        if isinstance(layer, _ACTIVATIONS) and not (isinstance(layer, keras.layers.PReLU) and _has_places(layer)):
            return reader
        if not isinstance(layer, keras.layers.BatchNormalization) or layer.axis not in (-1, 3, [3], (3,)):
            return None
        k = reader


def _has_places(layer: keras.layers.Layer) -> bool:
    return any(side != 1 for side in layer.weights[0].shape[:2])


def _replaced(structure: Any, tensors: dict[int, Any]) -> Any:
    return tf.nest.map_structure(lambda x: tensors.get(id(x), x), structure)


def _copy_weights(layer: Any, copy: Any) -> None:
    if isinstance(layer, keras.layers.Layer) and not (isinstance(layer, keras.Model) and graph_calls(layer)):
        copy.set_weights(layer.get_weights())
        for part in nested_layers(copy):
            # It computes with constants that it makes from its weights.
            if isinstance(part, keras.layers.Normalization) and part.weights:
                part.finalize_state()
