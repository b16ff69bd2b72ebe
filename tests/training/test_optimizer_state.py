"""The state of an optimizer with groups is saved, loaded, restored and copied."""

import numpy as np
import pytest
import tensorflow as tf

from tests.training.grouped import assert_equal, compiled, fit, make_model, schedule, values
from tfpyramid import training
from tfpyramid._compat import keras


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_a_model_that_is_loaded_trains_on_as_the_one_that_was_saved(policy, tmp_path):
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = compiled(pyramid=schedule())
        fit(model)
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert_equal(values(again.optimizer.variables), values(model.optimizer.variables))
    before = model.get_weights()
    fit(model)
    fit(again)
    assert_equal(again.get_weights(), model.get_weights())
    assert all(np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True))
    assert int(again.optimizer.iterations) == 8


# Keras 3 says this of any optimizer that was never used.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")
def test_a_model_that_was_never_trained_is_loaded_with_its_groups(tmp_path):
    model = compiled(task=keras.optimizers.SGD(0.3))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.optimizer.get_config()["places"] == model.optimizer.get_config()["places"]
    assert type(again.optimizer.groups["task"]) is keras.optimizers.SGD
    fit(model)
    fit(again)
    assert_equal(again.get_weights(), model.get_weights())


@pytest.mark.slow
def test_a_checkpoint_restores_all_of_it(tmp_path):
    model, again = compiled(pyramid=schedule()), compiled(pyramid=schedule())
    fit(model)
    path = tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(str(tmp_path / "checkpoint"))
    again.optimizer.build(again.trainable_variables)
    tf.train.Checkpoint(model=again, optimizer=again.optimizer).restore(path).assert_consumed()
    fit(model)
    fit(again)
    assert_equal(again.get_weights(), model.get_weights())


@pytest.mark.slow
def test_weights_of_the_optimizer_can_be_copied():
    model, again = compiled(), compiled()
    fit(model)
    again.set_weights(model.get_weights())
    again.optimizer.build(again.trainable_variables)
    again.optimizer.set_weights(values(model.optimizer.variables))
    fit(model)
    fit(again)
    assert_equal(again.get_weights(), model.get_weights())


@pytest.mark.slow
def test_what_is_frozen_before_training_stays_and_the_rest_is_trained_and_saved(tmp_path):
    inner = make_model()
    frozen = keras.layers.Conv2D(3, 1)
    model = keras.Model(inner.inputs, frozen(inner.outputs[0]))
    optimizer = training.discriminative_optimizer(model)
    frozen.trainable = False
    model.compile(optimizer, "mse")
    before = frozen.get_weights()
    fit(model)
    assert_equal(frozen.get_weights(), before)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    fit(model)
    fit(again)
    assert_equal(again.get_weights(), model.get_weights())
