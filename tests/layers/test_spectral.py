"""SpectralDownsample2D, beyond the conformance table: how its strides are learned."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, ops
from tfpyramid._compat import KERAS_3, keras


def photograph(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def set_log_strides(layer, values):
    """Set the logarithms of the strides, relative to their initial values."""
    layer.build((None, 16, 16, 1))
    layer.set_weights([np.float32(values) / layer.stride_speed])


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("strides", [2, (2.6, 1.3)])
def test_untrained_it_is_the_low_pass_crop(strides, hard):
    x = photograph(2, 26, 39, 3)
    pair = (2.0, 2.0) if strides == 2 else strides
    layer = layers.SpectralDownsample2D(strides, hard=hard)
    np.testing.assert_array_equal(layer(x), ops.spectral_pool(x, tf.constant(pair), hard=hard))
    np.testing.assert_array_equal(layer.strides, np.float32(pair))


def test_strides_can_be_read():
    layer = layers.SpectralDownsample2D((2.5, 1.5))
    set_log_strides(layer, np.log([2.0, 4.0]))
    np.testing.assert_allclose(layer.strides, [5, 6], rtol=1e-6)
    assert layer(photograph(1, 15, 18, 1)).shape == (1, 3, 3, 1)


def test_a_stride_below_1_is_used_as_1_and_has_a_gradient_that_brings_it_back():
    layer = layers.SpectralDownsample2D((1.5, 1.5))
    set_log_strides(layer, np.log([0.5, 0.5]))  # Without the lower bound the strides would be 0.75.
    x = photograph(1, 16, 16, 1)
    at_one = tf.constant([1.0, 1.0])
    with tf.GradientTape() as tape, tf.GradientTape() as bound:
        bound.watch(at_one)
        loss = tf.reduce_sum(layer(x) ** 2)
        loss_at_one = tf.reduce_sum(ops.spectral_pool(x, at_one) ** 2)
    assert loss == loss_at_one
    np.testing.assert_array_equal(layer.strides, [1, 1])
    (v,) = layer.trainable_weights
    gradient = tape.gradient(loss, v.value if KERAS_3 else v)
    assert np.all(gradient.numpy() != 0)
    expected = 0.75 * bound.gradient(loss_at_one, at_one) / layer.stride_speed
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


@pytest.mark.parametrize("start", [0.8, 2.0])
def test_the_cost_of_pixels_makes_strides_grow(start):
    layer = layers.SpectralDownsample2D((2.0, 2.0), cost_weight=3.0)
    set_log_strides(layer, np.log([start / 2, start / 2]))
    image = keras.Input((16, 16, 1))
    model = keras.Model(image, layer(image))
    model.compile(keras.optimizers.SGD(0.1), loss=lambda target, y: 0.0 * tf.reduce_sum(y))
    history = model.fit(photograph(4, 16, 16, 1), np.zeros([4]), epochs=20, batch_size=4, verbose=0)
    np.testing.assert_allclose(history.history["loss"][0], 3.0 / max(start, 1) ** 2, rtol=1e-5)
    assert np.all(layer.strides.numpy() > start + 0.2)
    assert history.history["loss"][-1] < 0.9 * history.history["loss"][0]


def test_without_a_cost_no_loss_is_added():
    layer = layers.SpectralDownsample2D()
    layer(photograph(1, 8, 8, 1))
    assert not layer.losses


@pytest.mark.slow
@pytest.mark.parametrize("hard", [False, True])
def test_strides_that_start_wrong_recover(hard):
    # The target keeps the frequencies of strides (2.2, 1.8), at a fixed size; noise contains all frequencies.
    x = np.random.default_rng(0).standard_normal([4, 24, 24, 1]).astype(np.float32)
    target = ops.spectral_pool(x, (2.2, 1.8), (24, 24), hard=hard)
    # A hard crop has no gradient from the frequencies it drops, so it starts with strides that are too small.
    layer = layers.SpectralDownsample2D((1.2, 1.1 if hard else 4.0), (24, 24), hard=hard)
    layer.build(x.shape)
    optimizer = keras.optimizers.Adam()
    (v,) = layer.trainable_weights
    for _ in range(300):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((layer(x) - target) ** 2)
        optimizer.apply_gradients([(tape.gradient(loss, v.value if KERAS_3 else v), v)])
    # A hard crop keeps an integer number of frequencies, so all strides that keep the same number are equally good.
    tolerance = 0.25 if hard else 0.02
    np.testing.assert_allclose(layer.strides, [2.2, 1.8], atol=tolerance)
