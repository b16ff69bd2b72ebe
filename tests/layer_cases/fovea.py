"""Cases of the layers that choose a place of an image and read it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests import references
from tests.layer_cases.case import ODD, ONE_PIXEL, LayerCase, weight
from tfpyramid import layers


def _flat(outputs: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([y.ravel() for y in outputs])


def _crops(
    label: str, size: int = 3, num_levels: int = 2, *, hard: bool = False, case: dict | None = None, **step: object
) -> LayerCase:
    def equation(images: np.ndarray, fixations: np.ndarray, estimate: Callable) -> list[np.ndarray]:
        return references.foveated_pyramid(images, fixations, size, num_levels, estimate=estimate, **step)

    def closed_form(layer: object, inputs: list, upstream: list) -> dict:
        def function(**values: np.ndarray) -> np.ndarray:
            return _flat(equation(*values.values(), references.straight_through))

        gradients = references.complex_step(function, dict(zip("xy", inputs)), _flat(upstream))
        return {"inputs": list(gradients.values())}

    estimate = references.hard if hard else references.soft
    return LayerCase(
        make=lambda **common: layers.FoveatedPyramid(size, num_levels, hard=hard, **step, **common),
        label=label,
        reference=lambda layer, images, fixations: equation(images, fixations, estimate),
        closed_form=closed_form if hard else None,
        **{"vectors": (2,), **(case or {})},
    )


def _fixations(label: str, *, query: bool = False, case: dict | None = None, **arguments: object) -> LayerCase:
    hard = arguments.get("hard", False)
    arguments = {"filters": 3, **arguments}

    def equation(estimate: Callable, view: np.ndarray, question: np.ndarray | None = None, **w: np.ndarray) -> object:
        border = arguments.get("border", "reflect")
        features = references.conv_down(view, w["features_kernel"], 1, border) + w["features_bias"]
        if question is not None:
            scale, shift = np.split((question @ w["query_kernel"])[:, None, None], 2, axis=-1)
            features = (1 + scale) * features + shift
        y = references.soft_argmax(references.relu(features) @ w["map_kernel"], w["temperature"], estimate)
        return y if arguments.get("num_fixations") else y[:, 0]

    def weights_of(layer: object) -> dict[str, np.ndarray]:
        names = ["features_kernel", "features_bias", *["query_kernel"] * query, "map_kernel", "temperature"]
        return {name: weight(layer, name) for name in names}

    def closed_form(layer: object, inputs: list, upstream: list) -> dict:
        given = dict(zip(("view", "question"), inputs))
        gradients = references.complex_step(
            lambda **values: equation(references.straight_through, **values),
            {**given, **weights_of(layer)},
            upstream[0],
        )
        return {"inputs": [gradients.pop(name) for name in given], **gradients}

    estimate = references.hard if hard else references.soft
    return LayerCase(
        make=lambda **common: layers.FixationPredictor(**arguments, **common),
        label=label,
        reference=lambda layer, *inputs: equation(estimate, *inputs, **weights_of(layer)),
        closed_form=closed_form if hard else None,
        precise=True,
        **{"vectors": (4,) if query else (), **(case or {})},
    )


def _samples(label: str, *, training: bool = False, case: dict | None = None, **arguments: object) -> LayerCase:
    """Return a case of `FixationSampler`, at inference or, with nothing to draw, in training."""
    count = arguments.get("num_peaks" if training else "num_fixations", 1)

    def reference(layer: object, maps: np.ndarray) -> list[np.ndarray]:
        return references.local_maxima(maps, count, layer.separation)

    return LayerCase(
        make=lambda **common: layers.FixationSampler(**arguments, **common),
        label=label,
        reference=reference,
        arguments={"training": True} if training else {},
        precise=True,
        **{"channels": 1, **(case or {})},
    )


CASES = [
    _crops("default"),
    _crops("windows", 2, 3, kernel="box", border="edge", case={"size": (44, 41), "channels": 2}),
    _crops("odd-factor", 2, 3, scale_factor=3.0, border="symmetric", case={**ODD, "channels": 1}),
    _crops("fraction", 1, 2, scale_factor=1.5, border="wrap", case={**ODD, "channels": 2}),
    _crops("one-pixel", 2, 3, border="constant", case={**ONE_PIXEL, "channels": 4}),
    _crops("hard", 2, 2, hard=True, case={"size": (9, 11), "channels": 1}),
    _fixations("default"),
    _fixations(
        "several",
        num_fixations=2,
        filters=2,
        kernel_size=2,
        border="edge",
        temperature=0.5,
        case={**ODD, "channels": 2},
    ),
    _fixations("query", query=True, num_fixations=2, case={"channels": 2}),
    _fixations("hard", query=True, hard=True, temperature=2.0, case={"size": (4, 5), "channels": 1}),
    _samples("default", case={"varying": True}),
    _samples("several", num_fixations=3, num_peaks=2, grid=1, separation=3, seed=4, case=ODD),
    _samples("training", training=True, num_fixations=2, num_peaks=2, grid=0, jitter=0, case={"size": (5, 4)}),
    _samples("every-pixel", num_fixations=4, num_peaks=4, grid=0, separation=1, case=ODD),
    _samples("one-pixel", num_peaks=1, grid=0, case=ONE_PIXEL),
    _fixations("one-pixel", num_fixations=3, kernel_size=1, border="constant", case={**ODD, "channels": 1}),
]
