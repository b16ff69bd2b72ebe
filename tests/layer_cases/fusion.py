"""Cases of the layers that take levels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests import references
from tests.layer_cases.case import ODD, ONE_PIXEL, ROUNDED_DOWN, LayerCase, weight
from tfpyramid import layers
from tfpyramid._compat import keras


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
        **{"channels": (3, 3), **(case or {})},
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


def _fusion(
    label: str, method: str | None = "fast_normalized", *, case: dict | None = None, **arguments: object
) -> LayerCase:
    names = {name: name for name in ("scale_factor", "interpolation", "phase")} | {"target_level": "target"}
    aligned = {names[name]: value for name, value in arguments.items() if name in names}
    hard, epsilon = arguments.get("hard", False), arguments.get("epsilon", 1e-4)

    adaptive = arguments.get("adaptive")
    soft_method = "softmax" if adaptive else method

    def fused(levels: list, learned: dict, temperature: np.ndarray | float, estimate: Callable) -> np.ndarray:
        found, values = references.align(levels, **aligned), learned["level_weights"]
        if adaptive:
            read = found if adaptive == "map" else [x.mean(axis=(1, 2), keepdims=True) for x in levels]
            values = np.stack([x @ u + v for x, u, v in zip(read, learned["score_kernel"], values)])
        weights = references.fusion_weights(values, soft_method, epsilon, temperature)
        chosen = np.argmax(weights.real, axis=0) == np.arange(3).reshape(-1, *[1] * (weights.ndim - 1))
        return sum(w * x for w, x in zip(estimate(chosen, weights), found))

    def learned(layer: layers.WeightedFusion) -> tuple:
        names = ["level_weights", *["score_kernel"] * bool(adaptive)]
        temperature = weight(layer, "temperature") if soft_method == "softmax" else 1.0
        return {name: weight(layer, name) for name in names}, temperature

    def reference(layer: layers.WeightedFusion, *levels: np.ndarray) -> np.ndarray:
        return fused(levels, *learned(layer), references.hard if hard else references.soft)

    def closed_form(layer: layers.WeightedFusion, inputs: list, upstream: list) -> dict:
        values, temperature = learned(layer)

        def as_learned(**given: np.ndarray) -> np.ndarray:
            levels = [given.pop(f"level_{k}") for k in range(3)]
            return fused(levels, given, temperature, references.straight_through)

        given = {**values, **{f"level_{k}": x for k, x in enumerate(inputs)}}
        found = references.complex_step(as_learned, given, upstream[0])
        return {"inputs": [found.pop(f"level_{k}") for k in range(3)], **found}

    return LayerCase(
        make=lambda **common: layers.WeightedFusion(method, **arguments, **common),
        label=label,
        reference=reference,
        closed_form=closed_form if hard else None,
        **{"channels": (3, 3, 3), "scale_factor": arguments.get("scale_factor") or 2.0, **(case or {})},
    )


def _features(label: str, *, case: dict | None = None, **arguments: object) -> LayerCase:
    names = ("extra_levels", "scale_factor", "interpolation", "phase")

    def parts(convolutions: layers.PyramidConv2D, norms: layers.PerLevel | None) -> list[Callable]:
        """Return the function of each level."""
        stages = []
        for k, conv in enumerate(_convolutions(convolutions)):
            norm = None
            if norms is not None:
                given = norms.level_layers[k]
                given = (given.gamma, given.beta, given.moving_mean, given.moving_variance)
                norm = [np.float64(w.numpy()) for w in given]

            def stage(x: np.ndarray, conv: tuple = conv, norm: list | None = norm) -> np.ndarray:
                y = references.conv_same(x, *conv)
                return y if norm is None else references.batch_norm(y, *norm)

            stages.append(stage)
        return stages

    def reference(layer: layers.FeaturePyramid, *levels: np.ndarray) -> list[np.ndarray]:
        through = (parts(layer.lateral, layer.lateral_norm), parts(layer.output_conv, layer.output_norm))
        settings = {name: value for name, value in arguments.items() if name in names}
        return references.feature_pyramid(levels, *through, **settings)

    return LayerCase(
        make=lambda **common: layers.FeaturePyramid(**{"filters": 2, **arguments, **common}),
        label=label,
        reference=reference,
        **{"channels": (3, 2, 4), "scale_factor": arguments.get("scale_factor") or 2.0, **(case or {})},
    )


def _block(label: str, filters: int = 2, *, case: dict | None = None, **arguments: object) -> LayerCase:
    activation = {"tanh": np.tanh, None: lambda y: y}[arguments.get("activation", "tanh")]

    def reference(layer: layers.PyramidBlock, x: np.ndarray) -> np.ndarray:
        kernels = [np.float64(w.numpy()) for w in layer.kernels]
        biases = [np.float64(w.numpy()) for w in layer.biases] or [0.0] * len(kernels)

        def conv(k: int, x: np.ndarray, strides: int) -> np.ndarray:
            y = references.conv_down(x, kernels[k], strides, arguments.get("border", "reflect"))
            return activation(y + biases[k])

        names = ("strides", "interpolation", "kernel_size")
        settings = {name: value for name, value in arguments.items() if name in names}
        return references.pyramid_block(x, arguments.get("depth", 2), conv, **settings)

    return LayerCase(
        make=lambda **common: layers.PyramidBlock(filters, **arguments, **common),
        label=label,
        reference=reference,
        **(case or {}),
    )


CASES = [
    _per_level("shared", share=True),
    _per_level("separate", share=False, case={"channels": (3, 4), "size": (7, 9)}),
    _per_level("stateless", share=True, inner="relu", case=ONE_PIXEL),
    _pyramid_conv("default"),
    _pyramid_conv("odd", case=ODD),
    _pyramid_conv("one-pixel", case=ONE_PIXEL),
    _pyramid_conv("shared", 3, share_weights=True, activation="tanh", kernel_size=1, case={"channels": (2, 2)}),
    _pyramid_conv("no-bias", use_bias=False, kernel_regularizer="l2", kernel_initializer="he_normal"),
    _concat("default"),
    _concat("odd", case=ODD),
    _concat("one-pixel", case=ONE_PIXEL),
    _concat("coarsest", target_level=-1),
    _concat("middle-nearest", target_level=1, interpolation="nearest", case=ODD),
    _concat("third", scale_factor=3.0, case=ODD),
    _concat("stretched", scale_factor=None, case=ODD),
    _concat("half-phase-middle", target_level=1, phase=0.5, case=ROUNDED_DOWN),
    _concat("asymmetric-phase", phase=-0.75, scale_factor=1.5, case=ODD),
    _fusion("default"),
    _fusion("odd", case=ODD),
    _fusion("one-pixel", case=ONE_PIXEL),
    _fusion("softmax-coarsest", "softmax", target_level=-1, temperature=0.5, case={"channels": (2, 2, 2)}),
    _fusion("sum-nearest", "sum", interpolation="nearest", scale_factor=3.0),
    _fusion("half-phase-coarsest", phase=0.5, target_level=-1, case=ODD),
    _fusion("per-channel", per_channel=True, case={"channels": (2, 2, 2)}),
    _fusion("softplus", "softplus_normalized", case=ODD),
    _fusion("hard-softplus", "softplus_normalized", hard=True, case={"size": (4, 5), "channels": (2, 2, 2)}),
    _fusion("hard", hard=True, epsilon=0.01, case={"size": (4, 5), "channels": (2, 2, 2)}),
    _fusion(
        "hard-softmax-per-channel",
        "softmax",
        hard=True,
        per_channel=True,
        temperature=2.0,
        target_level=1,
        case={"size": (4, 5), "channels": (2, 2, 2)},
    ),
    _fusion("map", None, adaptive="map", case={"channels": (2, 2, 2)}),
    _fusion("image-middle", None, adaptive="image", target_level=1, temperature=0.5, case=ODD),
    _fusion("map-per-channel", None, adaptive="map", per_channel=True, phase=0.5, case={"channels": (2, 2, 2)}),
    _fusion("map-one-pixel", None, adaptive="map", case=ONE_PIXEL),
    _fusion("hard-map", None, adaptive="map", hard=True, temperature=2.0, case={"size": (4, 5), "channels": (2, 2, 2)}),
    _fusion(
        "hard-image-per-channel",
        "softmax",
        adaptive="image",
        hard=True,
        per_channel=True,
        case={"size": (4, 5), "channels": (2, 2, 2)},
    ),
    _features("default"),
    _features("odd", extra_levels=1, kernel_initializer="he_normal", kernel_regularizer="l2", case=ODD),
    _features("one-pixel", filters=3, extra_levels=1, case={**ONE_PIXEL, "channels": (1, 1)}),
    _features(
        "normalised", batch_norm=True, case={"channels": (3, 2), "statistics": ("moving_mean", "moving_variance")}
    ),
    _features("third-bilinear", scale_factor=3.0, interpolation="bilinear", extra_levels=1, case={"channels": (2, 3)}),
    _features("padded-behind", phase=1.0, extra_levels=1, case={**ROUNDED_DOWN, "channels": (2, 2, 1)}),
    _features("half-phase", phase=0.5, interpolation="bilinear", extra_levels=1, case={**ODD, "channels": (2, 2)}),
    _features("stretched", scale_factor=None, extra_levels=1, case={**ODD, "channels": (2, 2)}),
    _block("default"),
    _block("odd", 3, depth=1, strides=2, use_bias=False, case={**ODD, "channels": 1}),
    _block("one-pixel", depth=3, case=ONE_PIXEL),
    _block(
        "even-kernel",
        activation=None,
        kernel_size=(2, 3),
        border="edge",
        interpolation="bilinear",
        kernel_initializer="he_normal",
        kernel_regularizer="l2",
        case={"channels": 2, "size": (5, 6)},
    ),
]
