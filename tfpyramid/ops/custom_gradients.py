"""Functions with a gradient of their own that keeps tensors of the forward pass."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def call(function: Callable, *arguments: tf.Tensor) -> Any:
    """Call a function made by `tf.custom_gradient` such that its gradient survives wherever the call stands.

    In a branch or a loop of a graph, what the gradient function keeps of the forward pass belongs to the graph of that
    branch or loop, and a SavedModel is then loaded with a gradient that cannot reach it. As a function of its own the
    forward pass hands on what is kept. A gradient function that uses nothing but what it is given needs none of this.
    """
    return (function if tf.executing_eagerly() else tf.function(function, autograph=False))(*arguments)
