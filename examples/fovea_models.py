"""The networks of fovea.py: the same convolutions on a whole image, on a coarse one, and on crops around fixations."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfpyramid import layers

keras = tf.keras  # Keras 3; Keras 2 with TensorFlow 2.15 or TF_USE_LEGACY_KERAS=1.
FULL, COARSE = "full resolution", "coarse image alone"
FIXATIONS = {"fovea, 1 fixation": 1, "fovea, 2 fixations": 2, "fovea, 3 fixations": 3}
NAMES = (FULL, COARSE, *FIXATIONS)
COARSER, VIEW = 4, 8  # Ratios of the sides: of a scene to the coarse image, and to the view of a fovea.
SIZE, LEVELS = 48, 2  # Crops around a fixation.
FILTERS = (16, 32, 64, 96)
CLASSES = 10


def build(name: str) -> keras.Model:
    """Return a model from images of any size, in [0, 1], to logits. A fovea also returns its fixations."""
    images = keras.Input([None, None, 3], name="image")
    if name in FIXATIONS:
        logits, fixations = fovea(FIXATIONS[name])([images, Shrink(VIEW)(images)])
        return keras.Model(images, {"logits": logits, "fixations": fixations})
    if name == COARSE:  # Strides that leave as many features of a garment as possible.
        features = reader((1, 2, 1, 1))(Shrink(COARSER)(images))
    else:
        features = reader((2, 2, 2, 1))(images)
    logits = keras.layers.Dense(CLASSES, name="head")(keras.layers.GlobalMaxPooling2D()(features))
    return keras.Model(images, {"logits": logits})


def fovea(count: int) -> keras.Model:
    """Return a model from images and a view of each to logits and fixations."""
    images, view = keras.Input([None, None, 3]), keras.Input([None, None, 3])
    predictor = layers.FixationPredictor(count, filters=16, temperature=0.15, border="edge", name="fixations")
    fixations = predictor(convolution(view, 16, 1))
    crops = layers.FoveatedPyramid(SIZE, LEVELS, border="edge")([images, fixations])
    logits = CropLogits(reader((2, 2, 2, 1)), name="logits")(crops)
    return keras.Model([images, view], [logits, fixations], name="fovea")


def reader(strides: tuple[int, ...]) -> keras.Model:
    """Return the convolutions that all networks share."""
    images = keras.Input([None, None, 3])
    features = images
    for filters, stride in zip(FILTERS, strides):
        features = convolution(features, filters, stride)
    return keras.Model(images, features, name="reader")


def convolution(features: tf.Tensor, filters: int, stride: int) -> tf.Tensor:
    features = keras.layers.Conv2D(filters, 3, stride, padding="same", use_bias=False)(features)
    return keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.95)(features))


class Shrink(keras.layers.Layer):
    """Means of squares of pixels."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def call(self, images: tf.Tensor) -> tf.Tensor:
        # Faster than average pooling. It has no gradient, and nothing here needs one.
        return tf.stop_gradient(tf.image.resize(images, tf.shape(images)[1:3] // self.factor, "area"))


class CropLogits(keras.layers.Layer):
    """Logits from crops: the largest features of each, weighted by their distance from the fixation.

    Features count less the farther they are from the fixation. So it pays to look straight at what matters, and the
    loss has a gradient toward it before the finest crop shows it. The logits of several fixations are fused by
    log-sum-exp, which follows the most confident one.
    """

    def __init__(self, reader: keras.Model, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.reader, self.head = reader, keras.layers.Dense(CLASSES, name="head")
        side = SIZE // 8
        distance = np.linspace(-1, 1, side, dtype=np.float32) ** 2
        self.window = 1 - (distance[:, np.newaxis, np.newaxis] + distance[:, np.newaxis]) / 2
        self.fusion = layers.LogitFusion("logsumexp")

    def build(self, input_shape: list[tuple]) -> None:
        self.head.build((None, LEVELS * FILTERS[-1]))
        super().build(input_shape)

    def call(self, crops: list[tf.Tensor], training: bool | None = None) -> tf.Tensor:
        crops = tf.stack(crops, axis=2)  # [batch, fixation, level, row, column, channel]
        features = self.reader(tf.reshape(crops, [-1, SIZE, SIZE, 3]), training=training)
        largest = tf.reduce_max(features * self.window, axis=(1, 2))
        logits = self.head(tf.reshape(largest, [-1, crops.shape[1], LEVELS * FILTERS[-1]]))
        return self.fusion(tf.unstack(logits, axis=1))


def start_from(model: keras.Model, weights: list[np.ndarray]) -> None:
    """Give a model the weights of a network of full resolution. In a fovea, each level has a share in the logits."""
    if "fovea" not in [layer.name for layer in model.layers]:
        model.set_weights(weights)
        return
    *convolutions, kernel, bias = weights
    part = model.get_layer("fovea").get_layer("logits")
    part.reader.set_weights(convolutions)
    part.head.set_weights([np.tile(kernel / LEVELS, (LEVELS, 1)), bias])


def pixels(name: str, side: int) -> int:
    """Return the pixels that a network reads of a scene: a fovea those of its view and of all crops."""
    if name in FIXATIONS:
        return (side // VIEW) ** 2 + FIXATIONS[name] * LEVELS * SIZE**2
    return (side // COARSER) ** 2 if name == COARSE else side**2
