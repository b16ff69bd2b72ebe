"""The choice of a form by the device that runs the graph, which may be another one than that which traced it."""

from collections.abc import Callable
from typing import TypeVar

import tensorflow as tf

Result = TypeVar("Result")


def choose(on_cpu: Callable[[], Result], elsewhere: Callable[[], Result], condition: bool | tf.Tensor = True) -> Result:
    """Return `on_cpu()` if TensorFlow runs the graph on a CPU and a condition holds, else `elsewhere()`.

    The graph holds both, and XLA compiles `elsewhere()` alone, on all devices.
    The gradient of the choice keeps the intermediate tensors of both. A `tf.custom_gradient` that chooses once forward
    and once backward has fewer operations.

    Args:
        on_cpu: returns a tensor.
        elsewhere: returns the same tensor.
        condition: whether `on_cpu()` is possible; a scalar, computed from the sizes of tensors if it is a tensor.
    """
    if condition is False:
        return elsewhere()
    index = _device()
    if tf.is_tensor(condition):
        index = tf.where(condition, index, 1)
    # Not `tf.cond`: XLA would compile both branches.
    return tf.switch_case(index, [on_cpu, elsewhere])


def _device() -> tf.Tensor:
    """Return 0 on a CPU and 1 elsewhere, as one scalar for a `tf.vectorized_map` and for Jacobians.

    These would vectorize the device index, and divide a batch between the branches. The size of a tensor is never
    vectorized, so the index becomes a size first.
    """
    index = tf.raw_ops.DeviceIndex(device_names=["CPU"])
    return tf.shape(tf.zeros([index]))[0]
