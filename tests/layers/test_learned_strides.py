"""How optimizers move learned strides."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, ops
from tfpyramid._compat import KERAS_3, keras

NAMES = ["LearnableStrideConv2D", "SpectralDownsample2D"]
IMAGES = np.random.default_rng(0).random([4, 16, 18, 2], np.float32)


def built(name, **arguments):
    layer = getattr(layers, name)(initial_strides=(2.6, 1.7), output_size=6, **arguments)
    layer.build(IMAGES.shape)
    return layer


def gradients(layer):
    """Return the gradients of a loss for the weight of the strides, and for the strides."""
    weight = layer.scaled_log_strides.value if KERAS_3 else layer.scaled_log_strides
    with tf.GradientTape() as tape:
        tape.watch(weight)
        strides = layer.strides
        loss = tf.reduce_sum(strides**2)
    return tape.gradient(loss, weight).numpy(), 2 * strides.numpy()


@pytest.mark.parametrize("speed", [1.0, 10.0, 0.3])
@pytest.mark.parametrize("name", NAMES)
def test_the_weight_is_the_logarithm_over_the_speed_and_so_is_its_gradient(name, speed):
    layer = built(name, stride_speed=speed)
    layer.scaled_log_strides.assign([0.02, -0.03])
    expected = np.array([2.6, 1.7]) * np.exp(speed * np.array([0.02, -0.03]))
    np.testing.assert_allclose(layer.strides, expected, rtol=1e-6)
    of_weight, of_strides = gradients(layer)
    np.testing.assert_allclose(of_weight, of_strides * expected / speed, rtol=1e-5)


@pytest.mark.parametrize("speed", [1.0, 10.0, 100.0])
@pytest.mark.parametrize("name", NAMES)
def test_adam_moves_the_strides_by_the_speed_and_sgd_as_if_they_had_none(name, speed):
    moved = {}
    for optimizer in (keras.optimizers.Adam(1e-3), keras.optimizers.SGD(1e-3)):
        layer = built(name, stride_speed=speed)
        gradient, of_strides = gradients(layer)
        optimizer.build([layer.scaled_log_strides])
        optimizer.apply_gradients([(tf.constant(gradient), layer.scaled_log_strides)])
        moved[type(optimizer).__name__] = np.log(layer.strides / np.array([2.6, 1.7], np.float32))
    np.testing.assert_allclose(moved["Adam"], [-1e-3 * speed] * 2, rtol=1e-3)
    np.testing.assert_allclose(moved["SGD"], -1e-3 * of_strides * np.array([2.6, 1.7]), rtol=1e-3)


@pytest.mark.parametrize("hard", [False, True])
def test_the_last_window_begins_on_the_image_and_strides_above_return(hard):
    arguments = {"filters": 1, "kernel_size": 3, "output_size": 6, "hard": hard, "kernel_initializer": "ones"}
    layer = layers.LearnableStrideConv2D(initial_strides=(4.6, 1.7), **arguments)
    layer.build(IMAGES.shape)
    layer.scaled_log_strides.assign(np.log([2, 5]) / layer.stride_speed)  # Strides of 9.2 and 8.5.
    # Sides of 16 and 18 allow 3 and 3.4; the rows start with more.
    kernel, strides = np.ones([3, 3, 2, 1], np.float32), (5.0, 3.0) if hard else (4.6, 3.4)
    expected = ops.strided_conv2d(IMAGES, kernel, tf.constant(strides), output_size=(6, 6))
    weight = layer.scaled_log_strides.value if KERAS_3 else layer.scaled_log_strides
    with tf.GradientTape() as tape:
        tape.watch(weight)
        y = layer(IMAGES)
    np.testing.assert_allclose(y, expected, atol=1e-4)
    assert np.all(tape.gradient(y, weight).numpy() != 0)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_strides_recover_with_a_default_optimizer(optimizer):
    # Smooth images, so that the loss falls towards the right strides from far away.
    y, x = np.mgrid[:40, :40] / 40
    shifts = np.random.default_rng(1).random([32, 4, 1, 1]) * 2 * np.pi
    images = np.float32(sum(np.sin(2 * np.pi * (k * y + (3 - k) * x) + shifts[:, k]) for k in range(4)))[..., None]
    targets = ops.strided_conv2d(images, np.ones([1, 1, 1, 1], np.float32), (2.6, 1.7), output_size=(12, 12))
    layer = layers.LearnableStrideConv2D(1, 1, 2.0, output_size=12, use_bias=False, kernel_initializer="ones")
    image = keras.Input((40, 40, 1))
    model = keras.Model(image, layer(image))
    model.compile(optimizer, "mse")
    model.fit(images, targets, batch_size=8, epochs=60, verbose=0)
    np.testing.assert_allclose(layer.strides, [2.6, 1.7], atol=0.1)
