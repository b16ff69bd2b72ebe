"""A small classifier of garments and its training."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence

import common
import numpy as np
import tensorflow as tf

keras = tf.keras
Layers = Callable[[tf.Tensor], tf.Tensor]


def convolution(filters: int, size: int = 3) -> keras.layers.Layer:
    return keras.layers.Conv2D(filters, size, padding="same", use_bias=False)


def activated(convolved: tf.Tensor) -> tf.Tensor:
    """Apply batch normalization and ReLU; the momentum suits a few hundred steps."""
    return keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(convolved))


def classifier(canvas: int, features: Layers) -> keras.Model:
    """Return a model of images [canvas, canvas, 1]: features, global average pooling and ten logits."""
    images = keras.Input((canvas, canvas, 1))
    means = keras.layers.GlobalAveragePooling2D()(features(images))
    return keras.Model(images, keras.layers.Dense(10)(means))


class Training:
    """Minimizes the cross-entropy with Adam and a cosine decay of the learning rate to 0.

    Args:
        model: a model from images to logits.
        rate: initial learning rate.
        steps: number of steps of the training.
        fixed: trainable variables of the model that are not trained.
    """

    def __init__(self, model: keras.Model, rate: float, steps: int, *, fixed: Sequence = ()) -> None:
        self.model = model
        self._variables = [v for v in model.trainable_variables if not any(v is other for other in fixed)]
        self._optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps))
        self._optimizer.build(self._variables)
        self.step = tf.function(self._step)
        self._classes = tf.function(lambda images: tf.argmax(self.model(images, training=False), axis=1))

    def _step(self, images: tf.Tensor, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = self.model(images, training=True)
            entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.add_n([tf.reduce_mean(entropy), *self.model.losses])
        gradients = tape.gradient(loss, self._variables)
        self._optimizer.apply_gradients(zip(gradients, self._variables))

    def answers(self, images: np.ndarray) -> np.ndarray:
        """Return the predicted class of each image."""
        parts = range(0, len(images), 500)
        return np.concatenate([self._classes(tf.constant(images[part : part + 500])).numpy() for part in parts])


def batches(images: np.ndarray, labels: np.ndarray, size: int, *, epochs: int, seed: int) -> Iterator[tuple]:
    """Yield complete batches of (images, labels), shuffled in every epoch."""
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(len(images))
        for start in range(0, len(order) - size + 1, size):
            chosen = order[start : start + size]
            yield tf.constant(images[chosen]), tf.constant(labels[chosen])


def percentage(right: np.ndarray) -> float:
    return round(100 * float(np.mean(right)), 3)


def parse_options(description: str, contenders: Sequence[str] = (), *, data: bool = True) -> argparse.Namespace:
    """Return the options of a script, with `--data` if it uses garments.

    TensorFlow then uses one core, and does not warn about each new network.
    """
    options = common.parse_options(description, contenders, data=data)
    common.one_thread()
    tf.get_logger().setLevel("ERROR")
    tf.config.run_functions_eagerly(options.quick)  # Running one step eagerly is faster than tracing it.
    return options
