"""Gates that open in a fixed order."""

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.ops import portable, straight_through
from tfpyramid.ops._operation import operation
from tfpyramid.ops.dtypes import working_dtype


@operation
def cumulative_gates(logits: tf.Tensor, temperature: float | tf.Tensor = 1.0, *, hard: bool = False) -> tf.Tensor:
    """Return gates in a row, each open only if all gates before it are open. The first gate is always open.

    Equation:
        `g[0] = 1`, `g[k] = product_{j<k} sigmoid(z[j] / T)`, z the logits and T the temperature. With `hard`, forward:
        `g[k] = 1 if z[j] >= 0 for every j < k else 0`; backward: the gradient of the products above. A product of
        straight-through gates would have another gradient: 0 for every gate after a closed one.

    Args:
        logits: floating tensor [gates - 1], one for each gate except the first.
        temperature: number or scalar tensor from 1e-30 to 1e30; a tensor is clipped to this range. Smaller values make
            harder gates.
        hard: return zeros and ones, with a straight-through gradient.

    Returns:
        [gates], of the dtype of `logits`. A NaN makes its gate and all gates after it NaN.

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Bengio, Leonard and Courville, Estimating or Propagating Gradients Through Stochastic Neurons, 2013, section 4.
    """
    logits = _checks.floating_tensor("logits", logits)
    if logits.shape.rank != 1:
        raise ValueError(f"`logits` must be [gates - 1]. Received: logits of shape {logits.shape}")
    hard = _checks.flag("hard", hard)
    work = working_dtype(logits.dtype)  # float16 cannot hold 1 / 1e-6.
    # Add logarithms: TensorFlow's gradient of a product divides by the factors, and a factor may be 0.
    logarithms = tf.math.log_sigmoid(tf.cast(logits, work) / straight_through.divisor(temperature, work))
    soft = tf.cast(tf.exp(_prepend(0.0, tf.cumsum(logarithms))), logits.dtype)
    if not hard:
        return soft
    opened = portable.cumulative_product(straight_through.heaviside_st(logits))
    return straight_through.surrogate_st(_prepend(1.0, tf.stop_gradient(opened)), soft)


def _prepend(value: float, x: tf.Tensor) -> tf.Tensor:
    """Return x with one number in front."""
    return tf.concat([tf.constant([value], x.dtype), x], 0)
