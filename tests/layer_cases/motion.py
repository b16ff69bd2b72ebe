"""Cases of the layers with two images: Warp2D and CostVolume."""

from __future__ import annotations

from tests import references
from tests.layer_cases.case import ODD, ONE_PIXEL, LayerCase
from tfpyramid import layers


def _warp(label: str, *, case: dict | None = None, return_mask: bool = False, **arguments: object) -> LayerCase:
    def reference(layer: object, images: object, flow: object) -> object:
        y = references.warp(images, flow, **arguments)
        return (y, references.inside(flow)) if return_mask else y

    return LayerCase(
        make=lambda **common: layers.Warp2D(return_mask=return_mask, **arguments, **common),
        label=label,
        reference=reference,
        **{"channels": (3, 2), "scale_factor": 1.0, **(case or {})},
    )


def _costs(label: str, *, case: dict | None = None, **arguments: object) -> LayerCase:
    return LayerCase(
        make=lambda **common: layers.CostVolume(**arguments, **common),
        label=label,
        reference=lambda layer, first, second, flow=None: references.cost_volume(first, second, flow=flow, **arguments),
        **{"channels": (3, 3), "scale_factor": 1.0, **(case or {})},
    )


CASES = [
    _warp("default"),
    _warp("edge", border="edge", case={**ODD, "channels": (1, 2)}),
    _warp("mask", return_mask=True, case={**ODD, "channels": (1, 2)}),
    _warp("one-pixel", case={**ONE_PIXEL, "channels": (4, 2)}),
    _costs("default", case={"size": (5, 6)}),
    _costs("steps", max_displacement=3, step=2, kernel_size=3, case={**ODD, "channels": (2, 2)}),
    _costs("one-pixel", max_displacement=1, case=ONE_PIXEL),
    _costs("warp", max_displacement=1, case={"size": (4, 5), "channels": (3, 3, 2)}),
    _costs("lookup", max_displacement=3, step=2, kernel_size=3, sampling="lookup", case={**ODD, "channels": (2, 2, 2)}),
    _costs("lookup-one-pixel", max_displacement=1, sampling="lookup", case={**ONE_PIXEL, "channels": (3, 3, 2)}),
]
