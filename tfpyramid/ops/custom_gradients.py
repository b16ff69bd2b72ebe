"""Functions made by `tf.custom_gradient`: what makes their gradient work in branches, loops and vectorized maps."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfpyramid.ops import portable

_LOST = (
    "tf.vectorized_map has dropped the gradient that tfpyramid defines for this operation. Compute the gradient inside "
    "the mapped function, or use tf.map_fn instead of tf.vectorized_map"
)


def call(function: Callable, *arguments: tf.Tensor) -> Any:
    """Return the result of a function made by `tf.custom_gradient`, called so that its gradient works anywhere.

    Inside a branch or loop of a graph, tensors that the gradient function keeps from the forward pass belong to the
    graph of that branch or loop, and the gradient of a loaded SavedModel cannot reach them. A `tf.function` of its own
    passes them on. A gradient function that uses only its arguments does not need this.
    """
    return (function if tf.executing_eagerly() else tf.function(function, autograph=False))(*arguments)


def value_only(value: tf.Tensor, argument: tf.Tensor) -> tf.Tensor:
    """Return a value bit for bit, such that differentiating it raises: only the custom gradient may be used.

    `tf.vectorized_map` replaces a function with a custom gradient by the operations of its forward pass. A tape outside
    the map would differentiate those: rounding gives zero, and the identity gives the gradient unchanged. With this
    function, differentiating them with respect to the argument raises, even if the value does not depend on it.
    """
    if tf.executing_eagerly() or portable.is_portable():
        return tf.identity(value)
    if value is argument:
        return tf.raw_ops.PreventGradient(input=value, message=_LOST)
    # This copies no element of the argument, but the gradient of the concatenation visits every part.
    none = tf.raw_ops.PreventGradient(input=tf.reshape(argument, [-1])[:0], message=_LOST)
    joined = tf.reshape(tf.concat([tf.reshape(value, [-1]), none], 0), tf.shape(value))
    joined.set_shape(value.shape)
    return joined
