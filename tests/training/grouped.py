"""A model with a pyramid, compiled with an optimizer for each group."""

import numpy as np

from tfpyramid import layers, training
from tfpyramid._compat import keras

RNG = np.random.default_rng(0)
X = RNG.standard_normal([8, 8, 8, 2]).astype(np.float32)
Y = RNG.standard_normal([8, 8, 8, 3]).astype(np.float32)


def make_model(**conv):
    image = keras.Input((None, None, 2))
    levels = layers.LearnablePyramid(3)(image)
    return keras.Model(image, layers.UpsampleConcat()(layers.PyramidConv2D(1, **conv)(levels)))


def parts(model):
    """Return the variables of the pyramid and of the rest."""
    pyramid, convolutions = model.layers[1:3]
    return pyramid.trainable_variables, convolutions.trainable_variables


def compiled(model=None, **arguments):
    model = make_model() if model is None else model
    model.compile(training.discriminative_optimizer(model, **arguments), "mse")
    return model


def fit(model, epochs=2):
    model.fit(X, Y, epochs=epochs, batch_size=4, verbose=0, shuffle=False)


def values(variables):
    return [v.numpy() for v in variables]


def assert_equal(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, e)


def schedule():
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, 20), global_clipnorm=1.0)
