"""Checks of layers that are written and read: configurations, `.keras` files, SavedModels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from tests.check_layer.running import assert_close, built, call, gradients, model_of, tensors, upstream_like
from tests.layer_cases import LayerCase
from tfpyramid._compat import keras, write_saved_model


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
    specs = [tf.TensorSpec((None, *shape), tf.float32) for shape in case.symbolic_shapes()]
    signature = [case.structured(specs)]
    if case.label == "default":
        write_saved_model(model, {"serve": (lambda inputs: model(inputs), signature)}, folder / "export")
    else:
        # Keras would trace the model three times more, for `_default_save_signature` among others.
        module = tf.Module()
        module.serve = tf.function(lambda inputs: model(inputs), signature, autograph=False)
        module.tensors = list(module.serve.get_concrete_function().variables)
        tf.saved_model.save(module, folder / "export")
    given = batches(case, model)
    assert_answers(case, model, readers["saved_model"].read(folder / "export", given), given)
