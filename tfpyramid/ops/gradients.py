"""Operations that return their input and change its gradient."""

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.ops import custom_gradients, straight_through
from tfpyramid.ops._operation import operation
from tfpyramid.ops.dtypes import working_dtype

SCOPES = ("tensor", "sample")


@operation
def normalize_gradient(x: tf.Tensor, scope: str = "tensor", norm: float = 1.0) -> tf.Tensor:
    """Return `x` unchanged, and scale its gradient to a given norm.

    Forward:  `y = x`.
    Backward: `dx = norm dy / ||dy||_2`. A gradient of zero remains zero. NaN or infinity anywhere in dy makes all of dx
        NaN, so that it is not hidden.

    Args:
        x: floating tensor of any shape; for "sample" its first axis is the batch.
        scope: "tensor" to normalise dy as a whole, or "sample" to normalise it for each sample of the batch.
        norm: the norm of the gradient, from 1e-30 to 1e30.

    Returns:
        `x`.

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Chen, Badrinarayanan, Lee and Rabinovich, GradNorm, 2018, section 3 (balancing by gradient norms);
        Hofinger, Bulo, Porzi, Knapitsch, Pock and Kontschieder, Improving Optical Flow on a Pyramid Level, 2020,
        section 3 (gradients between pyramid levels).
    """
    x = _checks.floating_tensor("x", x)
    _checks.one_of("scope", scope, SCOPES)
    norm = _checks.number("norm", norm, above=0, meaning="the length of the gradient")
    if scope == "sample" and x.shape.rank == 0:
        raise ValueError("`x` must have a batch axis for scope='sample'. Received: x of shape ()")
    return _normalized(x, scope, norm)


def _normalized(x: tf.Tensor, scope: str, norm: float) -> tf.Tensor:
    @tf.custom_gradient
    def identity(x: tf.Tensor) -> tuple:
        def grad(upstream: tf.Tensor) -> tf.Tensor:
            dy = tf.cast(upstream, working_dtype(upstream.dtype))
            axes = list(range(0 if scope == "tensor" else 1, dy.shape.rank))
            # Divide by the peak first: the square of 1e-30 is zero in float32. 0 * dy is NaN where dy is not finite.
            peak = tf.reduce_max(tf.abs(dy), axes, keepdims=True) + tf.reduce_sum(0 * dy, axes, keepdims=True)
            dy = dy / tf.where(peak == 0, tf.ones_like(peak), peak)
            length = tf.sqrt(tf.reduce_sum(tf.square(dy), axes, keepdims=True))
            return tf.cast(dy * (norm / tf.where(length == 0, tf.ones_like(length), length)), upstream.dtype)

        return custom_gradients.value_only(x, x), grad

    return identity(x)


@operation
def scale_gradient(x: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
    """Return `x` unchanged, and multiply its gradient by a factor.

    Forward:  `y = x`.
    Backward: `dx = factor dy`. 0 stops the gradient, and a negative factor reverses it.

    Args:
        x: floating tensor of any shape.
        factor: number from -1e30 to 1e30, or a scalar tensor.

    Returns:
        `x`.

    Raises:
        ValueError: if `x` is not floating point, or `factor` is not a finite number in its range.

    References:
        Ganin and Lempitsky, Unsupervised Domain Adaptation by Backpropagation, 2015, section 3 (factor -lambda).
    """
    x = _checks.floating_tensor("x", x)
    if _checks.is_tensor(factor):
        factor = tf.stop_gradient(_checks.scalar("factor", factor, x.dtype))
    else:
        factor = _checks.number("factor", factor, above=float("-inf"), maximum=float("inf"))
        if abs(factor) > _checks.GREATEST:
            rule = f"`factor` must be at most {_checks.GREATEST} in magnitude."
            raise ValueError(f"{rule} {_checks.received('factor', factor)}")
    return straight_through.value_of(x, x * factor)
