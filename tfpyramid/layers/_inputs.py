"""Checks of layers with several inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfpyramid._compat import shape_tuple


def split(inputs: Any, rule: str, counts: Sequence[int]) -> tuple[Any, ...]:
    """Return the inputs of a layer; `rule` says what they must be, and `counts` how many there may be."""
    if not isinstance(inputs, (list, tuple)) or len(inputs) not in counts:
        got = f"a list of {len(inputs)}" if isinstance(inputs, (list, tuple)) else f"one {type(inputs).__name__}"
        raise ValueError(f"`inputs` must be {rule}. Received: {got}")
    return tuple(inputs)


def one_or_several(input_shape: Any) -> list[tuple[int | None, ...]]:
    """Return the shapes of one or several inputs as tuples."""
    single = isinstance(input_shape, tf.TensorShape) or not any(
        isinstance(shape, (list, tuple, tf.TensorShape)) for shape in input_shape
    )
    return [shape_tuple(shape) for shape in ([input_shape] if single else input_shape)]


def split_shapes(shapes: Any, rule: str, counts: Sequence[int]) -> list[tuple[int | None, ...]]:
    """Return the shapes of the inputs as tuples."""
    # Some versions of Keras pass one shape as a list of numbers, so a list need not be a list of shapes.
    several = isinstance(shapes, (list, tuple)) and all(isinstance(s, (list, tuple, tf.TensorShape)) for s in shapes)
    return [shape_tuple(shape) for shape in split(shapes if several else tf.TensorShape(shapes), rule, counts)]
