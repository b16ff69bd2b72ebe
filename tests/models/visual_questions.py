"""A small `pyramid_vlm` and data for it, for its tests."""

import numpy as np

from tfpyramid import models
from tfpyramid._compat import keras

COUNT, ANSWERS, WORDS, LEVELS = 12, 5, 20, 2


def small(objective="value", **arguments):
    arguments = {"num_levels": LEVELS, "filters": 2, "units": 6, "seed": 1, **arguments}
    return models.pyramid_vlm(WORDS, ANSWERS, objective=objective, **arguments)


def data():
    rng = np.random.default_rng(0)
    images = rng.random([COUNT, 17, 20, 3]).astype(np.float32)
    tokens = rng.integers(1, WORDS, [COUNT, 7]).astype(np.int32)
    return {"image": images, "question": tokens}, rng.integers(0, ANSWERS, COUNT).astype(np.int32)


def compiled(model, **arguments):
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"], **arguments)
    return model
