"""Checks of values and gradients: precision, XLA, finite differences, references, a step of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from tests import empty_batch
from tests.check_layer.running import assert_close, built, call, gradients, tensors, upstream_like
from tests.layer_cases import LayerCase, short_name, unnested
from tfpyramid._compat import KERAS_3, keras


def check_precision(case: LayerCase, readers: object, folder: Path) -> None:
    """Every dtype comes out as it should, near the values of float64, with finite gradients."""
    exact_layer = built(case, "float64")
    exact = call(case, exact_layer, tensors(case, "float64"))
    assert all(y.dtype == tf.float64 for y in exact), [y.dtype for y in exact]
    for policy, dtype in (("float32", "float32"), ("mixed_float16", "float16"), ("mixed_bfloat16", "bfloat16")):
        layer = built(case, policy)
        layer.set_weights(exact_layer.get_weights())
        outputs, dx, dw = gradients(case, layer, tensors(case, dtype), upstream_like(exact))
        for k, (y, expected) in enumerate(zip(outputs, exact, strict=True)):
            assert y.dtype == ("float32" if case.precise else dtype), f"output {k} is {y.dtype} under {policy}"
            assert_close(tf.cast(y, tf.float64), expected, dtype, f"output {k} under {policy}")
        for g in [*dx, *dw]:
            assert g is None or np.isfinite(tf.cast(g, tf.float64)).all(), f"a gradient is not finite under {policy}"
        empty_batch.check_layer(case, layer, dtype)


def check_xla(case: LayerCase, readers: object, folder: Path) -> None:
    """Compiled by XLA, outputs and gradients are those of eager execution."""
    layer = built(case)
    if case.learned_sides or not case.compiled:
        # XLA must know sizes when it compiles; the layer has to tell Keras, which would compile by default.
        assert layer.supports_jit is False, "a layer of sizes that XLA cannot know lets Keras compile it"
        return
    values = tensors(case)
    upstream = upstream_like(call(case, layer, values))
    compiled = tf.function(lambda v: gradients(case, layer, v, upstream), jit_compile=True, autograph=False)
    results = zip(
        tf.nest.flatten(compiled(values)), tf.nest.flatten(gradients(case, layer, values, upstream)), strict=True
    )
    for k, (actual, expected) in enumerate(results):
        assert (actual is None) == (expected is None), f"result {k} is {actual} compiled, {expected} eager"
        if expected is not None:
            assert_close(actual, expected, "float32", f"result {k} compiled")


def check_gradient(case: LayerCase, readers: object, folder: Path) -> None:
    """Gradients are finite differences' where smooth, the closed form's where not; every weight has one."""
    layer = built(case, "float64")
    values = tensors(case, "float64")
    upstream = upstream_like(call(case, layer, values))
    _, dx, dw = gradients(case, layer, values, upstream)
    for w, g in zip(layer.trainable_weights, dw):
        assert g is not None and np.isfinite(g).all() and np.any(g), f"the gradient of {w.name} is {g}"
    if case.closed_form is None:
        _assert_finite_differences(case, layer, values, upstream, [*dx, *dw])
        return
    for sign in (1, -1):
        signed = [sign * u for u in upstream]
        _, dx, dw = gradients(case, layer, values, signed)
        expected = case.closed_form(layer, case.inputs(), signed)
        for k, g in enumerate(dx):
            assert_close(g, expected["inputs"][k], "float64", f"straight-through gradient of input {k}")
        for w, g in zip(layer.trainable_weights, dw):
            name = short_name(w)
            assert_close(g, expected[name], "float64", f"straight-through gradient of {name}")


def _assert_finite_differences(
    case: LayerCase, layer: keras.layers.Layer, values: list, upstream: list, found: list
) -> None:
    rng = np.random.default_rng(4)

    def objective() -> float:
        outputs = call(case, layer, values)
        return float(sum(np.sum(y.numpy() * u) for y, u in zip(outputs, upstream)))

    step = 1e-5
    for k, g in enumerate(found):
        weight = layer.trainable_weights[k - len(values)] if k >= len(values) else None
        start = (values[k] if weight is None else weight).numpy()
        direction = rng.standard_normal(start.shape)
        sides = []
        for sign in (1, -1):
            moved = start + sign * step * direction
            if weight is None:
                values[k] = tf.constant(moved)
            else:
                weight.assign(moved)
            sides.append(objective())
        if weight is None:
            values[k] = tf.constant(start)
        else:
            weight.assign(start)
        expected = (sides[0] - sides[1]) / (2 * step)
        actual = 0.0 if g is None else float(np.sum(np.asarray(g) * direction))
        what = f"input {k}" if weight is None else weight.name
        bound = 1e-6 * max(1.0, np.linalg.norm(0 if g is None else g))
        assert abs(actual - expected) <= bound, f"gradient of {what}: {actual} instead of {expected}"


def check_reference(case: LayerCase, readers: object, folder: Path) -> None:
    """The result is that of the equations in NumPy."""
    layer = built(case, "float64")
    outputs = call(case, layer, tensors(case, "float64"))
    expected = tf.nest.flatten(case.reference(layer, *case.inputs()))
    assert len(outputs) == len(expected)
    for k, (y, e) in enumerate(zip(outputs, expected)):
        assert_close(y, e, "float64", f"output {k}")


def check_training(case: LayerCase, readers: object, folder: Path) -> None:
    """A compiled `fit` step changes every trainable weight, in front of the layer and in it, and nothing else."""
    layer = built(case)
    inputs = [keras.Input(shape) for shape in case.symbolic_shapes()]
    # In front, so that a layer without weights is trained through.
    front = [keras.layers.Dense(x.shape[-1], name=f"front_{k}") for k, x in enumerate(inputs)]
    outputs = layer(case.structured([dense(x) for dense, x in zip(front, inputs)]), **case.arguments)
    model = keras.Model(case.structured(inputs), unnested(outputs))
    values = [np.float32(x) for x in case.inputs()]
    targets = [np.float32(u) for u in upstream_like(call(case, model, values))]
    # Every layer once in a graph; what `check_xla` traces, gradients and all, is not traced a second time for the rest.
    traced = case.label == "default" or case.learned_sides or not case.compiled
    settings = {"run_eagerly": not traced, **({"jit_compile": False} if KERAS_3 else {})}
    model.compile(keras.optimizers.SGD(0.1), loss=["mse"] * len(targets), **settings)
    before = {id(w): w.numpy() for w in model.weights}
    model.fit(case.structured(values), targets, epochs=1, batch_size=2, verbose=0)
    trainable = {id(w) for w in model.trainable_weights}
    used = case.closed_form is None  # A hard choice may leave what is not chosen, and what is in front of it, alone.
    for w in model.weights:
        if id(w) in trainable:
            if used or any(w is own for own in layer.weights):
                assert np.any(w.numpy() != before[id(w)]), f"{w.name} did not change"
        elif short_name(w) not in case.statistics:
            assert np.array_equal(w.numpy(), before[id(w)]), f"{w.name} changed"
