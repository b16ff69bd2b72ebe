"""Gradients against central differences."""

import numpy as np
import tensorflow as tf


def assert_gradients(op, arguments):
    """Assert that the gradients of an operation of float64 arrays are its derivatives along a random direction."""
    rng = np.random.default_rng(7)
    arguments = [tf.constant(a) for a in arguments]
    upstream = rng.standard_normal(op(*arguments).shape)

    def objective(*arguments):
        return tf.reduce_sum(op(*arguments) * upstream)

    with tf.GradientTape() as tape:
        tape.watch(arguments)
        y = objective(*arguments)
    for k, gradient in enumerate(tape.gradient(y, arguments)):
        direction = rng.standard_normal(arguments[k].shape)
        moved = [[*arguments[:k], arguments[k] + sign * 1e-6 * direction, *arguments[k + 1 :]] for sign in (1, -1)]
        expected = (objective(*moved[0]) - objective(*moved[1])) / 2e-6
        actual = np.vdot(tf.convert_to_tensor(gradient), direction)
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-7, err_msg=f"argument {k}")
