"""Nine checks that every layer passes: small functions of (case, readers, folder) that assert.

`readers` answers for models on disk from fresh processes, `folder` is an empty one. See `layer_cases.LayerCase`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from tests import empty_batch
from tests.layer_cases import LayerCase, short_name, unnested
from tfpyramid._compat import KERAS_3, keras, write_saved_model

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


def batches(case: LayerCase, model: keras.Model) -> list[tuple[list, list]]:
    """Return two (inputs, upstream): of two batch sizes and, where sides may be unknown, two image sizes."""
    grown = 3 if case.unknown_sides else 0
    values = [[np.float32(x) for x in case.inputs(**size)] for size in ({"batch": 2}, {"batch": 3, "grow": grown})]
    outputs = [call(case, model, batch) for batch in values]
    return [(v, [np.float32(u) for u in upstream_like(y)]) for v, y in zip(values, outputs)]


def assert_answers(case: LayerCase, model: keras.Model, answers: list, given: list) -> None:
    """Assert that outputs and input gradients from another process are those of the model here."""
    for (values, upstream), (outputs, input_gradients) in zip(given, answers):
        expected, dx, _ = gradients(case, model, [tf.constant(x) for x in values], upstream)
        for k, (actual, y) in enumerate(zip(outputs, expected, strict=True)):
            assert_close(actual, y, "float32", f"output {k} after loading")
        for k, (actual, g) in enumerate(zip(input_gradients, dx, strict=True)):
            assert_close(actual, np.zeros_like(values[k]) if g is None else g, "float32", f"gradient {k} after loading")


def check_config(case: LayerCase, readers: object, folder: Path) -> None:
    """The configuration survives JSON and makes a layer of equal outputs, given equal weights."""
    layer = built(case)
    config = json.loads(json.dumps(layer.get_config()))
    again = type(layer).from_config(config)
    assert json.loads(json.dumps(again.get_config())) == config
    again.build(case.structured(case.shapes()))
    again.set_weights(layer.get_weights())
    values = tensors(case)
    for k, (y, expected) in enumerate(zip(call(case, again, values), call(case, layer, values), strict=True)):
        assert_close(y, expected, "float32", f"output {k} from the configuration")


def check_keras_file(case: LayerCase, readers: object, folder: Path) -> None:
    """A `.keras` file loads in a fresh process that is told of no custom objects, and answers as before."""
    model = model_of(case, built(case))
    model.save(folder / "model.keras")
    given = batches(case, model)
    assert_answers(case, model, readers["keras"].read(folder / "model.keras", given), given)


def check_saved_model(case: LayerCase, readers: object, folder: Path) -> None:
    """An export answers and differentiates as before in a process that cannot import the package."""
    model = model_of(case, built(case))
    # What `model.export` writes, with fewer traces; tests/export/test_keras_export.py holds that itself.
    specs = [tf.TensorSpec((None, *shape), tf.float32) for shape in case.symbolic_shapes()]
    write_saved_model(model, {"serve": (lambda inputs: model(inputs), [case.structured(specs)])}, folder / "export")
    given = batches(case, model)
    assert_answers(case, model, readers["saved_model"].read(folder / "export", given), given)


def check_shapes(case: LayerCase, readers: object, folder: Path) -> None:
    """Shapes computed, symbolic and real agree, unknown sides included, and one trace serves many sizes."""
    layer = built(case)
    sizes = [{}, {"batch": 0}]
    sizes += [{"batch": 3, "grow": 3}] if case.unknown_sides else []
    for size in sizes:
        real = [tuple(y.shape) for y in call(case, layer, tensors(case, **size))]
        if case.learned_sides:
            real = [(shape[0], None, None, shape[3]) for shape in real]
        computed = layer.compute_output_shape(case.structured(case.shapes(**size)))
        assert _flat_shapes(computed) == real, f"computed {_flat_shapes(computed)}, real {real}"
    empty = tensors(case, batch=0)
    _, dx, _ = gradients(case, layer, empty, upstream_like(call(case, layer, empty)))
    assert all(g is None or g.shape == x.shape for g, x in zip(dx, empty)), "an empty batch has a gradient that is not"
    empty_batch.check_layer(case, layer, "float32")
    if not case.unknown_sides:
        return
    shapes = [(None, *shape) for shape in case.symbolic_shapes()]
    symbolic = [tuple(y.shape) for y in model_of(case, case.make(dtype="float32")).outputs]
    computed = _flat_shapes(layer.compute_output_shape(case.structured(shapes)))
    assert computed == symbolic, f"computed {computed}, symbolic {symbolic}"
    traces = []

    @tf.function(input_signature=[[tf.TensorSpec(shape, tf.float32) for shape in shapes]], autograph=False)
    def traced(values: list) -> list:
        traces.append(None)
        return call(case, layer, values)

    for size in ({}, {"batch": 1, "grow": 1}, {"batch": 3, "grow": 4}):
        values = tensors(case, **size)
        for k, (y, expected) in enumerate(zip(traced(values), call(case, layer, values), strict=True)):
            assert_close(y, expected, "float32", f"output {k} of the traced layer")
    assert len(traces) == 1, f"{len(traces)} traces"


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
            assert y.dtype == dtype, f"output {k} is {y.dtype} under {policy}"
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


def _flat_shapes(shapes: object) -> list[tuple[int | None, ...]]:
    """Return one shape, or a list of shapes however nested, as a list of tuples."""
    if isinstance(shapes, (list, tuple)) and all(isinstance(s, (tuple, list, tf.TensorShape)) for s in shapes):
        return [shape for part in shapes for shape in _flat_shapes(part)]
    return [tuple(shapes)]


CHECKS: dict[str, Callable] = {
    "config": check_config,
    "keras": check_keras_file,
    "saved_model": check_saved_model,
    "shapes": check_shapes,
    "precision": check_precision,
    "xla": check_xla,
    "gradient": check_gradient,
    "reference": check_reference,
    "training": check_training,
}
