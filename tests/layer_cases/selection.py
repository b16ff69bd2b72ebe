"""Cases of the layers that select a level, of the router that reads it, and of the cascade."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests import references
from tests.layer_cases.case import ODD, ONE_PIXEL, LayerCase, weight
from tfpyramid import layers
from tfpyramid._compat import keras

TRAINING = {"arguments": {"training": True}}


def _chosen(scores: np.ndarray, temperature: float, estimate: Callable) -> np.ndarray:
    """Weights from the largest score and from the softmax, combined by the estimator."""
    one_hot = np.arange(scores.shape[-1]) == scores.real.argmax(axis=-1)[..., None]
    return estimate(one_hot, references.softmax(scores / temperature))


def _gumbel(label: str, *, case: dict | None = None, **arguments: object) -> LayerCase:
    def closed_form(layer: object, inputs: list, upstream: list) -> dict:
        def function(x: np.ndarray) -> np.ndarray:
            return _chosen(x, weight(layer, "temperature"), references.straight_through)

        return {"inputs": [references.complex_step(function, {"x": inputs[0]}, upstream[0])["x"]]}

    return LayerCase(
        make=lambda **common: layers.GumbelLevelSelector(**arguments, **common),
        label=label,
        reference=lambda layer, x: _chosen(x, weight(layer, "temperature"), references.hard),
        closed_form=closed_form,
        **{"channels": None, "vectors": (4,), **(case or {})},
    )


def _query(
    label: str,
    objective: str = "softmax",
    *,
    num_levels: int = 3,
    units: int = 6,
    case: dict | None = None,
    **arguments: object,
) -> LayerCase:
    soft = bool((case or {}).get("arguments")) and not arguments.get("hard")
    costs = np.array(arguments.get("costs") or 4.0 ** -np.arange(num_levels))

    def equation(estimate: Callable, *vectors: np.ndarray, **w: np.ndarray) -> np.ndarray:
        x = np.concatenate(vectors, axis=1)
        scores = references.relu(x @ w["hidden_kernel"] + w["hidden_bias"]) @ w["logits_kernel"] + w["logits_bias"]
        if objective == "value":
            scores = references.sigmoid(scores) - w["cost_weight"] * costs
        return _chosen(scores, w["temperature"], estimate)

    def weights_of(layer: object) -> dict[str, np.ndarray]:
        names = [w.name.split(":")[0].split("/")[-1] for w in layer.weights]
        return {name: weight(layer, name) for name in names}

    def closed_form(layer: object, inputs: list, upstream: list) -> dict:
        def function(**values: np.ndarray) -> np.ndarray:
            vectors = [values.pop(f"x{k}") for k in range(len(inputs))]
            return equation(references.straight_through, *vectors, **values)

        arguments = {f"x{k}": x for k, x in enumerate(inputs)}
        gradients = references.complex_step(function, {**arguments, **weights_of(layer)}, upstream[0])
        return {"inputs": [gradients.pop(name) for name in arguments], **gradients}

    def reference(layer: object, *vectors: np.ndarray) -> np.ndarray:
        return equation(references.soft if soft else references.hard, *vectors, **weights_of(layer))

    return LayerCase(
        make=lambda **common: layers.QueryLevelSelector(num_levels, units, objective, **arguments, **common),
        label=label,
        reference=reference,
        closed_form=None if soft else closed_form,
        **{"channels": None, "vectors": (5,), **(case or {})},
    )


def _router(label: str, *, num_levels: int = 2, pyramid: bool = False, case: dict, **arguments: object) -> LayerCase:
    soft = "arguments" in case or arguments.get("partition") is False

    def make(**common: object) -> layers.LevelRouter:
        encoders = []
        for k in range(num_levels):
            channels = case["channels"][k] if not pyramid else 3
            dense = keras.layers.Dense(2, name="dense", **common)
            pool = keras.layers.GlobalAveragePooling2D(name="pool", **common)
            start = keras.Input((None, None, channels), dtype=dense.compute_dtype)
            encoders.append(keras.Sequential([start, dense, pool], name=f"encoder_{k}"))
        levels = layers.GaussianPyramid(num_levels, **common) if pyramid else None
        return layers.LevelRouter(encoders, levels, **arguments, **common)

    def reference(layer: layers.LevelRouter, *inputs: np.ndarray) -> np.ndarray:
        *levels, weights = inputs
        for _ in range(num_levels - len(levels)):
            levels.append(references.pyr_down(levels[-1]))
        if not soft:
            weights = np.eye(num_levels)[weights.argmax(axis=1)]
        dense = [encoder.get_layer("dense") for encoder in layer.encoders]
        features = [x.mean(axis=(1, 2)) @ d.kernel.numpy() + d.bias.numpy() for x, d in zip(levels, dense)]
        return sum(weights[:, [k]] * feature for k, feature in enumerate(features))

    return LayerCase(make=make, label=label, reference=reference, compiled=arguments.get("partition") is False, **case)


def _cascade(
    label: str,
    *,
    num_levels: int = 2,
    upsampled: int = 0,
    shared: bool = False,
    merged: bool = False,
    case: dict,
    **arguments: object,
) -> LayerCase:
    """Return a case of encoders with weights, and confidences that read features, and the query if there is one."""
    soft, count = "arguments" in case, len(case.get("vectors", ()))

    def confidence(name: str, **common: object) -> keras.layers.Layer:
        # At inference, confidences get no gradient. The query decides by far more than half a rounding.
        options = {"trainable": soft, **common}
        features = keras.Input((2,), dtype=keras.layers.ReLU(**common).compute_dtype)
        z = keras.layers.Dense(1, kernel_initializer="ones", name="of_features", **options)(features)
        if not count:
            return keras.Model(features, z, name=name)
        query = keras.Input((3,), dtype=features.dtype)
        of_query = keras.layers.Dense(1, kernel_initializer="ones", name="of_query", **options)
        return keras.Model([features, query], keras.layers.Add(**common)([z, of_query(query)]), name=name)

    def make(**common: object) -> layers.LevelCascade:
        def encoder(k: int) -> keras.Sequential:
            dense = keras.layers.Dense(2, name="dense", **common)
            start = keras.Input((None, None, 3), dtype=dense.compute_dtype)
            pool = keras.layers.GlobalAveragePooling2D(name="pool", **common)
            return keras.Sequential([start, dense, pool], name=f"encoder_{k}")

        confidences = [confidence(f"confidence_{k}", **common) for k in range(1, num_levels)]
        return layers.LevelCascade(
            encoder(0) if shared else [encoder(k) for k in range(num_levels)],
            confidences[0] if shared else confidences,
            layers.GaussianPyramid(num_levels, upsampled_levels=upsampled, **common),
            merge=layers.LogitFusion(**common) if merged else None,
            **arguments,
            **common,
        )

    def reference(layer: layers.LevelCascade, images: np.ndarray, *vectors: np.ndarray) -> tuple:
        levels = references.gaussian_pyramid(images, num_levels, upsampled, scale_factor=2.0)
        features = []
        for k, level in enumerate(levels):
            dense = layer.encoders[0 if shared else k].get_layer("dense")
            features.append(level.mean(axis=(1, 2)) @ dense.kernel.numpy() + dense.bias.numpy())
        threshold, calibration = weight(layer, "threshold"), weight(layer, "calibration")

        def chance(k: int, y: np.ndarray, b: int) -> float:
            parts = [("of_features", y), *([("of_query", vectors[0][b])] if count else [])]
            dense = [(layer.confidences[0 if shared else k - 1].get_layer(name), x) for name, x in parts]
            z = sum(float((x @ d.kernel.numpy() + d.bias.numpy())[0]) for d, x in dense)
            return references.sigmoid(calibration[k - 1, 0] * z + calibration[k - 1, 1])

        outputs, weights = np.zeros([len(images), 2]), np.zeros([len(images), num_levels])
        for b in range(len(images)):
            starts = np.eye(num_levels)[-1] if count < 2 else vectors[1][b]
            first = int(starts.argmax())
            starts = starts if soft else np.eye(num_levels)[first]
            reach, before = 0.0, np.zeros(2)
            for k in reversed(range(num_levels)):
                y = features[k][b]
                before = y = np.logaddexp(before, y) if merged and k < first else y
                reach += starts[k]
                p = 1.0 if k == 0 else chance(k, y, b)
                p = p if soft or k == 0 else float(p >= threshold[k - 1])
                weights[b, k] = reach * p
                outputs[b] += weights[b, k] * y
                reach *= 1 - p
        return outputs, weights

    return LayerCase(make=make, label=label, reference=reference, compiled=arguments.get("partition") is False, **case)


CASES = [
    _cascade("default", case={"vectors": (3,)}),
    _cascade("images", num_levels=3, shared=True, merged=True, upsampled=1, case={**ODD, **TRAINING}),
    _cascade("start", num_levels=3, merged=True, upsampled=1, threshold=[0.7, 0.4], case={**ODD, "vectors": (3, 3)}),
    _cascade("start-training", num_levels=3, case={**ODD, **TRAINING, "vectors": (3, 3)}),
    _cascade("one-pixel", num_levels=3, shared=True, threshold=[0.6, 0.5], case={**ONE_PIXEL, "vectors": (3,)}),
    _cascade("masked", merged=True, partition=False, case={**ODD, "vectors": (3,)}),
    _gumbel("default"),
    _gumbel("cold-hard", temperature=0.5, hard=True, seed=3, case={"vectors": (1,)}),
    _query("default"),
    _query("summaries", num_levels=2, units=3, temperature=2.0, hard=True, case={"vectors": (3, 2, 4), **TRAINING}),
    _query("training", cost_weight=0.5, case=TRAINING),
    _query("gumbel", "gumbel", seed=1),
    _query("value", "value", cost_weight=0.3, costs=(1.0, 0.5, 0.2)),
    _query("value-training", "value", temperature=0.3, cost_weight=0.1, case={**TRAINING, "vectors": (5, 1)}),
    _router("default", case={"channels": (3, 2), "vectors": (2,)}),
    _router("pyramid-odd", pyramid=True, case={**ODD, "vectors": (2,)}),
    _router("three-one-pixel", num_levels=3, pyramid=True, case={**ONE_PIXEL, "vectors": (3,), **TRAINING}),
    _router("masked", partition=False, case={**ODD, "channels": (1, 4), "vectors": (2,)}),
]
