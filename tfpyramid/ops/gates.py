"""Gates that open one behind the other."""

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.ops import portable, straight_through
from tfpyramid.ops._operation import operation
from tfpyramid.ops.dtypes import working_dtype


@operation
def cumulative_gates(logits: tf.Tensor, temperature: float | tf.Tensor = 1.0, *, hard: bool = False) -> tf.Tensor:
    """Open a row of gates from the first one on; a closed gate closes all behind it, and the first is always open.

    Equation:
        `g[0] = 1`, `g[k] = product_{j<k} sigmoid(z[j] / T)`, z the logits and T the temperature. With `hard`, forward:
        `g[k] = 1 if z[j] >= 0 for every j < k else 0`; backward: the gradient of the products above, which is not
        that of a product of straight-through gates: there a gate behind a closed one would never hear anything.

    Args:
        logits: floating tensor [gates - 1], one for each gate but the first.
        temperature: number or scalar tensor from 1e-30 to 1e30, to which a tensor is clipped; the smaller, the harder.
        hard: return zeros and ones, straight-through.

    Returns:
        [gates], of the dtype of `logits`; NaN from the first NaN on.

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Bengio, Leonard and Courville, Estimating or Propagating Gradients Through Stochastic Neurons, 2013, section 4.
    """
    logits = _checks.floating_tensor("logits", logits)
    if logits.shape.rank != 1:
        raise ValueError(f"`logits` must be [gates - 1]. Received: logits of shape {logits.shape}")
    hard = _checks.flag("hard", hard)
    work = working_dtype(logits.dtype)  # 1 / 1e-6 is beyond float16.
    # Products as sums of logarithms: TensorFlow's gradient of a product divides by its factors, and one may be 0.
    logarithms = tf.math.log_sigmoid(tf.cast(logits, work) / straight_through.divisor(temperature, work))
    soft = tf.cast(tf.exp(_prepend(0.0, tf.cumsum(logarithms))), logits.dtype)
    if not hard:
        return soft
    opened = portable.cumulative_product(straight_through.heaviside_st(logits))
    return straight_through.surrogate_st(_prepend(1.0, tf.stop_gradient(opened)), soft)


def _prepend(value: float, x: tf.Tensor) -> tf.Tensor:
    """Return x behind one number."""
    return tf.concat([tf.constant([value], x.dtype), x], 0)
