"""The conformance table: every public layer, by default and with each of its arguments off its default."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from tests import references
from tfpyramid import layers
from tfpyramid._compat import keras


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


def _pyramid(
    label: str, name: str, num_levels: int | None = 3, *, case: dict | None = None, **step: object
) -> LayerCase:
    """A case of GaussianPyramid or LaplacianPyramid; `step` are the arguments of both the layer and the reference."""
    function = {"GaussianPyramid": references.gaussian_pyramid, "LaplacianPyramid": references.laplacian_pyramid}[name]
    return LayerCase(
        make=lambda **common: getattr(layers, name)(num_levels, **step, **common),
        label=label,
        reference=lambda layer, x: function(x, num_levels, **step),
        **(case or {}),
    )


def _reconstruction(label: str, *, case: dict | None = None, **step: object) -> LayerCase:
    return LayerCase(
        make=lambda **common: layers.LaplacianReconstruction(**step, **common),
        label=label,
        reference=lambda layer, *levels: references.reconstruct(levels, **step),
        **{"channels": (3, 3, 3), "scale_factor": step.get("scale_factor", 2.0), **(case or {})},
    )


def _quantized(kernel: np.ndarray, bits: int) -> np.ndarray:
    return np.clip(np.round(kernel * 2**bits), -(2**bits), 2**bits) / 2**bits


def _downsample(label: str, *, case: dict | None = None, **arguments: object) -> LayerCase:
    settings = {"strides": 2, "border": "reflect", "hard": False, "kernel_bits": 8, **arguments}
    strides, border = settings["strides"], settings["border"]

    def used_kernel(layer: object) -> np.ndarray:
        kernel = weight(layer, "kernel")
        return _quantized(kernel, settings["kernel_bits"]) if settings["hard"] else kernel

    def reference(layer: object, x: np.ndarray) -> np.ndarray:
        bias = weight(layer, "bias") if arguments.get("use_bias") else 0
        return references.conv_down(x, used_kernel(layer), strides, border) + bias

    def closed_form(layer: object, inputs: list, upstream: list) -> dict:
        # The layer is linear in the image for the quantised kernel, and the surrogate linear in the kernel: each
        # derivative is the response to a unit impulse. No weight of the cases is near 1, where it would be clipped.
        (x,), (u,) = inputs, upstream
        dx, dkernel = np.zeros_like(x), np.zeros_like(weight(layer, "kernel"))
        for index in np.ndindex(x.shape):
            unit = np.zeros_like(x)
            unit[index] = 1
            dx[index] = np.sum(u * references.conv_down(unit, used_kernel(layer), strides, border))
        for index in np.ndindex(dkernel.shape):
            unit = np.zeros_like(dkernel)
            unit[index] = 1
            dkernel[index] = np.sum(u * references.conv_down(x, unit, strides, border))
        return {"inputs": [dx], "kernel": dkernel}

    return LayerCase(
        make=lambda **common: layers.LearnableDownsample2D(**arguments, **common),
        label=label,
        reference=reference,
        closed_form=closed_form if settings["hard"] else None,
        **(case or {}),
    )


def _learnable(
    label: str, num_levels: int = 3, *, share: bool = False, case: dict | None = None, **inner: object
) -> LayerCase:
    """A case of LearnablePyramid over LearnableDownsample2D; with `inner` arguments the latter is given explicitly."""

    def make(**common: object) -> layers.LearnablePyramid:
        downsample = layers.LearnableDownsample2D(**inner, **common) if inner else None
        return layers.LearnablePyramid(num_levels, downsample, share_weights=share, **common)

    def reference(layer: layers.LearnablePyramid, x: np.ndarray) -> list[np.ndarray]:
        levels = [x]
        for k in range(num_levels - 1):
            kernel = np.float64(layer.downsamplers[0 if share else k].kernel.numpy())
            levels.append(references.conv_down(levels[-1], kernel, 2, "reflect"))
        return levels

    return LayerCase(make=make, label=label, reference=reference, **(case or {}))


def _convolutions(layer: object) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the (kernel, bias) of each level of a PerLevel of convolutions."""
    each = [layer.layer] if layer.share_weights else layer.level_layers
    return [(np.float64(c.kernel.numpy()), np.float64(c.bias.numpy()) if c.use_bias else 0.0) for c in each]


