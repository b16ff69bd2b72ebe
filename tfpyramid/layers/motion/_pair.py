"""Checks of layers with two inputs."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid._compat import shape_tuple


def pair(inputs: Any, names: str) -> tuple[Any, Any]:
    """Return the two inputs of a layer; `names` are their names in the error."""
    if not isinstance(inputs, (list, tuple)) or len(inputs) != 2:
        got = f"a list of {len(inputs)}" if isinstance(inputs, (list, tuple)) else f"one {type(inputs).__name__}"
        raise ValueError(f"`inputs` must be a list of two tensors, {names}. Received: {got}")
    first, second = inputs
    return first, second


def pair_shapes(shapes: Any, names: str) -> tuple[tuple[int | None, ...], tuple[int | None, ...]]:
    """Return two shapes as tuples."""
    # Some versions of Keras pass one shape as a list of numbers, so a list need not be a list of shapes.
    several = isinstance(shapes, (list, tuple)) and all(isinstance(s, (list, tuple, tf.TensorShape)) for s in shapes)
    first, second = pair(shapes if several else tf.TensorShape(shapes), names)
    return shape_tuple(first), shape_tuple(second)
