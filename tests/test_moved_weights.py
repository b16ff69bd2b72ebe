"""Weights that were moved off their start reach a new model by every way there is, and it answers as the old one.

The way of `.keras` files, SavedModels and `set_weights` is in the conformance table.
"""

import copy
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests import crossing
from tests.check_layer import assert_close, built, call, model_of, tensors
from tests.layer_cases import CASES, case_id
from tests.layer_cases.case import LayerCase
from tfpyramid import layers
from tfpyramid._compat import KERAS_3, keras

# The first case of each layer, and those that make parts which it does not.
PARTS = ("PerLevel-separate", "LearnablePyramid-shared", "FeaturePyramid-normalised", "LevelRouter-pyramid-odd")
FIRST = {case.layer: case for case in reversed(CASES)}
ONE_EACH = [case for case in CASES if case is FIRST[case.layer] or case_id(case) in PARTS]
SETTINGS = {"jit_compile": False} if KERAS_3 else {}


def fresh(case: LayerCase) -> keras.Model:
    return model_of(case, case.make(dtype="float32"))


def compiled(model: keras.Model) -> keras.Model:
    """Return the model with an optimizer that has its state."""
    model.compile("adam", ["mse"] * len(model.outputs), **SETTINGS)
    if model.trainable_variables:
        model.optimizer.build(model.trainable_variables)
    return model


def through_a_checkpoint(written: keras.Model, read: keras.Model, folder: Path) -> keras.Model:
    path = tf.train.Checkpoint(model=written).write(str(folder / "checkpoint"))
    status = tf.train.Checkpoint(model=read).read(path)
    if not any(getattr(model, "optimizer", None) for model in (written, read)):
        status.assert_consumed()
    status.expect_partial()  # The state of an optimizer may be on one side only.
    return read


def through_a_file(model: keras.Model, other: keras.Model, folder: Path) -> keras.Model:
    model.save_weights(str(folder / "model.weights.h5"))
    other.load_weights(str(folder / "model.weights.h5"))
    return other


def clone(model: keras.Model) -> keras.Model:
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    return other


def assert_equal_answers(case: LayerCase, layer: keras.layers.Layer, others: dict[str, keras.layers.Layer]) -> None:
    """Assert that layers or models answer as the first one, with weights of their own."""
    # Each answers once: a layer that draws must draw the same numbers.
    values = tensors(case)
    expected = call(case, layer, values)
    for name, other in others.items():
        assert [w.shape for w in other.weights] == [w.shape for w in layer.weights], name
        assert not {id(w) for w in other.weights} & {id(w) for w in layer.weights}, name
        for k, (y, e) in enumerate(zip(call(case, other, values), expected, strict=True)):
            assert_close(y, e, "float32", f"output {k} by {name}")


@pytest.mark.slow
@pytest.mark.parametrize("case", ONE_EACH, ids=case_id)
@pytest.mark.no_cover
def test_a_model_with_the_weights_of_another_answers_as_that_one(case, tmp_path):
    model = model_of(case, built(case))
    others = {
        "a checkpoint": through_a_checkpoint(model, fresh(case), tmp_path),
        "a checkpoint for a compiled model": through_a_checkpoint(model, compiled(fresh(case)), tmp_path),
        "a file of weights": through_a_file(model, fresh(case), tmp_path),
        "deepcopy": copy.deepcopy(model),
        "clone_model": clone(model),
    }
    compiled(model)
    others["a checkpoint of a compiled model"] = through_a_checkpoint(model, fresh(case), tmp_path)
    others["a checkpoint of a compiled model for another"] = through_a_checkpoint(
        model, compiled(fresh(case)), tmp_path
    )
    assert_equal_answers(case, model, others)


@pytest.mark.parametrize("case", ONE_EACH, ids=case_id)
@pytest.mark.no_cover
@pytest.mark.slow
def test_a_copy_of_a_layer_answers_as_the_layer(case):
    layer, copy_of_unbuilt = built(case), copy.deepcopy(case.make(dtype="float32"))
    copy_of_unbuilt.build(case.structured(case.shapes()))
    copy_of_unbuilt.set_weights(layer.get_weights())
    others = {"deepcopy": copy.deepcopy(layer), "deepcopy before it is built": copy_of_unbuilt}
    assert_equal_answers(case, layer, others)


@pytest.mark.parametrize("name", ["segmenter", "visual_questions"])
def test_a_checkpoint_holds_each_weight_of_a_model_once(name, tmp_path):
    model, other = crossing.BUILDERS[name](), crossing.BUILDERS[name]()
    for seed, weight in enumerate(model.weights):
        weight.assign(weight + 0.1 * tf.cast(tf.random.stateless_normal(weight.shape, [seed, 0]), weight.dtype))
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    shapes = [tuple(shape) for _, shape in tf.train.list_variables(path) if shape != []]
    assert sorted(shapes) == sorted(tuple(w.shape) for w in model.variables if tuple(w.shape))
    tf.train.Checkpoint(model=other).read(path).assert_consumed()
    for actual, expected in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_a_checkpoint_that_is_read_before_the_layer_is_built_waits_for_its_parts(tmp_path):
    images = tf.constant(np.random.default_rng(0).random([2, 9, 7, 3]), tf.float32)
    layer, other = layers.PyramidBlock(2), layers.PyramidBlock(2)
    expected = layer(images)
    path = tf.train.Checkpoint(layer=layer).write(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(layer=other).read(path)
    np.testing.assert_allclose(other(images), expected, atol=1e-6)
