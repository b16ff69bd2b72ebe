"""GradientNormalization, beyond the conformance table."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers


def gradient_of(layer, x, upstream):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
        objective = tf.add_n([tf.reduce_sum(a * b) for a, b in zip(tf.nest.flatten(y), tf.nest.flatten(upstream))])
    return tape.gradient(objective, x)


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 3, 4, 5, 6)])
def test_a_tensor_of_any_rank_is_returned_and_its_gradient_has_the_given_length(shape):
    x, upstream = tf.random.normal(shape), 1e6 * tf.random.normal(shape)
    layer = layers.GradientNormalization(norm=3.0)
    assert np.array_equal(layer(x), x)
    np.testing.assert_allclose(tf.norm(gradient_of(layer, x, upstream)), 3.0, rtol=1e-5)


def test_each_level_is_normalised_by_itself():
    levels = [tf.random.normal([2, 4, 4, 1]), tf.random.normal([2, 2, 2, 1])]
    upstream = [1e-12 * levels[0], 1e12 * levels[1]]
    for gradient in gradient_of(layers.GradientNormalization(), levels, upstream):
        np.testing.assert_allclose(tf.norm(gradient), 1.0, rtol=1e-5)


def test_each_sample_is_normalised_by_itself():
    x = tf.random.normal([3, 4])
    gradient = gradient_of(layers.GradientNormalization("sample"), x, x * [[1e-9], [1.0], [1e9]])
    np.testing.assert_allclose(tf.norm(gradient, axis=1), [1, 1, 1], rtol=1e-5)


@pytest.mark.parametrize("scope", ["tensor", "sample"])
def test_a_gradient_of_zero_remains_zero_and_nan_is_not_hidden(scope):
    x = tf.ones([2, 3])
    layer = layers.GradientNormalization(scope)
    assert not np.any(gradient_of(layer, x, tf.zeros([2, 3])))
    broken = gradient_of(layer, x, tf.constant([[1.0, float("nan"), 1.0], [1.0, 1.0, 1.0]])).numpy()
    assert np.all(np.isnan(broken[0])) and np.all(np.isnan(broken[1]) == (scope == "tensor"))