def _per_level(
    label: str, *, share: bool, case: dict | None = None, inner: str = "conv", **kwargs: object
) -> LayerCase:
    def make(**common: object) -> layers.PerLevel:
        layer = keras.layers.Conv2D(2, 3, padding="same", **common) if inner == "conv" else keras.layers.ReLU(**common)
        return layers.PerLevel(layer, share_weights=share, **common)

    def reference(layer: layers.PerLevel, *levels: np.ndarray) -> list[np.ndarray]:
        if inner == "relu":
            return [np.maximum(x, 0) for x in levels]
        weights = _convolutions(layer)
        return [references.conv_same(x, *weights[0 if share else k]) for k, x in enumerate(levels)]

    return LayerCase(
        make=make,
        label=label,
        reference=reference,
        **{"channels": (3, 3), "empty_batch": inner != "conv", **(case or {})},
    )


def _pyramid_conv(label: str, filters: int = 2, *, case: dict | None = None, **arguments: object) -> LayerCase:
    activation = {None: lambda y: y, "tanh": np.tanh}[arguments.get("activation")]

    def reference(layer: layers.PyramidConv2D, *levels: np.ndarray) -> list[np.ndarray]:
        weights = _convolutions(layer) * (len(levels) if layer.share_weights else 1)
        return [activation(references.conv_same(x, *w)) for x, w in zip(levels, weights)]

    return LayerCase(
        make=lambda **common: layers.PyramidConv2D(filters, **arguments, **common),
        label=label,
        reference=reference,
        **{"channels": (3, 4), **(case or {})},
    )


def _concat(label: str, *, case: dict | None = None, **arguments: object) -> LayerCase:
    names = {"target_level": "target"}
    aligned = {names.get(name, name): value for name, value in arguments.items()}
    return LayerCase(
        make=lambda **common: layers.UpsampleConcat(**arguments, **common),
        label=label,
        reference=lambda layer, *levels: np.concatenate(references.align(levels, **aligned), -1),
        **{"channels": (3, 2, 4), "scale_factor": arguments.get("scale_factor") or 2.0, **(case or {})},
    )


def _fusion(label: str, method: str = "fast_normalized", *, case: dict | None = None, **arguments: object) -> LayerCase:
    names = {"target_level": "target", "scale_factor": "scale_factor", "interpolation": "interpolation"}
    aligned = {names[name]: value for name, value in arguments.items() if name in names}
    hard, epsilon = arguments.get("hard", False), arguments.get("epsilon", 1e-4)

    def weights(layer: layers.WeightedFusion) -> np.ndarray:
        return references.fusion_weights(weight(layer, "level_weights"), method, epsilon)

    def used(layer: layers.WeightedFusion) -> np.ndarray:
        return np.eye(3)[np.argmax(weights(layer))] if hard else weights(layer)

    def reference(layer: layers.WeightedFusion, *levels: np.ndarray) -> np.ndarray:
        return sum(w * x for w, x in zip(used(layer), references.align(levels, **aligned)))

    def closed_form(layer: layers.WeightedFusion, inputs: list, upstream: list) -> dict:
        (u,) = upstream
        # d loss / d weight of a level, then through the softmax, or through v / (sum v + epsilon) of positive v.
        dw = np.array([np.sum(u * x) for x in references.align(inputs, **aligned)])
        w, v = weights(layer), weight(layer, "level_weights")
        dvalues = w * (dw - w @ dw) if method == "softmax" else (dw - w @ dw) / (v.sum() + epsilon)
        dx = [np.zeros_like(x) for x in inputs]
        chosen = int(np.argmax(w))
        for index in np.ndindex(inputs[chosen].shape):
            unit = [np.zeros_like(x) for x in inputs]
            unit[chosen][index] = 1
            dx[chosen][index] = np.sum(u * references.align(unit, **aligned)[chosen])
        return {"inputs": dx, "level_weights": dvalues}

    return LayerCase(
        make=lambda **common: layers.WeightedFusion(method, **arguments, **common),
        label=label,
        reference=reference,
        closed_form=closed_form if hard else None,
        **{"channels": (3, 3, 3), "scale_factor": arguments.get("scale_factor") or 2.0, **(case or {})},
    )


