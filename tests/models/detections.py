"""A small `pyramid_detector` and targets for it, for its tests."""

import numpy as np

from tfpyramid import models
from tfpyramid._compat import keras


def photograph(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def small(num_classes=3, **arguments):
    options = {"strides": (4, 8), "extra_levels": 1, "filters": 4, "num_convolutions": 1, "max_detections": 6}
    # Before training every score is near 0.07.
    return models.pyramid_detector(num_classes, **{**options, "score_threshold": 0.01, **arguments})


def targets(batch, boxes=((2, 3, 20, 30), (5, 5, 9, 9)), classes=(2, 1)):
    return {"boxes": np.tile(np.float32(boxes), (batch, 1, 1)), "classes": np.tile(np.int32(classes), (batch, 1))}


def tiny_backbone(sides=(None, None)):
    """Return a network that rounds sides down, with maps of strides 2, 4 and 8."""
    image = x = keras.Input((*sides, 3))
    for k in range(3):
        x = keras.layers.Conv2D(3 + k, 2, strides=2, activation="relu", name=f"stride_{2 ** (k + 1)}_conv")(x)
        x = keras.layers.BatchNormalization(momentum=0.5, name=f"stride_{2 ** (k + 1)}_norm")(x)
    return keras.Model(image, x)
