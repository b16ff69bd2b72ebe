"""One row of the conformance table."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tests import references

ODD = {"size": (7, 11)}
ONE_PIXEL = {"size": (1, 1)}
ROUNDED_DOWN = {"size": (7, 11), "rounded": math.floor}  # The sides of a backbone without padding.
LARGE = {"size": (50, 49), "channels": 1}  # Large enough that `ops.pyr_down` does not extend the image.


@dataclasses.dataclass(frozen=True)
class LayerCase:
    """One configuration of one layer.

    Attributes:
        make: function that returns the layer; it takes `dtype` and also passes it to the layers inside.
        label: name of the case.
        size: sides of the images, or of the finest level.
        channels: channels of the images, one number for each level of a list; None for a layer without images.
        vectors: sizes of the vectors, [batch, size], that the layer takes after the images or levels; a tuple of sizes
            for a tensor of more axes.
        arguments: arguments of the call, other than the inputs.
        scale_factor: factor between the levels of a list.
        rounded: function that rounds the quotient of a side and the factor to the next side.
        reference: independent function of the layer (for its weights) and NumPy inputs that returns the layer's result.
        closed_form: for straight-through cases, where the output is not smooth: function of (layer, inputs, upstream)
            that returns the gradients of sum(upstream * y), as {"inputs": [...], weight name: ...}.
        unknown_sides: whether the layer works on images with unknown sides.
        compiled: whether XLA can compile the layer.
        learned_sides: whether the sides of the output depend on a weight, so `compute_output_shape` cannot return them.
        varying: whether the second axis of the outputs has another size in training, so `compute_output_shape`
            returns None for it.
        precise: whether the outputs are float32 where the dtype policy is of half precision.
        statistics: names of weights that a training step may change without a gradient.
    """

    make: Callable
    label: str
    reference: Callable
    size: tuple[int, int] = (8, 10)
    channels: int | tuple[int, ...] | None = 3
    vectors: tuple[int | tuple[int, ...], ...] = ()
    arguments: dict = dataclasses.field(default_factory=dict)
    scale_factor: float = 2.0
    rounded: Callable = math.ceil
    closed_form: Callable | None = None
    unknown_sides: bool = True
    compiled: bool = True
    learned_sides: bool = False
    varying: bool = False
    precise: bool = False
    statistics: tuple[str, ...] = ()

    @functools.cached_property  # Each test of the table asks for it, and layers take a millisecond to make.
    def layer(self) -> type:
        return type(self.make())

    def shapes(self, batch: int = 2, grow: int = 0) -> list[tuple[int, ...]]:
        """Return the shapes of the inputs, images first; `grow` enlarges their sides, and makes an even height odd."""
        height, width = self.size[0] + grow, self.size[1] + 2 * grow
        if self.channels is None:
            levels: tuple[int, ...] = ()
        else:
            levels = self.channels if isinstance(self.channels, tuple) else (self.channels,)
        shapes: list[tuple[int, ...]] = []
        for channels in levels:
            shapes.append((batch, height, width, channels))
            height, width = (max(1, self.rounded(n / references.fraction(self.scale_factor))) for n in (height, width))
        return shapes + [(batch, *(size if isinstance(size, tuple) else (size,))) for size in self.vectors]

    def symbolic_shapes(self) -> list[tuple[int | None, ...]]:
        """Return the shapes of the inputs without the batch, the sides unknown where the layer allows it."""
        return [(None, None, s[3]) if self.unknown_sides and len(s) == 4 else s[1:] for s in self.shapes()]

    def inputs(self, batch: int = 2, grow: int = 0) -> list[np.ndarray]:
        rng = np.random.default_rng(1)
        return [rng.standard_normal(shape) for shape in self.shapes(batch, grow)]

    def structured(self, values: list) -> object:
        """Return the argument of the layer's call: a list, or a single tensor."""
        return values[0] if len(values) == 1 and not isinstance(self.channels, tuple) else list(values)


def weight(layer: object, name: str) -> np.ndarray:
    """Return the weight of a layer with a name that ends in `name`, in float64."""
    (value,) = [w for w in layer.weights if short_name(w) == name]
    return np.float64(value.numpy())


def short_name(weight: object) -> str:
    """Return the name of a weight without the scopes that some versions of Keras add."""
    return weight.name.split(":")[0].split("/")[-1]


def unnested(outputs: object) -> object:
    """Return the outputs as a flat list, because a SavedModel cannot return a list next to a tensor."""
    return tf.nest.flatten(outputs) if isinstance(outputs, tuple) else outputs


def case_id(case: LayerCase) -> str:
    return f"{case.layer.__name__}-{case.label}"