_ODD = {"size": (7, 11)}
_ONE_PIXEL = {"size": (1, 1)}

CASES = [
    *(
        case
        for name in ("GaussianPyramid", "LaplacianPyramid")
        for case in (
            _pyramid("default", name),
            _pyramid("odd", name, case=_ODD),
            _pyramid("one-pixel", name, case=_ONE_PIXEL),
            _pyramid("one-row", name, case={"size": (1, 9), "channels": 1}),
            _pyramid("all-levels", name, None, case={"unknown_sides": False, "size": (5, 6)}),
            _pyramid("half-octave", name, scale_factor=2**0.5, case={"channels": 2}),
            _pyramid("third-box", name, scale_factor=3.0, kernel="box", border="edge", case=_ODD),
            _pyramid("mipmap", name, kernel="box", border="symmetric"),
            _pyramid("taps", name, kernel=[0.2, 1.0, 0.5], border="wrap", case={"channels": 4}),
            _pyramid("zero-border", name, kernel="gaussian", border="constant", scale_factor=1.5),
        )
    ),
    _reconstruction("default"),
    _reconstruction("odd", case=_ODD),
    _reconstruction("one-pixel", case=_ONE_PIXEL),
    _reconstruction("half-octave", scale_factor=2**0.5, case={"channels": (2, 2)}),
    _reconstruction("mipmap-edge", kernel="box", border="edge"),
    _downsample("default"),
    _downsample("odd", case=_ODD),
    _downsample("one-pixel", case=_ONE_PIXEL),
    _downsample("more-filters", filters=4, use_bias=True, kernel_regularizer="l2", case={"channels": 2}),
    _downsample("fewer-filters", filters=1, kernel_size=3, border="symmetric"),
    _downsample("stride-3-even", strides=3, kernel_size=4, border="wrap", case=_ODD),
    _downsample("hard", hard=True, case={"size": (5, 6), "channels": 2}),
    _downsample(
        "hard-4-bits", hard=True, kernel_bits=4, kernel_size=3, border="edge", case={"size": (5, 4), "channels": 2}
    ),
    _learnable("default"),
    _learnable("odd", case=_ODD),
    _learnable("one-pixel", case=_ONE_PIXEL),
    _learnable("two-levels", 2, filters=5, case={"channels": 2}),
    _learnable("shared", 3, share=True, kernel_size=3),
    _per_level("shared", share=True),
    _per_level("separate", share=False, case={"channels": (3, 4), "size": (7, 9)}),
    _per_level("stateless", share=True, inner="relu", case=_ONE_PIXEL),
    _pyramid_conv("default"),
    _pyramid_conv("odd", case=_ODD),
    _pyramid_conv("one-pixel", case=_ONE_PIXEL),
    _pyramid_conv("shared", 3, share_weights=True, activation="tanh", kernel_size=1, case={"channels": (2, 2)}),
    _pyramid_conv("no-bias", use_bias=False, kernel_regularizer="l2", kernel_initializer="he_normal"),
    _concat("default"),
    _concat("odd", case=_ODD),
    _concat("one-pixel", case=_ONE_PIXEL),
    _concat("coarsest", target_level=-1),
    _concat("middle-nearest", target_level=1, interpolation="nearest", case=_ODD),
    _concat("third", scale_factor=3.0, case=_ODD),
    _concat("stretched", scale_factor=None, case=_ODD),
    _fusion("default"),
    _fusion("odd", case=_ODD),
    _fusion("one-pixel", case=_ONE_PIXEL),
    _fusion("softmax-coarsest", "softmax", target_level=-1, case={"channels": (2, 2, 2)}),
    _fusion("sum-nearest", "sum", interpolation="nearest", scale_factor=3.0),
    _fusion("hard", hard=True, epsilon=0.01, case={"size": (4, 5), "channels": (2, 2, 2)}),
    _fusion("hard-softmax", "softmax", hard=True, target_level=1, case={"size": (4, 5), "channels": (2, 2, 2)}),
]


def case_id(case: LayerCase) -> str:
    return f"{case.layer.__name__}-{case.label}"
