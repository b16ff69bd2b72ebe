"""Derivatives of linear functions."""

import tensorflow as tf


def derivatives(function, x, upstream, more):
    """Return `function(x)`, which is linear, its gradient for `upstream`, and that of this with `more`.

    The result of the function and `upstream` are tensors, or lists of tensors.
    """
    with tf.GradientTape() as second:
        second.watch(upstream)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        gradient = tape.gradient(y, x, upstream)
    return y, gradient, second.gradient(gradient, upstream, more)
