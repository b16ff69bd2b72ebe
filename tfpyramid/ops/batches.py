"""Batches that may be empty."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfpyramid.ops import borders, portable


def call(function: Callable[[tf.Tensor], Any], x: tf.Tensor) -> Any:
    """Return `function(x)` for a function of batches, also where `x` holds no sample: gradients of weights are then 0.

    TensorFlow's convolutions on a CPU return the wrong shape for an empty batch, and gradients of their kernels that
    are uninitialised memory. An empty batch becomes one sample of zeros, and the result of that sample is removed.

    Args:
        function: takes a tensor [batch, ...]; returns one or a structure of them.
        x: tensor [batch, ...].
    """
    count = borders.dimensions(x)[0]
    known = isinstance(count, int)
    if portable.is_portable() or (known and count > 0):
        return function(x)
    missing = max(1 - count, 0) if known else tf.maximum(1 - count, 0)
    # Neither this nor the slice below copies a batch that is not empty.
    padded = tf.pad(x, [[0, missing], *[[0, 0]] * (x.shape.rank - 1)])
    padded.set_shape([1 if known else None, *x.shape[1:]])

    def without_padding(y: tf.Tensor) -> tf.Tensor:
        part = borders.samples(y, 0, 0, count)
        part.set_shape([x.shape[0], *y.shape[1:]])
        return part

    return tf.nest.map_structure(without_padding, function(padded))
