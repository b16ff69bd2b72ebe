"""Cases of the layers that take logits."""

from __future__ import annotations

import numpy as np
import scipy.special

from tests import references
from tests.layer_cases.case import LayerCase, weight
from tfpyramid import layers


def _fusion(label: str, *method: str, vectors: tuple[int, ...] = (4, 4, 4)) -> LayerCase:
    def reference(layer: layers.LogitFusion, *logits: np.ndarray) -> np.ndarray:
        x = np.stack(logits)
        if layer.method == "attention":
            weights = scipy.special.softmax(x @ weight(layer, "query"), axis=0)
            return np.einsum("kb,kbc->bc", weights, x)
        reduce = {"logsumexp": scipy.special.logsumexp, "max": np.max, "mean": np.mean}[layer.method]
        return reduce(x, axis=0)

    return LayerCase(
        make=lambda **common: layers.LogitFusion(*method, **common),
        label=label,
        reference=reference,
        channels=None,
        vectors=vectors,
    )


def _mixture(label: str, parts: int, classes: int) -> LayerCase:
    return LayerCase(
        make=layers.SoftmaxMixture,
        label=label,
        reference=lambda layer, logits, scores: references.softmax_mixture(logits, scores),
        channels=None,
        vectors=((parts, classes), parts),
        precise=True,
    )


CASES = [
    _fusion("default"),
    _fusion("max", "max", vectors=(5, 5)),
    _fusion("mean", "mean", vectors=(1, 1)),
    _fusion("attention", "attention"),
    _mixture("default", 3, 4),
    _mixture("two-classes", 5, 2),
]
