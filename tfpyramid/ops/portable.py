"""Replacements for operations that only TensorFlow has, for exports to other runtimes.

In a `portable()` context a model is traced for TFLite, ONNX and OpenVINO. Positions are float32, because TFLite has no
float64 arithmetic. Remainders are correct for truncated division too, which tf2onnx uses for integers. Operations that
these runtimes lack are composed of those they have. Gradients are the same.
"""

import contextlib
import contextvars
from collections.abc import Iterator

import tensorflow as tf

_chosen = contextvars.ContextVar("_chosen", default=False)


@contextlib.contextmanager
def portable() -> Iterator[None]:
    """Trace the operations inside the context for runtimes other than TensorFlow."""
    token = _chosen.set(True)
    try:
        yield
    finally:
        _chosen.reset(token)


def is_portable() -> bool:
    """Return whether a `portable` context is active."""
    return _chosen.get()


def in_slices() -> bool:
    """Return whether the graph is traced for XLA, with `jit_compile=True`, or for another runtime.

    Other runtimes have no transpose of a depthwise convolution, but all have sums of slices.
    """
    if is_portable():
        return True
    # TensorFlow has no public function for this. Without these names, the depthwise form gives the same result.
    graph = tf.compat.v1.get_default_graph()
    while graph is not None:
        context = getattr(graph, "_get_control_flow_context", lambda: None)()
        while context is not None:
            if context.IsXLAContext():
                return True
            context = context.outer_context
        graph = getattr(graph, "outer_graph", None)
    return False


def position_dtype() -> tf.DType:
    """Return the dtype of positions on an axis."""
    return tf.float32 if is_portable() else tf.float64


def remainder(x: tf.Tensor, n: int | tf.Tensor) -> tf.Tensor:
    """Return x modulo a positive n, between 0 and n."""
    return (x % n + n) % n if is_portable() else x % n


def multiply_no_nan(x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Return x times the weights, and 0 where a weight is 0, even if x is NaN or infinite."""
    if is_portable():
        return tf.where(tf.equal(weights, 0), tf.zeros_like(x), x) * weights
    return tf.math.multiply_no_nan(x, weights)


def cumulative_product(x: tf.Tensor) -> tf.Tensor:
    """Return the products of the first 1, 2, ... elements of a vector with known size."""
    if is_portable():
        return tf.stack([tf.reduce_prod(x[: k + 1]) for k in range(x.shape[0])])
    return tf.math.cumprod(x)
