"""The networks of fovea.py: they read all of a scene, or a small image of it, or look closely at a few places.

Each answer is a mixture: the network classifies what it sees at several places, and weighs these answers by the scores
of the places. Those that read all of an image do so at every place of their feature map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfpyramid import layers

keras = tf.keras  # Keras 3; Keras 2 with TensorFlow 2.15 or TF_USE_LEGACY_KERAS=1.
CLASSES = 10
FILTERS = (24, 48, 72, 96)
VIEW = 8  # The fovea's predictor sees the scene at 1 / VIEW of its size.
OBJECT = 5  # Pixels of this view, and of a feature map of stride 8, that a frame covers.
TRAINING_CROP = 56  # Pixels of the side of a crop in training. A larger one takes more time, and need not teach more.
CROP = 72  # Pixels at inference, so that the whole object is inside if its center is not found exactly.
SHARPNESS = 8.0  # Factor of the scores, so that few steps of training make them differ much.


def convolutions(strides: Sequence[int] = (2, 2, 2, 1)) -> keras.Sequential:
    steps = [
        keras.layers.Conv2D(filters, 3, stride, padding="same", activation="relu")
        for filters, stride in zip(FILTERS, strides)
    ]
    return keras.Sequential([keras.Input((None, None, 3)), *steps])


def head() -> keras.Sequential:
    """Return the layers that classify the largest features of a place."""
    dense = [keras.layers.Dense(96, activation="relu"), keras.layers.Dense(CLASSES)]
    return keras.Sequential([keras.Input((None, None, FILTERS[-1])), *dense])


def copied(network: keras.Model) -> keras.Model:
    """Return an equal network with weights of its own."""
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    return copy


def one_garment(trunk: keras.Model, classify: keras.Model, pooling: int = 1) -> keras.Model:
    """Return a network for images of one garment, wherever it is."""
    image = keras.Input((None, None, 3))
    features = keras.layers.GlobalMaxPooling2D(keepdims=True)(trunk(smaller(image, pooling)))
    return keras.Model(image, keras.layers.Flatten()(classify(features)))


def every_place(trunk: keras.Model, classify: keras.Model, pooling: int = 1) -> keras.Model:
    """Return a network that reads all of an image, made smaller by `pooling` at first."""
    image = keras.Input((None, None, 3))
    features = trunk(smaller(image, pooling))
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(features)
    scores = keras.layers.Reshape((-1,))(keras.layers.Conv2D(1, 1)(x))
    around = keras.layers.MaxPooling2D(OBJECT, 1, padding="same")(features)
    logits = keras.layers.Reshape((-1, CLASSES))(classify(around))
    return keras.Model(image, layers.SoftmaxMixture()([logits, scores]))


def smaller(image: Any, pooling: int) -> Any:
    return keras.layers.AveragePooling2D(pooling)(image) if pooling > 1 else image


class Fovea:
    """A network that searches a small view of a scene, and reads crops of the scene at the places it finds."""

    def __init__(self, trunk: keras.Model, classify: keras.Model, seed: int) -> None:
        self.reader = keras.layers.TimeDistributed(one_garment(trunk, classify))
        self.seed = seed
        view = keras.Input((None, None, 3))
        x = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(view)
        x = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(x)
        # Most of the color is at the corners of a frame; the mean over the size of a frame is largest at its center.
        map = keras.layers.AveragePooling2D(OBJECT, 1, padding="same")(keras.layers.Conv2D(1, 1)(x))
        self.predictor = keras.Model(view, keras.layers.Rescaling(SHARPNESS)(map))

    def model(self, num_fixations: int, crop: int = CROP) -> keras.Model:
        """Return the network with so many fixations. All of these networks have the same weights."""
        image = keras.Input((None, None, 3))
        fixations, scores = self._places(image, num_fixations)
        return keras.Model(image, self._read(image, fixations, scores, crop))

    def places(self, num_fixations: int) -> keras.Model:
        """Return the network of an image to its fixations and their scores."""
        image = keras.Input((None, None, 3))
        return keras.Model(image, self._places(image, num_fixations))

    def reading(self) -> keras.Model:
        """Return the network of an image, fixations and their scores to the answer."""
        image, fixations, scores = keras.Input((None, None, 3)), keras.Input((None, 2)), keras.Input((None,))
        return keras.Model([image, fixations, scores], self._read(image, fixations, scores, CROP))

    def _read(self, image: Any, fixations: Any, scores: Any, crop: int) -> Any:
        (crops,) = layers.FoveatedPyramid(crop, num_levels=1)([image, fixations])
        return layers.SoftmaxMixture()([self.reader(crops), scores])

    def _places(self, image: Any, num_fixations: int) -> Any:
        map = self.predictor(keras.layers.AveragePooling2D(VIEW)(image))
        return layers.FixationSampler(num_fixations, num_peaks=12, grid=4, seed=self.seed)(map)
