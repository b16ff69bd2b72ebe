"""Cases of the layers with two images: Warp2D and CostVolume."""

from __future__ import annotations

from tests import references
from tests.layer_cases.case import ODD, ONE_PIXEL, LayerCase
from tfpyramid import layers


def _warp(label: str, *, case: dict | None = None, **arguments: object) -> LayerCase:
    return LayerCase(
        make=lambda **common: layers.Warp2D(**arguments, **common),
        label=label,
        reference=lambda layer, images, flow: references.warp(images, flow, **arguments),
        **{"channels": (3, 2), "scale_factor": 1.0, **(case or {})},
    )


def _costs(label: str, *, case: dict | None = None, **arguments: object) -> LayerCase:
    return LayerCase(
        make=lambda **common: layers.CostVolume(**arguments, **common),
        label=label,
        reference=lambda layer, first, second: references.cost_volume(first, second, **arguments),
        **{"channels": (3, 3), "scale_factor": 1.0, **(case or {})},
    )


CASES = [
    _warp("default"),
    _warp("edge", border="edge", case={**ODD, "channels": (1, 2)}),
    _warp("one-pixel", case={**ONE_PIXEL, "channels": (4, 2)}),
    _costs("default", case={"size": (5, 6)}),
    _costs("steps", max_displacement=3, step=2, kernel_size=3, case={**ODD, "channels": (2, 2)}),
    _costs("one-pixel", max_displacement=1, case=ONE_PIXEL),
]
