"""The choice of a form by the device that runs the graph, which may be another one than that which traced it."""

from collections.abc import Callable
from typing import TypeVar

import tensorflow as tf

Result = TypeVar("Result")


def choose(on_cpu: Callable[[], Result], elsewhere: Callable[[], Result]) -> Result:
    """Return `on_cpu()` if TensorFlow runs the graph on a CPU, else `elsewhere()`. The graph holds both.

    XLA compiles `elsewhere()` on all devices.
    The gradient of the choice keeps the intermediate tensors of both. A `tf.custom_gradient` that chooses once forward
    and once backward has fewer operations.
    """
    return tf.cond(_is_on_cpu(), on_cpu, elsewhere)


def _is_on_cpu() -> tf.Tensor:
    """Return whether TensorFlow runs the graph on a CPU, as one scalar for a `tf.vectorized_map` and for Jacobians.

    These would vectorize the device index, and divide a batch between the branches of `tf.cond`. The size of a tensor
    is never vectorized, so the index becomes a size first.
    """
    index = tf.raw_ops.DeviceIndex(device_names=["CPU"])
    return tf.equal(tf.shape(tf.zeros([index]))[0], 0)
