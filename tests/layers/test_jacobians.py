"""Jacobians of one layer of each family, where TensorFlow computes all rows at once."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers
from tfpyramid._compat import KERAS_3, keras


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype("f")


IMAGES, COARSE, WEIGHTS = normal(2, 4, 3, 2), normal(2, 2, 2, 2), np.eye(2, dtype="f")


def encoder():
    return keras.Sequential([keras.layers.Conv2D(2, 2), keras.layers.GlobalAveragePooling2D()])


class Query(keras.layers.Layer):
    """A confidence that is the query: above or below the threshold, by far."""

    def call(self, inputs):
        return 20 * inputs[1] - 10

    def compute_output_shape(self, input_shape):
        return (input_shape[0][0], 1)


class Features(keras.layers.Layer):
    """The first output of a layer."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, inputs):
        return self.layer(inputs)[0]


CASES = {
    "ContentAdaptiveDownsample2D": (lambda: layers.ContentAdaptiveDownsample2D(2, hidden=2, hard=True), IMAGES),
    "GumbelLevelSelector": (lambda: layers.GumbelLevelSelector(hard=True), normal(2, 3)),
    "LearnableStrideConv2D": (lambda: layers.LearnableStrideConv2D(2, 2, 1.3, output_size=2), IMAGES),
    "LevelCascade": (
        lambda: Features(layers.LevelCascade([encoder(), encoder()], Query(), layers.GaussianPyramid(2))),
        [IMAGES, WEIGHTS[:, :1]],
    ),
    "LevelRouter": (lambda: layers.LevelRouter([encoder(), encoder()], layers.GaussianPyramid(2)), [IMAGES, WEIGHTS]),
    "LearnableDownsample2D": (lambda: layers.LearnableDownsample2D(2, 3, kernel_bits=4), IMAGES),
    "SpatialTransformerDownsample2D": (
        lambda: layers.SpatialTransformerDownsample2D(filters=2, grid_size=2, hard=True),
        IMAGES,
    ),
    "SpectralDownsample2D": (lambda: layers.SpectralDownsample2D(1.5, 2, hard=True), IMAGES),
    "Warp2D": (layers.Warp2D, [IMAGES, normal(2, 4, 3, 2)]),
    "WeightedFusion": (lambda: layers.WeightedFusion(hard=True), [IMAGES, COARSE]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_jacobian_equals_the_one_computed_row_by_row(name):
    make, inputs = CASES[name]
    layer, inputs = make(), tf.nest.map_structure(tf.constant, inputs)
    layer(inputs)
    for k, weight in enumerate(layer.trainable_weights):
        weight.assign(weight + 0.1 * normal(k + 1, *weight.shape)[k])
    sources = tf.nest.flatten(inputs) + [w.value if KERAS_3 else w for w in layer.trainable_weights]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(sources)
        y = layer(inputs)
        y = y**3 + y
    options = {"unconnected_gradients": "zero"}
    expected = tape.jacobian(y, sources, experimental_use_pfor=False, **options)
    actual = tape.jacobian(y, sources, **options)
    assert any(np.any(b) for b in expected)
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
