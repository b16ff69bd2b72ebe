"""A small network that names garments, how it is trained, and what it answers."""

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
    """Batch norm and ReLU; the moving averages are quick enough for a few hundred steps."""
    return keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(convolved))


def classifier(canvas: int, features: Layers) -> keras.Model:
    """Return a model of images [canvas, canvas, 1]: features, their mean over all positions, ten logits."""
    images = keras.Input((canvas, canvas, 1))
    means = keras.layers.GlobalAveragePooling2D()(features(images))
    return keras.Model(images, keras.layers.Dense(10)(means))


class Training:
    """Adam on the cross-entropy, at a rate that falls to 0 in `steps` as a cosine does.

    Args:
        model: of images to logits.
        rate: the first learning rate.
        steps: how many there will be.
        apart: trainable variables of the model that are trained at another rate.
        speed: that rate, as a multiple of `rate`; 0 leaves them as they are.
    """

    def __init__(self, model: keras.Model, rate: float, steps: int, *, apart: Sequence = (), speed: float = 1) -> None:
        self.model = model
        together = [v for v in model.trainable_variables if not any(v is other for other in apart)]
        self._groups = [(adam(together, rate, steps), together)]
        if speed and apart:
            self._groups.append((adam(apart, speed * rate, steps), list(apart)))
        self.step = tf.function(self._step)
        self._classes = tf.function(lambda images: tf.argmax(self.model(images, training=False), axis=1))

    def _step(self, images: tf.Tensor, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = self.model(images, training=True)
            entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.add_n([tf.reduce_mean(entropy), *self.model.losses])
        gradients = tape.gradient(loss, [variables for _, variables in self._groups])
        for (optimizer, variables), group in zip(self._groups, gradients):
            optimizer.apply_gradients(zip(group, variables))

    def answers(self, images: np.ndarray) -> np.ndarray:
        """Return the class of each image."""
        parts = range(0, len(images), 500)
        return np.concatenate([self._classes(tf.constant(images[part : part + 500])).numpy() for part in parts])


def adam(variables: Sequence, rate: float, steps: int) -> keras.optimizers.Optimizer:
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps))
    optimizer.build(variables)
    return optimizer


def batches(images: np.ndarray, labels: np.ndarray, size: int, *, epochs: int, seed: int) -> Iterator[tuple]:
    """Give full batches of (images, labels), shuffled anew in every epoch."""
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(len(images))
        for start in range(0, len(order) - size + 1, size):
            chosen = order[start : start + size]
            yield tf.constant(images[chosen]), tf.constant(labels[chosen])


def percentage(right: np.ndarray) -> float:
    return round(100 * float(np.mean(right)), 3)


def parse_options(description: str, contenders: Sequence[str] = (), *, data: bool = True) -> argparse.Namespace:
    """Return the options of a script, `--data` too if it is on garments.

    TensorFlow is told to use one core, and not to warn of each new network.
    """
    options = common.parse_options(description, contenders, data=data)
    common.one_thread()
    tf.get_logger().setLevel("ERROR")
    tf.config.run_functions_eagerly(options.quick)  # One step is done sooner than its graph is traced.
    return options
