"""Inputs of selectors, and a selector whose scores differ from sample to sample."""

import numpy as np
import tensorflow as tf

from tfpyramid import layers

LOGITS = tf.constant(np.random.default_rng(0).standard_normal([64, 4]), tf.float32)
QUERY = tf.constant(np.random.default_rng(1).standard_normal([32, 6]), tf.float32)


def selector(objective, **arguments):
    """Return a built selector of three levels whose scores differ from sample to sample."""
    layer = layers.QueryLevelSelector(3, 5, objective, **arguments)
    layer.build(QUERY.shape)
    rng = np.random.default_rng(2)
    for w in layer.trainable_weights:
        w.assign(rng.standard_normal(w.shape))
    return layer
