"""The metric of the mean cost."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid._compat import keras


class MeanSeen(keras.metrics.Mean):
    """A mean that is NaN, not 0, before its first value."""

    def result(self) -> tf.Tensor:
        return tf.convert_to_tensor(self.total) / tf.convert_to_tensor(self.count)

    # Keras 2 saves the state of metrics and Keras 3 does not; saving none keeps weight files portable between them.
    def save_own_variables(self, store: Any) -> None:
        pass

    def load_own_variables(self, store: Any) -> None:
        pass
