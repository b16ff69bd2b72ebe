"""The check of shapes."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from tests import empty_batch
from tests.check_layer.running import assert_close, built, call, gradients, model_of, tensors, upstream_like
from tests.layer_cases import LayerCase
from tfpyramid._compat import KERAS_3


def check_shapes(case: LayerCase, readers: object, folder: Path) -> None:
    """Shapes computed, symbolic and real agree, unknown sides included, and one trace serves many sizes."""
    layer = built(case)
    sizes = [{}, {"batch": 0}]
    sizes += [{"batch": 3, "grow": 3}] if case.unknown_sides else []
    for size in sizes:
        real = [tuple(y.shape) for y in call(case, layer, tensors(case, **size))]
        if case.learned_sides:
            real = [(shape[0], None, None, shape[3]) for shape in real]
        if case.varying:
            real = [(shape[0], None, *shape[2:]) for shape in real]
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
    if case.varying and not KERAS_3:  # Keras 2 traces `call` as at inference.
        symbolic = [(shape[0], None, *shape[2:]) for shape in symbolic]
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


def _flat_shapes(shapes: object) -> list[tuple[int | None, ...]]:
    """Return one shape, or a list of shapes however nested, as a list of tuples."""
    if isinstance(shapes, (list, tuple)) and all(isinstance(s, (tuple, list, tf.TensorShape)) for s in shapes):
        return [shape for part in shapes for shape in _flat_shapes(part)]
    return [tuple(shapes)]
