"""One row of the conformance table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tests import references

ODD = {"size": (7, 11)}
ONE_PIXEL = {"size": (1, 1)}
ROUNDED_DOWN = {"size": (7, 11), "rounded": math.floor}  # As a backbone without padding makes them.
LARGE = {"size": (50, 49), "channels": 1}  # From about here on `ops.pyr_down` no longer extends.


@dataclasses.dataclass(frozen=True)
class LayerCase:
    """One configuration of one layer.

    Attributes:
        make: makes the layer; takes `dtype` and passes it to the layers inside too.
        label: what is special about the case.
        size: sides of the images, or of the finest level.
        channels: of the images; of a list of levels one number for each of them; None for a layer that takes no images.
        vectors: sizes of the vectors that the layer takes behind the images or levels, each of shape [batch, size].
        arguments: of the call, beside the inputs.
        scale_factor: between the levels of a list.
        rounded: turns the quotient of a side and the factor into the next side.
        reference: the layer's result from the layer (for its weights) and NumPy inputs, independently.
        closed_form: for straight-through cases, in which the output is no smooth function: the gradients of
            sum(upstream * y), as {"inputs": [...], weight name: ...}, from (layer, inputs, upstream).
        unknown_sides: whether the layer works on images whose sides are not known.
        compiled: whether XLA can compile the layer.
        learned_sides: whether the sides of the output follow a weight, so that `compute_output_shape` cannot know them.
        statistics: names of weights that a step of training may change although no gradient does.
    """

    make: Callable
    label: str
    reference: Callable
    size: tuple[int, int] = (8, 10)
    channels: int | tuple[int, ...] | None = 3
    vectors: tuple[int, ...] = ()
    arguments: dict = dataclasses.field(default_factory=dict)
    scale_factor: float = 2.0
    rounded: Callable = math.ceil
    closed_form: Callable | None = None
    unknown_sides: bool = True
    compiled: bool = True
    learned_sides: bool = False
    statistics: tuple[str, ...] = ()

    @property
    def layer(self) -> type:
        return type(self.make())

    def shapes(self, batch: int = 2, grow: int = 0) -> list[tuple[int, ...]]:
        """Return the shapes of the inputs, images first; `grow` makes those larger, odd for even."""
        height, width = self.size[0] + grow, self.size[1] + 2 * grow
        if self.channels is None:
            levels: tuple[int, ...] = ()
        else:
            levels = self.channels if isinstance(self.channels, tuple) else (self.channels,)
        shapes: list[tuple[int, ...]] = []
        for channels in levels:
            shapes.append((batch, height, width, channels))
            height, width = (max(1, self.rounded(n / references.fraction(self.scale_factor))) for n in (height, width))
        return shapes + [(batch, size) for size in self.vectors]

    def symbolic_shapes(self) -> list[tuple[int | None, ...]]:
        """Return the shapes of the inputs without the batch, the sides unknown where the layer allows it."""
        return [(None, None, s[3]) if self.unknown_sides and len(s) == 4 else s[1:] for s in self.shapes()]

    def inputs(self, batch: int = 2, grow: int = 0) -> list[np.ndarray]:
        rng = np.random.default_rng(1)
        return [rng.standard_normal(shape) for shape in self.shapes(batch, grow)]

    def structured(self, values: list) -> object:
        """Return what the layer is called with: a list, or the one tensor."""
        return values[0] if len(values) == 1 and not isinstance(self.channels, tuple) else list(values)


def weight(layer: object, name: str) -> np.ndarray:
    """Return the one weight of a layer whose name ends so, in float64."""
    (value,) = [w for w in layer.weights if short_name(w) == name]
    return np.float64(value.numpy())


def short_name(weight: object) -> str:
    """Return the name of a weight without the scopes that some Keras puts around it."""
    return weight.name.split(":")[0].split("/")[-1]


def unnested(outputs: object) -> object:
    """Return outputs as a model can have them: a list beside a tensor is no signature of a SavedModel's."""
    return tf.nest.flatten(outputs) if isinstance(outputs, tuple) else outputs


def case_id(case: LayerCase) -> str:
    return f"{case.layer.__name__}-{case.label}"
