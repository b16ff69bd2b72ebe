"""What functions made by `tf.custom_gradient` need so that their gradient is the one used, wherever they are called."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfpyramid.ops import portable

_LOST = (
    "tf.vectorized_map has dropped the gradient that tfpyramid defines for this operation. Take the gradient inside "
    "the mapped function, or replace tf.vectorized_map by tf.map_fn"
)


def call(function: Callable, *arguments: tf.Tensor) -> Any:
    """Call a function made by `tf.custom_gradient` such that its gradient survives wherever the call stands.

    In a branch or a loop of a graph, what the gradient function keeps of the forward pass belongs to the graph of that
    branch or loop, and a SavedModel is then loaded with a gradient that cannot reach it. As a function of its own the
    forward pass hands on what is kept. A gradient function that uses nothing but what it is given needs none of this.
    """
    return (function if tf.executing_eagerly() else tf.function(function, autograph=False))(*arguments)


def value_only(value: tf.Tensor, argument: tf.Tensor) -> tf.Tensor:
    """Return a value to the bit, for a function whose own gradient function is the only right one.

    `tf.vectorized_map` replaces a function with a gradient of its own by the operations of its forward pass, and a tape
    outside the map would differentiate those: a rounding gives zero, the identity gives the gradient unchanged. With
    this, differentiating those operations by the argument raises, even if the value is not computed from it.
    """
    if tf.executing_eagerly() or portable.is_portable():
        return tf.identity(value)
    if value is argument:
        return tf.raw_ops.PreventGradient(input=value, message=_LOST)
    # No element of the argument is copied, but the gradient of a concatenation visits each part.
    none = tf.raw_ops.PreventGradient(input=tf.reshape(argument, [-1])[:0], message=_LOST)
    joined = tf.reshape(tf.concat([tf.reshape(value, [-1]), none], 0), tf.shape(value))
    joined.set_shape(value.shape)
    return joined
