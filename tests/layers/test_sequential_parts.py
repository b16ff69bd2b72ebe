"""A Sequential or wrapper inside a layer is built for images of any size, unless its weights depend on the sides."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, ops
from tfpyramid._compat import keras

FIRST, SECOND = (9, 9), (12, 7)


def photographs(batch, sides):
    return tf.constant(np.random.default_rng(0).random([batch, *sides, 3], np.float32))


def convolution(name=None):
    return keras.Sequential([keras.layers.Conv2D(3, 3, strides=2, padding="same")], name=name)


def pooled_router():
    encoders = [
        keras.Sequential([keras.layers.Conv2D(4, 3), keras.layers.GlobalMaxPooling2D()], name=f"encoder_{k}")
        for k in range(2)
    ]
    return layers.LevelRouter(encoders, layers.GaussianPyramid(2))


def saved(model, tmp_path):
    model.save(tmp_path / "model.keras")
    return keras.models.load_model(tmp_path / "model.keras")


@pytest.mark.parametrize("share_weights", [True, False])
def test_a_sequential_at_each_level_of_known_sides_is_its_layer_at_each_level(share_weights, tmp_path):
    image = keras.Input((*FIRST, 3))
    per_level = layers.PerLevel(convolution(), share_weights=share_weights)
    model = saved(keras.Model(image, per_level(layers.GaussianPyramid(2)(image))), tmp_path)
    per_level = model.layers[-1]
    for sides in (FIRST, SECOND):
        levels = ops.gaussian_pyramid(photographs(2, sides), 2)
        parts = [per_level.layer] * 2 if share_weights else per_level.level_layers
        outputs = model(levels[0]) if sides == FIRST else per_level(levels)
        for y, part, level in zip(outputs, parts, levels, strict=True):
            np.testing.assert_allclose(y, part.layers[-1](level), atol=1e-6)
            assert part.input_shape == (None, None, None, 3)


@pytest.mark.parametrize("training", [True, False])
def test_a_router_of_sequentials_takes_a_second_size(training, tmp_path):
    inputs = [keras.Input((*FIRST, 3)), keras.Input((2,))]
    model = saved(keras.Model(inputs, pooled_router()(inputs)), tmp_path)
    choice = [1, 0, 1]
    for router in (model.layers[-1], pooled_router()):
        for sides in (FIRST, SECOND):
            images = photographs(3, sides)
            found = router([images, tf.one_hot(choice, 2)], training=training)
            levels = ops.gaussian_pyramid(images, 2)
            for b, k in enumerate(choice):
                features = router.encoders[k].layers[-2](levels[k][b : b + 1])
                np.testing.assert_allclose(found[b], np.max(features, axis=(0, 1, 2)), atol=1e-5)


@pytest.mark.parametrize("share_weights", [True, False])
def test_a_pyramid_of_a_sequential_takes_a_second_size(share_weights, tmp_path):
    image = keras.Input((*FIRST, 3))
    made = layers.LearnablePyramid(3, convolution(), share_weights=share_weights)
    pyramid = saved(keras.Model(image, made(image)), tmp_path).layers[-1]
    level = images = photographs(2, SECOND)
    for k, found in enumerate(pyramid(images)[1:]):
        level = pyramid.downsamplers[0 if share_weights else k].layers[-1](level)
        np.testing.assert_allclose(found, level, atol=1e-6)
    assert pyramid(keras.Input((None, None, 3)))[2].shape == (None, None, None, 3)


def test_a_sequential_that_needs_the_sides_is_built_for_them():
    encoders = [keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2)], name=f"e{k}") for k in range(2)]
    router = layers.LevelRouter(encoders, layers.GaussianPyramid(2))
    images = photographs(2, FIRST)
    found = router([images, tf.one_hot([1, 0], 2)])
    levels = ops.gaussian_pyramid(images, 2)
    for b, k in enumerate([1, 0]):
        kernel, bias = encoders[k].get_weights()
        np.testing.assert_allclose(found[b], levels[k][b].numpy().ravel() @ kernel + bias, atol=1e-5)


def test_a_wrapper_takes_levels_of_different_sides():
    dense = keras.layers.Dense(2)
    levels = ops.gaussian_pyramid(photographs(2, FIRST), 3)
    for y, level in zip(layers.PerLevel(keras.layers.TimeDistributed(dense))(levels), levels, strict=True):
        np.testing.assert_allclose(y, dense(level), atol=1e-6)
