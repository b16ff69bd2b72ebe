"""One row of the conformance table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

ODD = {"size": (7, 11)}
ONE_PIXEL = {"size": (1, 1)}


@dataclasses.dataclass(frozen=True)
class LayerCase:
    """One configuration of one layer.

    Attributes:
        make: makes the layer; takes `dtype` and passes it to the layers inside too.
        label: what is special about the case.
        size: sides of the images, or of the finest level.
        channels: of the images; of a list of levels one number for each of them.
        scale_factor: between the levels of a list.
        reference: the layer's result from the layer (for its weights) and NumPy inputs, independently.
        closed_form: for straight-through cases, in which the output is no smooth function: the gradients of
            sum(upstream * y), as {"inputs": [...], weight name: ...}, from (layer, inputs, upstream).
        unknown_sides: whether the layer works on images whose sides are not known.
        learned_sides: whether the sides of the output follow a weight, so that `compute_output_shape` cannot know them.
        empty_batch: whether it works on a batch of none; Keras's own convolution, given to a layer of ours, does not.
    """

    make: Callable
    label: str
    reference: Callable
    size: tuple[int, int] = (8, 10)
    channels: int | tuple[int, ...] = 3
    scale_factor: float = 2.0
    closed_form: Callable | None = None
    unknown_sides: bool = True
    learned_sides: bool = False
    empty_batch: bool = True

    @property
    def layer(self) -> type:
        return type(self.make())

    def shapes(self, batch: int = 2, grow: int = 0) -> list[tuple[int, ...]]:
        """Return the shapes of the inputs, one or a list of levels; `grow` makes them larger, odd for even."""
        height, width = self.size[0] + grow, self.size[1] + 2 * grow
        shapes = []
        for channels in self.channels if isinstance(self.channels, tuple) else [self.channels]:
            shapes.append((batch, height, width, channels))
            height, width = math.ceil(height / self.scale_factor), math.ceil(width / self.scale_factor)
        return shapes

    def inputs(self, batch: int = 2, grow: int = 0) -> list[np.ndarray]:
        rng = np.random.default_rng(1)
        return [rng.standard_normal(shape) for shape in self.shapes(batch, grow)]

    def structured(self, values: list) -> object:
        """Return what the layer is called with: a list of levels, or the one batch of images."""
        return list(values) if isinstance(self.channels, tuple) else values[0]


def weight(layer: object, name: str) -> np.ndarray:
    """Return the one weight of a layer whose name ends so, in float64."""
    (value,) = [w for w in layer.weights if w.name.split(":")[0].split("/")[-1] == name]
    return np.float64(value.numpy())


def case_id(case: LayerCase) -> str:
    return f"{case.layer.__name__}-{case.label}"
