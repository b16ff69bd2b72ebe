"""Operations that every reader of an export knows, for those that only TensorFlow has.

In a `portable()` context a model is traced for TFLite, ONNX and OpenVINO: places are counted in float32, since TFLite
has no arithmetic of float64; a remainder is taken such that truncating is right, as tf2onnx does of integers; and what
these runtimes lack is made of what they have. Gradients are the same.
"""

import contextlib
import contextvars
from collections.abc import Iterator

import tensorflow as tf

_chosen = contextvars.ContextVar("_chosen", default=False)


@contextlib.contextmanager
def portable() -> Iterator[None]:
    """Trace what is called inside for other runtimes than TensorFlow's."""
    token = _chosen.set(True)
    try:
        yield
    finally:
        _chosen.reset(token)


def is_portable() -> bool:
    """Return whether `portable` is in force."""
    return _chosen.get()


def position_dtype() -> tf.DType:
    """Return the dtype in which places on an axis are counted."""
    return tf.float32 if is_portable() else tf.float64


def remainder(x: tf.Tensor, n: int | tf.Tensor) -> tf.Tensor:
    """Return x modulo n, n positive, between 0 and n."""
    return (x % n + n) % n if is_portable() else x % n


def multiply_no_nan(x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Return x times the weights: 0 where the weight is 0, whatever x is there."""
    if is_portable():
        return tf.where(tf.equal(weights, 0), tf.zeros_like(x), x) * weights
    return tf.math.multiply_no_nan(x, weights)


def cumulative_product(x: tf.Tensor) -> tf.Tensor:
    """Return the products of the first 1, 2, ... elements of a vector of known size."""
    if is_portable():
        return tf.stack([tf.reduce_prod(x[: k + 1]) for k in range(x.shape[0])])
    return tf.math.cumprod(x)
