"""Straight-through estimators: the discrete value forward, the gradient of a smooth surrogate backward.

All are based on one operation, `surrogate_st(discrete, surrogate)`, which returns its first argument bit for bit and
sends the whole gradient to its second. The usual `x + stop_gradient(q - x)` returns q only if q - x is exact in
floating point, which is not guaranteed (clip 10.1 at 0.3), and NaN if x is infinite. The gradient function uses only
its argument. So it works inside `tf.cond`, `tf.while_loop` and `tf.map_fn`, and in SavedModels that are loaded without
this package.

`tf.vectorized_map` drops gradients defined with `tf.custom_gradient`: a tape outside the map raises a `LookupError`. A
tape inside the mapped function works, and so do `tape.jacobian` and `tape.batch_jacobian`.

References:
    Bengio, Leonard and Courville, Estimating or Propagating Gradients Through Stochastic Neurons, 2013, section 4.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.ops import batches, custom_gradients
from tfpyramid.ops._operation import operation
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.shapes import dimensions

_TINY = float(np.finfo(np.float32).tiny)


@operation
def surrogate_st(discrete: tf.Tensor, surrogate: tf.Tensor) -> tf.Tensor:
    """Return the value of one tensor with the gradient of another.

    Forward:  `y = discrete`, bit for bit.
    Backward: `d surrogate = dy`, `d discrete = 0`.

    Args:
        discrete: floating tensor of any shape.
        surrogate: tensor of the same shape and dtype.

    Returns:
        `discrete`.

    Raises:
        ValueError: if the two differ in shape or dtype, or are not floating point.
        tf.errors.InvalidArgumentError: when the graph runs, if shapes unknown until then differ.
    """
    discrete, surrogate = _floating(discrete, "discrete"), _floating(surrogate, "surrogate")
    if discrete.dtype != surrogate.dtype or not discrete.shape.is_compatible_with(surrogate.shape):
        raise ValueError(
            "`discrete` and `surrogate` must have the same shape and dtype. Received: "
            f"discrete of shape {discrete.shape}, {discrete.dtype.name}; "
            f"surrogate of shape {surrogate.shape}, {surrogate.dtype.name}"
        )
    if None not in (discrete.shape.rank, surrogate.shape.rank):
        rule = "`discrete` and `surrogate` must have the same shape. Received: the sizes of each,"
        (surrogate,) = batches.assert_equal(rule, [surrogate], *map(dimensions, (discrete, surrogate)))
    return value_of(discrete, surrogate)


@tf.custom_gradient
def value_of(discrete: tf.Tensor, surrogate: tf.Tensor) -> tuple:
    """Return `surrogate_st` without checking that shapes and dtypes are equal."""

    def grad(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.zeros_like(upstream), upstream

    return custom_gradients.value_only(discrete, surrogate), grad


@operation
def round_st(x: tf.Tensor) -> tf.Tensor:
    """Return x rounded to the nearest integer, with the gradient of the identity.

    Forward:  `y = round(x)`, halves to even.
    Backward: `dx = dy`.

    Args:
        x: floating tensor of any shape.

    Returns:
        Tensor of the same shape and dtype, with integer values; NaN remains NaN.

    Raises:
        ValueError: if `x` is not floating point.

    References:
        Bengio, Leonard and Courville, 2013, section 4.
    """
    x = _floating(x)
    return value_of(tf.round(x), x)


@operation
def heaviside_st(x: tf.Tensor, temperature: float | tf.Tensor = 1.0) -> tf.Tensor:
    """Return 1 where x is at least 0 and 0 elsewhere, with the gradient of a sigmoid.

    Forward:  `y = 1 if x >= 0 else 0`.
    Backward: `dx = dy sigma(x / T) (1 - sigma(x / T)) / T`, sigma the logistic function and T the temperature.

    Args:
        x: floating tensor of any shape.
        temperature: number or scalar tensor from 1e-30 to 1e30; a tensor is clipped to this range. Smaller values make
            the gradient narrower.

    Returns:
        Tensor of the same shape and dtype, zeros and ones; NaN remains NaN.

    Raises:
        ValueError: if `x` is not floating point, or `temperature` breaks the rule above.

    References:
        Bengio, Leonard and Courville, 2013, section 4.
    """
    x = _floating(x)
    hard = tf.where(tf.math.is_nan(x), x, tf.cast(x >= 0, x.dtype))
    # Use at least float32: float16 cannot hold 1 / 1e-6.
    work = working_dtype(x.dtype)
    return value_of(hard, tf.cast(tf.sigmoid(tf.cast(x, work) / divisor(temperature, work)), x.dtype))


@operation
def one_hot_st(logits: tf.Tensor, temperature: float | tf.Tensor = 1.0) -> tf.Tensor:
    """Return a one-hot vector for the largest logit of the last axis, with the gradient of a softmax.

    Forward:  `y[k] = 1 if k = argmax(logits) else 0`; the first of equal logits is chosen.
    Backward: `dlogits[k] = p[k] (dy[k] - sum_j p[j] dy[j]) / T`, p = softmax(logits / T) and T the temperature.

    Args:
        logits: floating tensor [..., choices], choices of at least 1.
        temperature: number or scalar tensor from 1e-30 to 1e30; a tensor is clipped to this range. With smaller values
            the surrogate is closer to the one-hot vector.

    Returns:
        Tensor of the same shape and dtype, one-hot along the last axis; NaN if one of its logits is NaN.

    Raises:
        ValueError: if `logits` is not floating point or has no axis, or `temperature` breaks the rule above.

    References:
        Jang, Gu and Poole, Categorical Reparameterization with Gumbel-Softmax, 2017, section 2.2 (without the noise).
    """
    logits = _choices(logits)
    hard = tf.one_hot(tf.argmax(logits, axis=-1), logits.shape[-1], dtype=logits.dtype)
    unknown = tf.reduce_any(tf.math.is_nan(logits), axis=-1, keepdims=True)
    hard = tf.where(unknown, tf.constant(float("nan"), logits.dtype), hard)
    return value_of(hard, softmax(logits, temperature))


@operation
def gumbel_softmax(
    logits: tf.Tensor,
    temperature: float | tf.Tensor = 1.0,
    *,
    seed: Sequence[int] | tf.Tensor | None = None,
    hard: bool = False,
) -> tf.Tensor:
    """Return random weights over the last axis, close to one-hot, where larger logits are chosen more often.

    Equation:
        `y = softmax((logits + g) / T)`, `g = -log(-log(u))` with u uniform in (0, 1), and T the temperature.
        With `hard`, forward: the one-hot vector of the largest `logits + g`, which is choice k with probability
        `softmax(logits)[k]`; backward: the gradient of the softmax above.

    Convention:
        The noise depends only on `seed`: equal seeds give equal noise, also in a graph, under XLA and in a SavedModel.
        Without a seed there is no noise; use this for inference. u is kept away from 0 and 1, so that every value is
        finite: g lies between -4.48 and 16.64.

    Args:
        logits: floating tensor [..., choices], choices of at least 1.
        temperature: number or scalar tensor from 1e-30 to 1e30; a tensor is clipped to this range. Smaller values give
            weights closer to one-hot.
        seed: two integers, or a tensor of two, that determine the noise; None for no noise.
        hard: return a one-hot vector, with a straight-through gradient.

    Returns:
        Tensor of the same shape and dtype, with sum 1 along the last axis; NaN if one of its logits is NaN.

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Jang, Gu and Poole, Categorical Reparameterization with Gumbel-Softmax, 2017, section 2;
        Maddison, Mnih and Teh, The Concrete Distribution, 2017, section 2.
    """
    logits = _choices(logits)
    dtype = logits.dtype
    if seed is not None:
        key = _checks.tensor("seed", seed)
        if key.shape != [2] or not key.dtype.is_integer:
            raise ValueError(f"`seed` must be two integers, or None. {_checks.received('seed', seed)}")
        # Use float32: with 16 bits u would be 0 or 1 too often, and many noisy logits would be equal. Name the
        # algorithm, because XLA would choose one that gives other numbers.
        uniform = tf.random.stateless_uniform(tf.shape(logits), key, minval=_TINY, maxval=1.0, alg="philox")
        work = working_dtype(dtype)
        logits = tf.cast(logits, work) + tf.cast(-tf.math.log(-tf.math.log(uniform)), work)
    y = one_hot_st(logits, temperature) if _checks.flag("hard", hard) else softmax(logits, temperature)
    return tf.cast(y, dtype)


@operation
def quantize_st(x: tf.Tensor, bits: int = 8, limit: float = 1.0) -> tf.Tensor:
    """Return x rounded to signed fixed-point numbers, with the gradient of the clipped identity.

    Forward:  `y = step clip(round(x / step), -2^bits, 2^bits)`, `step = limit / 2^bits`, halves to even.
    Backward: `dx = dy` where `-limit <= x <= limit`, and 0 where the value was clipped.

    Args:
        x: floating tensor of any shape.
        bits: number of bits of the magnitude, without the sign, from 1 to 23; 8 gives steps of limit / 256.
        limit: the largest magnitude, from 1e-30 to 1e30.

    Returns:
        Tensor of the same shape and dtype; NaN remains NaN.

    Raises:
        ValueError: if `x` is not floating point, or `bits` or `limit` is out of range.

    References:
        Hubara, Courbariaux, Soudry, El-Yaniv and Bengio, Quantized Neural Networks, 2018, section 3.1 (the clipped
        straight-through estimator).
    """
    x = _floating(x)
    bits = check_bits("bits", bits)
    limit = _checks.number("limit", limit, above=0, meaning="the largest magnitude")
    step = limit / 2**bits
    inside = tf.clip_by_value(x, tf.constant(-limit, x.dtype), tf.constant(limit, x.dtype))
    # 16-bit floats are not precise enough for 2^bits steps: count the steps in float32.
    work = working_dtype(x.dtype)
    return value_of(tf.cast(tf.round(tf.cast(inside, work) / step) * step, x.dtype), inside)


def check_bits(name: str, value: object) -> int:
    """Return the number of magnitude bits, which float32 must be able to hold."""
    bits = _checks.integer(name, value, 1, "the number of bits of the magnitude, at most 23")
    if bits > 23:
        raise ValueError(
            f"`{name}` must be at most 23, because float32 has no more bits. {_checks.received(name, value)}"
        )
    return bits


def _floating(x: tf.Tensor, name: str = "x") -> tf.Tensor:
    return _checks.floating_tensor(name, x)


def _choices(logits: tf.Tensor) -> tf.Tensor:
    """Return logits as a floating tensor; raise `ValueError` unless the size of the last axis is known."""
    logits = _floating(logits, "logits")
    if logits.shape.rank == 0 or logits.shape[-1] is None or logits.shape[-1] < 1:
        raise ValueError(
            f"`logits` must have a last axis of known size: the choices. Received: logits of shape {logits.shape}"
        )
    return logits


def softmax(logits: tf.Tensor, temperature: float | tf.Tensor) -> tf.Tensor:
    """Return the softmax of logits / temperature over the last axis, finite for all finite logits and temperatures."""
    x = tf.cast(logits, working_dtype(logits.dtype))
    # Subtract the largest before the division: two quotients may both be infinite, and their difference NaN.
    x = x - tf.stop_gradient(tf.reduce_max(x, axis=-1, keepdims=True))
    return tf.cast(tf.nn.softmax(x / divisor(temperature, x.dtype)), logits.dtype)


def divisor(temperature: float | tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Return a temperature as a scalar of `dtype`, float32 or float64: a number is checked, and a tensor is clipped.

    Clipping keeps quotients and gradients finite if a weight reaches 0.
    """
    if not _checks.is_tensor(temperature):
        return tf.constant(_checks.temperature(temperature), dtype)
    scalar = _checks.scalar("temperature", temperature, dtype)
    return tf.clip_by_value(scalar, _checks.SMALLEST, _checks.GREATEST)
