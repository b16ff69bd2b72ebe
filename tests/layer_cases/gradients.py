"""Cases of the layers that return their input: GradientNormalization, and PyramidDiversity, which adds a loss."""

from __future__ import annotations

import numpy as np

from tests.layer_cases.case import ODD, ONE_PIXEL, ROUNDED_DOWN, LayerCase
from tfpyramid import layers, losses


def _normalization(label: str, *, case: dict | None = None, **arguments: object) -> LayerCase:
    norm = arguments.get("norm", 1.0)

    def closed_form(layer: object, inputs: list, upstream: list) -> dict:
        axes = (1, 2, 3) if arguments.get("scope") == "sample" else None
        return {"inputs": [norm * u / np.sqrt(np.sum(u**2, axis=axes, keepdims=True)) for u in upstream]}

    return LayerCase(
        make=lambda **common: layers.GradientNormalization(**arguments, **common),
        label=label,
        reference=lambda layer, *inputs: list(inputs),
        closed_form=closed_form,
        **(case or {}),
    )


def _diversity(label: str, *, case: dict | None = None, **arguments: object) -> LayerCase:
    return LayerCase(
        make=lambda **common: losses.PyramidDiversity(**arguments, **common),
        label=label,
        reference=lambda layer, *levels: list(levels),
        **{"channels": (2, 2), "scale_factor": arguments.get("scale_factor", 2.0), **(case or {})},
    )


CASES = [
    _normalization("default", case={"size": (3, 4)}),
    _normalization("levels-by-sample", scope="sample", norm=0.3, case={**ODD, "channels": (2, 3)}),
    _normalization("one-pixel", norm=2.0, case=ONE_PIXEL),
    _diversity("default", case={**ODD, "channels": (3, 3, 3)}),
    _diversity("third", weight=0.1, scale_factor=3.0),
    _diversity("half-phase", phase=0.5, case=ROUNDED_DOWN),
    _diversity("one-pixel", case=ONE_PIXEL),
]
