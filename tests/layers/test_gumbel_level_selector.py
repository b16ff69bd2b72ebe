"""Random draws of selectors: when they happen, how often, and from which seed."""

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tests.layers.selectors import LOGITS
from tfpyramid import layers
from tfpyramid._compat import keras


def test_noise_is_drawn_in_training_only():
    layer = layers.GumbelLevelSelector(seed=3)
    np.testing.assert_array_equal(layer(LOGITS), layer(LOGITS))
    np.testing.assert_array_equal(layer(LOGITS), np.eye(4)[np.argmax(LOGITS, axis=1)])
    first, second = layer(LOGITS, training=True), layer(LOGITS, training=True)
    assert np.abs(first - second).max() > 0.1


@pytest.mark.parametrize("hard", [False, True])
def test_the_draws_of_a_seed_are_the_same_for_each_layer_of_it(hard):
    def draws(seed):
        layer = layers.GumbelLevelSelector(hard=hard, seed=seed)
        return np.array([layer(LOGITS, training=True) for _ in range(3)])

    np.testing.assert_array_equal(draws(5), draws(5))
    assert np.any(draws(5) != draws(6))
    assert np.any(draws(None) != draws(None))


def test_hard_draws_are_one_level_as_often_as_the_softmax_says():
    layer = layers.GumbelLevelSelector(hard=True, seed=1)
    logits = tf.tile(tf.constant([[0.0, 1.0, -1.0]]), [20000, 1])
    drawn = layer(logits, training=True).numpy()
    assert set(np.unique(drawn)) == {0, 1} and np.all(drawn.sum(axis=1) == 1)
    # Five standard deviations of a frequency over 20,000 draws.
    np.testing.assert_allclose(drawn.mean(axis=0), references.softmax(logits[0].numpy()), atol=0.018)


@pytest.mark.parametrize("name", ["gumbel", "query"])
def test_the_draws_continue_in_a_saved_model_of_the_training_endpoint(name, tmp_path):
    made = {
        "gumbel": lambda: layers.GumbelLevelSelector(seed=7),
        "query": lambda: layers.QueryLevelSelector(4, 5, "gumbel", seed=7),
    }[name]
    inputs = keras.Input((4,))
    model = keras.Model(inputs, made()(inputs))
    archive = keras.export.ExportArchive()
    archive.track(model)
    spec = tf.TensorSpec([None, 4], tf.float32)
    archive.add_endpoint("train", lambda x: model(x, training=True), input_signature=[spec])
    archive.write_out(str(tmp_path / "model"))
    expected = [model(LOGITS, training=True) for _ in range(3)]
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    for y in expected:
        np.testing.assert_allclose(loaded.train(LOGITS), y, atol=1e-6)


@pytest.mark.parametrize("layer", [layers.GumbelLevelSelector, lambda **a: layers.QueryLevelSelector(3, **a)])
@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), "cold"])
def test_temperature_is_checked_when_the_layer_is_made(layer, temperature):
    with pytest.raises(ValueError, match="`temperature` must be a finite number greater than 0.* Received: temp"):
        layer(temperature=temperature)
