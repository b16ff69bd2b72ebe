"""The attributes that callbacks and plots look for, on layers of the package and on a user's layer."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, training, visualize
from tfpyramid._compat import keras
from tfpyramid.layers import protocols

IMAGES = tf.constant(np.random.default_rng(0).random([4, 8, 8, 2]), tf.float32)


class Softened(keras.layers.Layer):
    """A user's layer that offers every attribute and inherits from nothing in the package."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.downsamplers = [keras.layers.Conv2D(2, 3, 2, padding="same", name=f"down_{k}") for k in range(2)]
        self.level_layers = [keras.layers.Conv2D(1, 1, name=f"head_{k}") for k in range(3)]

    def build(self, input_shape):
        self.temperature = self.add_weight(name="temperature", shape=(), initializer="ones", trainable=False)
        self.blur = self.add_weight(name="blur", shape=(2, 2, 2, 1), initializer="ones", trainable=False)
        for part in (*self.downsamplers, *self.level_layers):
            part.build((None, None, None, 2))
        super().build(input_shape)

    def call(self, images):
        levels = [images]
        for down in self.downsamplers:
            levels.append(down(levels[-1]))
        means = [tf.reduce_mean(head(level), [1, 2, 3]) for head, level in zip(self.level_layers, levels)]
        return tf.nn.softmax(tf.stack(means, axis=1) / tf.convert_to_tensor(self.temperature))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 3)

    def level_usage(self, outputs):
        return outputs


def test_a_layer_of_a_user_is_annealed_monitored_and_drawn():
    image = keras.Input((8, 8, 2))
    layer = Softened(name="own")
    model = keras.Model(image, layer(image))
    model.compile("sgd", "mse")
    sample = (IMAGES, tf.eye(3)[:1] * tf.ones([4, 1]))
    callbacks = [training.TemperatureAnnealing(1.0, 0.25, steps=1), training.PyramidMonitor(sample=sample)]
    history = model.fit(*sample, verbose=0, callbacks=callbacks).history
    assert history["temperature/own"] == [0.25]
    norms = ["level_1", "level_2", "level_0", "level_1", "level_2"]
    assert [level for level, _ in protocols.layers_of_levels(layer)] == norms
    assert all(history[f"gradient_norm/own/level_{k}"][0] > 0 for k in range(3))
    assert sum(history[f"level_usage/own/level_{k}"][0] for k in range(3)) == pytest.approx(1)
    titles = [axes.get_title() for axes in visualize.show_kernels(layer).axes]
    assert "channel 0" in titles and "channel 1" in titles


def test_layers_without_the_attributes_are_skipped():
    plain = keras.layers.ReLU()
    assert protocols.temperature_of(plain) is None and protocols.kernel_attribute(plain) is None
    assert not isinstance(plain, protocols.HasLevelUsage) and not list(protocols.layers_of_levels(plain))
    assert protocols.temperature_of(layers.WeightedFusion("sum")) is None, "its attribute is None"


def test_a_blur_is_preferred_to_the_kernel():
    layer = layers.AntiAliasedDownsample2D(filters=3)
    layer(IMAGES)
    assert protocols.kernel_attribute(layer) == "blur"


def test_second_names_are_hidden():
    layer = layers.PyramidConv2D(1)
    assert "layer" in dir(layer)
    layer([IMAGES, IMAGES[:, ::2, ::2]])
    assert "layer" not in dir(layer) and "level_layers" in dir(layer)
