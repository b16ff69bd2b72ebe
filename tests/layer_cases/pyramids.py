"""Cases of the pyramids."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests import references
from tests.layer_cases.case import LARGE, ODD, ONE_PIXEL, LayerCase, weight
from tfpyramid import layers


def _pyramid(
    label: str, name: str, num_levels: int | None = 3, *, case: dict | None = None, **step: object
) -> LayerCase:
    """A case of GaussianPyramid or LaplacianPyramid; `step` holds arguments of both the layer and the reference."""
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


def _learned_step(layer: layers.LearnableLaplacianPyramid) -> dict:
    """Return the arguments of the reference: the taps are computed from the weight."""
    values = weight(layer, "tap_values")
    taps = np.exp(values) if layer.normalization == "softmax" else values + (1 - values.sum()) / values.size
    return {"kernel": taps / taps.sum(), "scale_factor": layer.scale_factor, "border": layer.border}


def _learnable_laplacian(
    label: str, num_levels: int | None = 3, *, case: dict | None = None, **step: object
) -> LayerCase:
    return LayerCase(
        make=lambda **common: layers.LearnableLaplacianPyramid(num_levels, **step, **common),
        label=label,
        reference=lambda layer, x: references.laplacian_pyramid(x, num_levels, **_learned_step(layer)),
        **(case or {}),
    )


def _learnable_reconstruction(label: str, *, case: dict | None = None, **step: object) -> LayerCase:
    def make(**common: object) -> layers.LearnableLaplacianReconstruction:
        return layers.LearnableLaplacianReconstruction(layers.LearnableLaplacianPyramid(3, **step, **common), **common)

    return LayerCase(
        make=make,
        label=label,
        reference=lambda layer, *levels: references.reconstruct(levels, **_learned_step(layer.pyramid)),
        **{"channels": (3, 3, 3), "scale_factor": step.get("scale_factor", 2.0), **(case or {})},
    )


def _learnable(
    label: str, num_levels: int = 3, *, share: bool = False, case: dict | None = None, **inner: object
) -> LayerCase:
    """A case of LearnablePyramid over LearnableDownsample2D; it is passed explicitly if there are `inner` arguments."""

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


def _adaptive(label: str, max_levels: int = 3, *, case: dict | None = None, **arguments: object) -> LayerCase:
    """A case of AdaptiveDepthPyramid; its outputs are the levels, then the gates."""
    hard, share = arguments.get("hard", False), arguments.get("share_weights", False)

    def levels_of(x: np.ndarray, kernels: list, logits: np.ndarray, temperature: float, estimate: Callable) -> list:
        opened, levels = [np.ones(())], [x]
        soft = np.ones(())
        for kernel, z in zip(kernels, logits):
            soft = soft * references.sigmoid(z / temperature)
            opened.append(estimate(np.all(logits.real[: len(opened)] >= 0), soft))
            levels.append(references.conv_down(levels[-1], kernel, 2, "reflect"))
        gates = np.broadcast_to(opened, [len(x), len(opened)])
        return [gate * level for gate, level in zip(opened, levels)] + [gates]

    def learned(layer: layers.AdaptiveDepthPyramid) -> tuple:
        steps = layer.pyramid.downsamplers * (max_levels - 1 if share else 1)
        kernels = [np.float64(step.kernel.numpy()) for step in steps]
        return kernels, weight(layer, "gate_logits"), weight(layer, "temperature")

    def reference(layer: layers.AdaptiveDepthPyramid, x: np.ndarray) -> list[np.ndarray]:
        return levels_of(x, *learned(layer), references.hard if hard else references.soft)

    def closed_form(layer: layers.AdaptiveDepthPyramid, inputs: list, upstream: list) -> dict:
        kernels, logits, temperature = learned(layer)

        def outputs(images: np.ndarray, gate_logits: np.ndarray, kernel: np.ndarray) -> np.ndarray:
            found = levels_of(images, [kernel], gate_logits, temperature, references.straight_through)
            return np.concatenate([y.ravel() for y in found])

        given = {"images": inputs[0], "gate_logits": logits, "kernel": kernels[0]}
        found = references.complex_step(outputs, given, np.concatenate([u.ravel() for u in upstream]))
        return {"inputs": [found.pop("images")], **found}

    return LayerCase(
        make=lambda **common: layers.AdaptiveDepthPyramid(
            **{"max_levels": max_levels, **arguments, "downsample": _downsampler(arguments, common), **common}
        ),
        label=label,
        reference=reference,
        closed_form=closed_form if hard else None,
        **(case or {}),
    )


def _downsampler(arguments: dict, common: dict) -> layers.LearnableDownsample2D | None:
    """Return the downsampler for the arguments of a case, in the dtype of the layer."""
    inner = arguments.get("downsample")
    return layers.LearnableDownsample2D(**inner, **common) if inner else None


CASES = [
    *(
        case
        for name in ("GaussianPyramid", "LaplacianPyramid")
        for case in (
            _pyramid("default", name),
            _pyramid("odd", name, case=ODD),
            _pyramid("one-pixel", name, case=ONE_PIXEL),
            _pyramid("all-levels", name, None, case={"unknown_sides": False, "size": (5, 6)}),
            _pyramid("half-octave", name, 2, scale_factor=2**0.5, case={"channels": 2}),
            _pyramid("mipmap", name, kernel="box", border="symmetric"),
            _pyramid("large", name, 2, case=LARGE),
        )
    ),
    _pyramid("one-row", "GaussianPyramid", case={"size": (1, 9), "channels": 1}),
    _pyramid("third-box", "GaussianPyramid", 2, scale_factor=3.0, kernel="box", border="edge", case=ODD),
    _pyramid("upsampled-box", "GaussianPyramid", scale_factor=2.0, kernel="box", upsampled_levels=1, case=ODD),
    _pyramid("upsampled", "GaussianPyramid", 4, scale_factor=2**0.5, upsampled_levels=2, case={**ODD, "channels": 2}),
    _pyramid("taps", "GaussianPyramid", 2, kernel=[0.2, 1.0, 0.5], border="wrap", case={"channels": 4}),
    _pyramid("zero-border", "LaplacianPyramid", 2, kernel="gaussian", border="constant", scale_factor=1.5),
    _reconstruction("default"),
    _reconstruction("odd", case=ODD),
    _reconstruction("one-pixel", case=ONE_PIXEL),
    _reconstruction("large", case={**LARGE, "channels": (1, 1)}),
    _reconstruction("half-octave", scale_factor=2**0.5, case={"channels": (2, 2)}),
    _reconstruction("mipmap-edge", kernel="box", border="edge"),
    _learnable_laplacian("default"),
    _learnable_laplacian("odd", kernel_size=6, case=ODD),
    _learnable_laplacian("one-pixel", border="constant", case=ONE_PIXEL),
    _learnable_laplacian("positive-third", 2, normalization="softmax", scale_factor=3.0, border="edge"),
    _learnable_laplacian("half-octave", 2, scale_factor=2**0.5, case={"channels": 2, "size": (5, 6)}),
    _learnable_reconstruction("default"),
    _learnable_reconstruction("odd", kernel_size=4, case=ODD),
    _learnable_reconstruction("one-pixel", border="constant", case=ONE_PIXEL),
    _learnable_reconstruction("positive", normalization="softmax", border="wrap", case={"channels": (1, 1, 1)}),
    _learnable("default"),
    _learnable("odd", case=ODD),
    _learnable("one-pixel", case=ONE_PIXEL),
    _learnable("two-levels", 2, filters=5, case={"channels": 2}),
    _learnable("shared", 3, share=True, kernel_size=3),
    _adaptive("default"),
    _adaptive("odd", temperature=0.5, case=ODD),
    _adaptive("one-pixel", share_weights=True, depth_penalty=0.1, case=ONE_PIXEL),
    _adaptive("hard", 2, hard=True, downsample={"filters": 2, "kernel_size": 3}, case={"size": (4, 5), "channels": 2}),
]
