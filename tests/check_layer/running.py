"""What the checks share: layers of cases with moved weights, their outputs and gradients, and comparisons."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tests.layer_cases import LayerCase, unnested
from tfpyramid._compat import KERAS_3, keras

# Of the largest magnitude of what is compared: a few hundred roundings of each dtype.
TOLERANCE = {"float64": 1e-11, "float32": 1e-5, "float16": 1e-2, "bfloat16": 8e-2}


def built(case: LayerCase, dtype: str = "float32") -> keras.layers.Layer:
    """Return the layer of a case, built, its weights moved off their initial values."""
    layer = case.make(dtype=dtype)
    layer.build(case.structured(case.shapes()))
    rng = np.random.default_rng(2)
    for w in layer.weights:
        w.assign(w + 0.05 * rng.standard_normal(w.shape))
    return layer


def tensors(case: LayerCase, dtype: str = "float32", **size: int) -> list[tf.Tensor]:
    return [tf.constant(x, dtype) for x in case.inputs(**size)]


def call(case: LayerCase, layer: keras.layers.Layer, values: list) -> list:
    """Return the outputs of a layer as a flat list."""
    return tf.nest.flatten(layer(case.structured(values), **case.arguments))


def upstream_like(outputs: list) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.standard_normal(y.shape) for y in outputs]


def gradients(case: LayerCase, layer: keras.layers.Layer, values: list, upstream: list) -> tuple[list, list, list]:
    """Return the outputs, and the gradients of sum(upstream * outputs) for the inputs and the trainable weights."""
    with tf.GradientTape() as tape:
        tape.watch(values)
        outputs = call(case, layer, values)
        objective = tf.add_n([tf.reduce_sum(y * tf.cast(u, y.dtype)) for y, u in zip(outputs, upstream)])
    raw = [w.value if KERAS_3 else w for w in layer.trainable_weights]
    dx, dw = tape.gradient(objective, (values, raw))
    return outputs, dx, dw


def assert_close(actual: object, expected: object, dtype: str, what: str) -> None:
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape} instead of {expected.shape}"
    scale = max(1.0, np.max(np.abs(expected), initial=0))
    error = np.max(np.abs(actual - expected), initial=0) / scale
    assert error <= TOLERANCE[dtype], f"{what}: off by {error:.3g} of the largest magnitude"


def model_of(case: LayerCase, layer: keras.layers.Layer) -> keras.Model:
    """Return a model of the layer alone; sides are unknown where the layer allows it."""
    shapes = case.symbolic_shapes()
    inputs = [keras.Input(shape, name=f"level_{k}", dtype=layer.compute_dtype) for k, shape in enumerate(shapes)]
    structured = case.structured(inputs)
    return keras.Model(structured, unnested(layer(structured, **case.arguments)))
