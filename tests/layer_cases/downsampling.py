"""Cases of the downsamplers."""

from __future__ import annotations

import numpy as np

from tests import references
from tests.layer_cases.case import ODD, ONE_PIXEL, LayerCase, weight
from tfpyramid import layers


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


CASES = [
    _downsample("default"),
    _downsample("odd", case=ODD),
    _downsample("one-pixel", case=ONE_PIXEL),
    _downsample("more-filters", filters=4, use_bias=True, kernel_regularizer="l2", case={"channels": 2}),
    _downsample("fewer-filters", filters=1, kernel_size=3, border="symmetric"),
    _downsample("stride-3-even", strides=3, kernel_size=4, border="wrap", case=ODD),
    _downsample("hard", hard=True, case={"size": (5, 6), "channels": 2}),
    _downsample(
        "hard-4-bits", hard=True, kernel_bits=4, kernel_size=3, border="edge", case={"size": (5, 4), "channels": 2}
    ),
]
