"""The first `fit` of `pyramid_segmenter` and of a plain U-Net: what a user waits for before the first epoch ends."""

from __future__ import annotations

import time

import numpy as np
import tensorflow as tf

from tfpyramid import models

CLASSES, FILTERS = 5, (12, 24, 48, 96)
BATCH, STEPS, SIDE = 8, 4, 64


def convolved(x: tf.Tensor, filters: int) -> tf.Tensor:
    for _ in range(2):
        x = tf.keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = tf.keras.layers.BatchNormalization()(x)
        x = tf.keras.layers.ReLU()(x)
    return x


def plain_unet() -> tf.keras.Model:
    """Return a U-Net with as many levels as `pyramid_segmenter` has by default, and twice the weights."""
    images = tf.keras.Input((None, None, 3))
    x, finer = images, []
    for filters in FILTERS[:-1]:
        x = convolved(x, filters)
        finer.append(x)
        x = tf.keras.layers.MaxPooling2D()(x)
    x = convolved(x, FILTERS[-1])
    for filters in reversed(FILTERS[:-1]):
        x = tf.keras.layers.Conv2DTranspose(filters, 2, strides=2)(x)
        x = convolved(tf.keras.layers.concatenate([finer.pop(), x]), filters)
    return tf.keras.Model(images, tf.keras.layers.Conv2D(CLASSES, 1, activation="softmax")(x))


def first_fit(*, plain: bool, quick: bool) -> dict[str, float]:
    """Return the seconds of the processor for one epoch of a few steps, those for making the model, and its weights."""
    rng = np.random.default_rng(0)
    side, steps = (16, 1) if quick else (SIDE, STEPS)
    images = rng.random((steps * BATCH, side, side, 3), dtype=np.float32)
    classes = rng.integers(CLASSES, size=images.shape[:3])
    started = time.process_time()
    model = plain_unet() if plain else models.pyramid_segmenter(CLASSES)
    model.compile("adam", "sparse_categorical_crossentropy")
    made = time.process_time()
    model.fit(images, classes, batch_size=BATCH, verbose=0)
    return {"seconds": time.process_time() - made, "made": made - started, "weights": model.count_params()}
