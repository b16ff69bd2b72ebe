"""Attributes of a layer that callbacks, plots and saving look for.

A layer of your own offers one of these by having the attribute. It need not inherit from anything. Here
`training.TemperatureAnnealing` lowers the temperature of `Gate`, and `training.PyramidMonitor` records it.

Example:
    >>> class Gate(keras.layers.Layer):
    ...     def build(self, input_shape):
    ...         self.temperature = self.add_weight(name="temperature", shape=(), initializer="ones", trainable=False)
    >>> gate = Gate()
    >>> gate.build((None, 3))
    >>> layers.protocols.temperature_of(gate) is gate.temperature
    True
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import tensorflow as tf

from tfpyramid._compat import keras


class HasTemperature(Protocol):
    """A layer that makes a choice which becomes harder when its temperature is lowered.

    `training.TemperatureAnnealing` assigns the temperature, and `training.PyramidMonitor` records it.

    Attributes:
        temperature: scalar weight that is not trained, greater than 0. Both callbacks skip a layer if it is None.
    """

    temperature: Any


class HasDownsamplers(Protocol):
    """A pyramid with a layer for each step from a level to the next.

    `training.PyramidMonitor` records the gradient norm of each. If the layer also has `share_weights=True`, one layer
    computes all levels, and its norm is recorded as "shared".

    Attributes:
        downsamplers: the layer at index k computes level k + 1.
    """

    downsamplers: Sequence[keras.layers.Layer]


class HasLevelLayers(Protocol):
    """A layer of levels with a layer for each level.

    `training.PyramidMonitor` records the gradient norm of each.

    Attributes:
        level_layers: the layer at index k is applied to level k; empty if the levels share one layer.
    """

    level_layers: Sequence[keras.layers.Layer]


class HasKernel(Protocol):
    """A layer with a convolution kernel.

    `visualize.show_kernels` draws the kernels of any layer, and `training.PyramidMonitor` those of the downsampling
    layers of this package.

    Attributes:
        kernel: tensor or weight [rows, columns, channels, filters].
    """

    kernel: Any


class HasBlur(Protocol):
    """A layer with one blur for each channel, which is drawn instead of its `kernel`.

    Attributes:
        blur: tensor or weight [rows, columns, channels, 1].
    """

    blur: Any


@runtime_checkable
class HasLevelUsage(Protocol):
    """A layer whose output tells how much each sample uses each level.

    `training.PyramidMonitor` records the mean over a sample of the data.
    """

    def level_usage(self, outputs: Any) -> tf.Tensor:
        """Return the usage of each level, [batch, levels], from the outputs of the layer."""


class HasSecondNames(Protocol):
    """A layer or model that holds a part in two attributes, and hides one of them when Keras saves.

    Keras saves a part under the first attribute that it finds. Keras 2 and Keras 3 search in opposite orders, so they
    choose different names for a part in two attributes. Hiding one of the names keeps weight files portable. The class
    must also return `saved_names(self, super().__dir__())` from `__dir__`, as the layers of this package do.

    Attributes:
        second_names: names of the attributes to hide.
    """

    second_names: Sequence[str]


def temperature_of(layer: Any) -> Any | None:
    """Return the weight `temperature` of a layer, or None if it has none."""
    temperature = getattr(layer, "temperature", None)
    return temperature if hasattr(temperature, "assign") else None


def has_level_usage(layer: Any) -> bool:
    """Tell if a layer has the method `level_usage`."""
    return isinstance(layer, HasLevelUsage)


def layers_of_levels(layer: Any) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yield "level_k", or "shared", and the layer with its weights, from `downsamplers` and `level_layers`."""
    for attribute, first in (("downsamplers", 1), ("level_layers", 0)):
        for k, part in enumerate(getattr(layer, attribute, None) or [], first):
            yield "shared" if getattr(layer, "share_weights", False) else f"level_{k}", part


def kernel_attribute(layer: Any) -> str | None:
    """Return "blur" or "kernel", whichever attribute a built layer has, the first of both; None if it has neither."""
    return next((name for name in ("blur", "kernel") if hasattr(layer, name)), None)


def saved_names(holder: Any, names: Iterable[str]) -> list[str]:
    """Return the names in `dir(holder)`, where Keras finds the parts to save, without those in `second_names`."""
    return [name for name in names if name not in getattr(holder, "second_names", ())]
