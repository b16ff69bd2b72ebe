"""AdaptiveDepthPyramid, beyond the conformance table: its start, its losses, and the pruned pyramid."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers
from tfpyramid._compat import keras


def photograph(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def test_untrained_and_hard_it_equals_the_learnable_pyramid():
    x = photograph(2, 21, 34, 3)
    levels, gates = layers.AdaptiveDepthPyramid(4, hard=True)(x)
    for level, expected in zip(levels, layers.LearnablePyramid(4)(x), strict=True):
        np.testing.assert_array_equal(level, expected)
    np.testing.assert_array_equal(gates, np.ones([2, 4]))


def test_untrained_soft_gates_are_open_and_have_a_gradient():
    _, gates = layers.AdaptiveDepthPyramid(4)(photograph(3, 8, 8, 1))
    expected = (1 / (1 + np.exp(-2.0))) ** np.arange(4)
    np.testing.assert_allclose(gates, np.broadcast_to(expected, [3, 4]), rtol=1e-6)


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("logits, depth", [([1.0, 1.0, 1.0], 4), ([0.0, -1.0, 3.0], 2), ([-1.0, 2.0, 2.0], 1)])
def test_the_pruned_pyramid_returns_the_open_levels_of_the_hard_one(share, logits, depth):
    x = photograph(2, 13, 9, 3)
    layer = layers.AdaptiveDepthPyramid(4, share_weights=share, hard=True)
    layer(x)
    rng = np.random.default_rng(1)
    for step in layer.pyramid.downsamplers:
        step.set_weights([w + 0.1 * rng.standard_normal(w.shape).astype(np.float32) for w in step.get_weights()])
    layer.gate_logits.assign(logits)
    levels, gates = layer(x)
    pruned = layer.pruned()
    assert layer.depth == pruned.num_levels == depth and isinstance(pruned, layers.LearnablePyramid)
    np.testing.assert_array_equal(gates[0], np.arange(4) < depth)
    for level, expected in zip(levels, pruned(x), strict=False):
        np.testing.assert_array_equal(level, expected)
    for level in levels[depth:]:
        assert not np.any(level)


def test_the_pruned_pyramid_has_its_own_weights():
    layer = layers.AdaptiveDepthPyramid(3, layers.LearnableDownsample2D(filters=4), hard=True)
    layer(photograph(1, 8, 8, 3))
    pruned = layer.pruned(name="shallow")
    before = layer.get_weights()
    pruned.set_weights([0 * w for w in pruned.get_weights()])
    assert all(np.array_equal(a, b) for a, b in zip(before, layer.get_weights(), strict=True))
    assert pruned.name == "shallow" and pruned.built


def test_the_penalty_is_the_expected_depth():
    x = photograph(5, 8, 8, 3)
    layer = layers.AdaptiveDepthPyramid(3, depth_penalty=0.5)
    _, gates = layer(x)
    (penalty,) = layer.losses
    np.testing.assert_allclose(penalty, 0.5 * np.sum(gates[0, 1:]), rtol=1e-6)
    free = layers.AdaptiveDepthPyramid(3)
    free(x)
    assert free.losses == []


@pytest.mark.slow
@pytest.mark.parametrize("hard", [False, True])
def test_the_penalty_closes_the_levels_that_the_task_does_not_use(hard):
    x = photograph(16, 8, 8, 1)
    target = layers.LearnablePyramid(2)(x)[1].numpy()
    image = keras.Input((8, 8, 1))
    pyramid = layers.AdaptiveDepthPyramid(4, hard=hard, depth_penalty=0.01)
    levels, _ = pyramid(image)
    # The deeper levels are outputs without a loss.
    model = keras.Model(image, levels[1:])
    targets = [target, np.zeros([16, 2, 2, 1], np.float32), np.zeros([16, 1, 1, 1], np.float32)]
    model.compile(keras.optimizers.Adam(0.1), ["mse"] * 3, loss_weights=[1.0, 0.0, 0.0])
    model.fit(x, targets, epochs=60, batch_size=16, verbose=0)
    assert pyramid.depth == 2


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.slow
def test_the_task_opens_a_level_that_it_needs_behind_two_closed_gates(hard):
    x = photograph(16, 8, 8, 1)
    target = layers.LearnablePyramid(3)(x)[2].numpy()
    image = keras.Input((8, 8, 1))
    pyramid = layers.AdaptiveDepthPyramid(3, hard=hard)
    levels, _ = pyramid(image)
    model = keras.Model(image, levels[2])
    pyramid.pyramid.trainable = False  # Otherwise larger kernels could replace open gates.
    pyramid.gate_logits.assign([-0.5, -0.5])
    assert pyramid.depth == 1
    model.compile(keras.optimizers.Adam(0.1), "mse")
    model.fit(x, target, epochs=30, batch_size=16, verbose=0)
    assert pyramid.depth == 3


def test_one_level_has_no_gate_to_learn():
    layer = layers.AdaptiveDepthPyramid(1)
    x = photograph(2, 5, 5, 2)
    (level,), gates = layer(x)
    np.testing.assert_array_equal(level, x)
    np.testing.assert_array_equal(gates, np.ones([2, 1]))
    assert layer.depth == layer.pruned().num_levels == 1


@pytest.mark.slow
def test_a_model_predicts_gates_for_every_image_and_is_saved(tmp_path):
    image = keras.Input((None, None, 3))
    levels, gates = layers.AdaptiveDepthPyramid(3, temperature=0.5)(image)
    model = keras.Model(image, [*levels, gates])
    x = photograph(5, 6, 7, 3)
    outputs = model.predict(x, batch_size=2, verbose=0)
    assert [y.shape[0] for y in outputs] == [5] * 4 and outputs[-1].shape == (5, 3)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for y, expected in zip(again.predict(x, verbose=0), outputs, strict=True):
        np.testing.assert_allclose(y, expected, rtol=1e-6)
    model.export(str(tmp_path / "export"))
    served = tf.saved_model.load(str(tmp_path / "export"))
    for y, expected in zip(tf.nest.flatten(served.serve(x)), outputs, strict=True):
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


# Bad input.


@pytest.mark.parametrize(
    "arguments, rule",
    [
        ({"max_levels": 0}, "`max_levels` must be an integer of at least 1, the length of the list"),
        ({"max_levels": 2.0}, "`max_levels` must be an integer of at least 1, the length of the list"),
        ({"temperature": 0}, "`temperature` must be a finite number greater than 0"),
        ({"depth_penalty": -1}, "`depth_penalty` must be a finite number of at least 0, the cost of an open level"),
        ({"hard": "no"}, "`hard` must be True or False"),
        ({"share_weights": 1}, "`share_weights` must be True or False"),
        ({"downsample": "conv"}, "`downsample` must be an instance of keras.layers.Layer"),
    ],
)
def test_arguments_are_checked_when_the_layer_is_made(arguments, rule):
    with pytest.raises(ValueError, match=f"{rule}.* Received: {next(iter(arguments))}="):
        layers.AdaptiveDepthPyramid(**{"max_levels": 3, **arguments})


def test_learned_results_require_a_built_layer():
    layer = layers.AdaptiveDepthPyramid(3)
    with pytest.raises(ValueError, match="`depth` is available only after the layer is built.* Received: built=False"):
        layer.depth
    with pytest.raises(
        ValueError, match=r"`pruned\(\)` is available only after the layer is built.* Received: built=False"
    ):
        layer.pruned()


def test_inputs_other_than_floating_images_are_refused():
    with pytest.raises(ValueError, match="`images` must have 4 axes"):
        layers.AdaptiveDepthPyramid(2)(photograph(8, 8, 3))
    with pytest.raises(ValueError, match="must be floating point"):
        layers.AdaptiveDepthPyramid(2)(np.zeros([1, 8, 8, 3], np.uint8))
