"""Second derivatives of `LevelCascade`; the conformance table checks first ones."""

import numpy as np
import pytest
import tensorflow as tf

from tests.layers.test_level_cascade import IMAGES, Asked
from tfpyramid import layers
from tfpyramid._compat import keras


@pytest.mark.slow
@pytest.mark.parametrize("batch", [3, 1])
def test_second_derivatives_of_a_graph_of_any_batch_are_those_of_the_chosen_levels(batch):
    def network(k):
        stack = [keras.Input((None, None, 3)), keras.layers.Conv2D(4, 2, activation="tanh")]
        return keras.Sequential([*stack, keras.layers.GlobalAveragePooling2D()], name=f"network_{k}")

    pyramid = layers.GaussianPyramid(3, upsampled_levels=1)
    layer = layers.LevelCascade([network(k) for k in range(3)], [Asked(1), Asked(2)], pyramid)
    images, stops = IMAGES[:batch, :8, :8], tf.constant([[1.0], [0.0], [2.0]])[:batch]
    weights = tf.one_hot(tf.cast(stops[:, 0], tf.int32), 3)
    layer([images, stops])

    def chosen(images, stops):
        return tf.add_n([w[:, None] * y for w, y in zip(tf.unstack(weights, axis=1), layer.encode_all(images))])

    def second(function):
        def derivative(images, stops):
            with tf.GradientTape() as outer:
                outer.watch(images)
                with tf.GradientTape() as inner:
                    inner.watch(images)
                    y = tf.reduce_sum(function(images, stops) ** 3)
                objective = tf.reduce_sum(inner.gradient(y, images) ** 2)
            return outer.gradient(objective, images)

        return derivative

    specs = [tf.TensorSpec([None, 8, 8, 3]), tf.TensorSpec([None, 1])]
    graph = tf.function(second(lambda *x: layer(list(x))[0]), specs, autograph=False)
    expected = second(chosen)(images, stops)
    assert np.any(expected)
    np.testing.assert_allclose(graph(images, stops), expected, atol=1e-6)
