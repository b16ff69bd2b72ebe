"""BlurPool2D in the place of the pooling layers of Keras."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers
from tfpyramid._compat import keras

POOLS = [(1, 2), (2, None), (2, 1), (3, 2), (3, 3), (4, 3), (5, 2), ((3, 2), (2, 3)), ((1, 4), (4, 1))]


def images(height, width):
    return np.random.default_rng(height).normal(size=(2, height, width, 3)).astype(np.float32)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("pool_size, strides", POOLS)
def test_without_a_blur_it_is_max_pooling(pool_size, strides, padding):
    ours = layers.BlurPool2D(1, strides, pool_size=pool_size, padding=padding)
    theirs = keras.layers.MaxPooling2D(pool_size, strides, padding)
    unknown = tf.function(ours, input_signature=[tf.TensorSpec([None, None, None, 3])])
    for size in itertools.product((5, 6, 7, 8), (7, 8)):
        x = images(*size)
        np.testing.assert_array_equal(ours(x), theirs(x))
        np.testing.assert_array_equal(unknown(x), theirs(x))


@pytest.mark.parametrize("padding", ["same", "VALID"])
@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("pool_size, strides", POOLS)
def test_sizes_are_those_of_keras(pool_size, strides, pooling, padding):
    ours = layers.BlurPool2D(5, strides, pool_size=pool_size, padding=padding, pooling=pooling)
    layer = keras.layers.MaxPooling2D if pooling == "max" else keras.layers.AveragePooling2D
    theirs = layer(pool_size, strides, padding.lower())  # Keras 3 accepts "VALID" only in the constructor.
    for size in [(5, 7), (6, 8), (9, 5)]:
        x = images(*size)
        assert ours(x).shape == theirs(x).shape
        assert tuple(ours.compute_output_shape(x.shape)) == tuple(theirs.compute_output_shape(x.shape))


@pytest.mark.parametrize("size", [(6, 8), (7, 9)])
def test_a_blur_of_two_samples_is_average_pooling(size):
    theirs = keras.layers.AveragePooling2D(2, padding="valid")
    ours = layers.BlurPool2D(2, None, pool_size=2, padding="valid", pooling="average")
    np.testing.assert_allclose(ours(images(*size)), theirs(images(*size)), atol=1e-6)


@pytest.mark.parametrize("padding", [None, "same", "valid"])
@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("sizes", [(1, 2, 3), (4, 2, 3), (5, (3, 2), 2), (2, 1, 2), (5, 2, 4)])
def test_the_phase_is_the_position_of_the_outputs(sizes, pooling, padding):
    kernel_size, strides, pool_size = sizes
    layer = layers.BlurPool2D(kernel_size, strides, pool_size=pool_size, pooling=pooling, padding=padding)
    # The maximum of a ramp is its value at the end of the window, half a window after the centre.
    after = (pool_size - 1) / 2 if pooling == "max" else 0
    ramp = np.arange(24.0, dtype=np.float32)[None, :, None, None] * np.ones([1, 24, 24, 1], np.float32)
    lines = layer(ramp)[0, :, 0, 0], layer(ramp.swapaxes(1, 2))[0, 0, :, 0]
    for line, phase, step in zip(lines, np.broadcast_to(layer.phase, 2), np.broadcast_to(strides, 2)):
        np.testing.assert_allclose(line[2:-3], np.arange(len(line))[2:-3] * step + phase + after, atol=1e-5)


def test_the_phase_of_rectangles_is_a_pair():
    assert layers.BlurPool2D(pool_size=(2, 1)).phase == (1.0, 0.5)
    assert layers.BlurPool2D(pool_size=(2, 1), pooling="average").phase == 0.5


def test_a_configuration_without_the_new_arguments_loads_unchanged():
    config = {"name": "pool", "strides": 2, "border": "edge", "kernel_size": 4, "pool_size": 3}
    layer = layers.BlurPool2D.from_config(config)
    assert (layer.padding, layer.pooling) == (None, "max")
    x = images(8, 9)
    maxima = keras.layers.MaxPooling2D(3, 1, "same")(x)
    np.testing.assert_allclose(layer(x), layers.BlurPool2D(border="edge")(maxima), atol=1e-6)


def test_a_list_or_a_pair_of_equal_numbers_is_one_number():
    layer = layers.BlurPool2D((3, 3), [2, 2], pool_size=(2, 2))
    assert (layer.kernel_size, layer.strides, layer.pool_size) == (3, 2, 2)
    again = layers.BlurPool2D.from_config(layers.BlurPool2D([4, 1], (2, 1)).get_config())
    assert (again.kernel_size, again.strides) == ((4, 1), (2, 1))


def test_a_nan_reaches_only_the_outputs_that_depend_on_it():
    x = images(9, 9)
    x[0, 4, 4, 1] = np.nan
    y = layers.BlurPool2D(3, 2, pool_size=3, padding="valid", pooling="average")(x).numpy()
    assert np.isnan(y[0, :, :, 1]).sum() == 4 and np.isnan(y).sum() == 4
