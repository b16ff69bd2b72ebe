"""Positions on an axis, in samples.

If the size of the axis is known when the operation is called, positions are NumPy arrays, and a graph holds only
constants computed from them. Otherwise they are tensors. The functions here let one formula serve both.
"""

from types import ModuleType
from typing import Union

import numpy as np
import tensorflow as tf

from tfpyramid.ops import portable

Positions = Union[np.ndarray, tf.Tensor]


def positions(count: int | tf.Tensor) -> Positions:
    """Return 0, 1, ... count - 1 as floating-point numbers."""
    return tf.range(to_float(count)) if tf.is_tensor(count) else np.arange(count, dtype=np.float64)


def indices(count: int | tf.Tensor) -> Positions:
    """Return 0, 1, ... count - 1 as integers."""
    return tf.range(count) if tf.is_tensor(count) else np.arange(count)


def to_float(count: int | Positions) -> int | Positions:
    """Return integers in a form that combines with floating-point positions: only a tensor needs a cast."""
    return tf.cast(count, portable.position_dtype()) if tf.is_tensor(count) else count


def array_module(*values: Positions | int) -> ModuleType:
    """Return the module to compute with: `numpy` if all values are known, else `tf.math`."""
    return tf.math if any(tf.is_tensor(value) for value in values) else np
