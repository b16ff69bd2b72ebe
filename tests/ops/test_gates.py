"""Gates that open one behind the other: their values, and a gradient that a closed gate still hears."""

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tfpyramid import ops


def products(logits, temperature=1.0):
    """Return 1 and the products of sigmoids."""
    return np.concatenate([[1.0], np.cumprod(references.sigmoid(logits / temperature))])


def gradient_of(logits, upstream, **arguments):
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        gates = ops.cumulative_gates(variable, **arguments)
    return gates, tape.gradient(gates, variable, output_gradients=tf.constant(upstream, gates.dtype)).numpy()


@pytest.mark.parametrize("temperature", [0.3, 1.0, tf.constant(2.0)])
def test_gates_are_products_of_sigmoids_behind_one_that_is_open(temperature):
    logits = np.array([2.0, -0.5, 0.0])
    expected = products(logits, float(temperature))
    np.testing.assert_allclose(ops.cumulative_gates(logits, temperature), expected, rtol=1e-7)


@pytest.mark.parametrize(
    "logits, expected",
    [([], [1]), ([0.0], [1, 1]), ([-0.0, 3.0, -1e-9, 5.0], [1, 1, 1, 0, 0]), ([-1.0, 2.0], [1, 0, 0])],
)
def test_a_closed_gate_closes_all_behind_it(logits, expected):
    gates = ops.cumulative_gates(np.float32(logits), hard=True)
    assert gates.dtype == tf.float32
    np.testing.assert_array_equal(gates, expected)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_gradient_is_that_of_the_products_even_behind_a_closed_gate(hard, sign):
    logits, upstream = np.array([-0.7, 0.4, -1.5]), sign * np.array([0.9, 1.5, -0.5, 2.0])
    _, gradient = gradient_of(logits, upstream, temperature=0.6, hard=hard)
    expected = references.complex_step(lambda z: products(z, 0.6), {"z": logits}, upstream)["z"]
    np.testing.assert_allclose(gradient, expected, rtol=1e-12)
    assert np.all(gradient != 0)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("temperature", [1e-6, 1e6])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_values_and_gradients_are_finite_at_any_temperature(hard, temperature, dtype):
    gates, gradient = gradient_of(dtype([3.0, -3.0, 3.0]), np.ones(4), temperature=temperature, hard=hard)
    assert gates.dtype == dtype and np.all(np.isfinite(gates)) and np.all(np.isfinite(gradient))
    if hard or temperature < 1:
        np.testing.assert_array_equal(gates, [1, 1, 0, 0])


def test_what_is_not_a_number_is_not_hidden():
    for hard in (False, True):
        gates = ops.cumulative_gates(tf.constant([1.0, np.nan, 1.0]), hard=hard).numpy()
        assert np.all(np.isfinite(gates[:2])) and np.all(np.isnan(gates[2:]))


def test_bad_arguments_are_errors():
    with pytest.raises(ValueError, match=r"`logits` must be \[gates - 1\]. Received: logits of shape \(2, 1\)"):
        ops.cumulative_gates(tf.zeros([2, 1]))
    with pytest.raises(ValueError, match="`logits` must be floating point"):
        ops.cumulative_gates(tf.constant([1, 2]))
    with pytest.raises(ValueError, match="`temperature` must be a finite number greater than 0.* Received: temp"):
        ops.cumulative_gates(tf.zeros([2]), 0)
    with pytest.raises(ValueError, match="`hard` must be True or False. Received: hard=1"):
        ops.cumulative_gates(tf.zeros([2]), hard=1)
