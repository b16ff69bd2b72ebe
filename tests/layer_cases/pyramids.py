"""Cases of the pyramids."""

from __future__ import annotations

import numpy as np

from tests import references
from tests.layer_cases.case import ODD, ONE_PIXEL, LayerCase
from tfpyramid import layers


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
        )
    ),
    _pyramid("one-row", "GaussianPyramid", case={"size": (1, 9), "channels": 1}),
    _pyramid("third-box", "GaussianPyramid", 2, scale_factor=3.0, kernel="box", border="edge", case=ODD),
    _pyramid("taps", "GaussianPyramid", 2, kernel=[0.2, 1.0, 0.5], border="wrap", case={"channels": 4}),
    _pyramid("zero-border", "LaplacianPyramid", 2, kernel="gaussian", border="constant", scale_factor=1.5),
    _reconstruction("default"),
    _reconstruction("odd", case=ODD),
    _reconstruction("one-pixel", case=ONE_PIXEL),
    _reconstruction("half-octave", scale_factor=2**0.5, case={"channels": (2, 2)}),
    _reconstruction("mipmap-edge", kernel="box", border="edge"),
    _learnable("default"),
    _learnable("odd", case=ODD),
    _learnable("one-pixel", case=ONE_PIXEL),
    _learnable("two-levels", 2, filters=5, case={"channels": 2}),
    _learnable("shared", 3, share=True, kernel_size=3),
]
