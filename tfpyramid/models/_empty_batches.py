"""Layers of Keras that answer an empty batch too, under the names that weights of models are saved by."""

from __future__ import annotations

import tensorflow as tf

from tfpyramid._compat import keras, register
from tfpyramid.ops import batches


@register
class Conv2D(keras.layers.Conv2D):
    """Keras's convolution; TensorFlow's returns the wrong shape for an empty batch on a CPU."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return batches.call(super().call, inputs)


@register
class GlobalMaxPooling2D(keras.layers.GlobalMaxPooling2D):
    """Keras's pooling, which refuses an empty batch."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return batches.call(super().call, inputs)
