"""Steps by factors that are not integers: large ones, learned taps, other graphs, and the operations in a graph."""

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tests.graph_size import count_operations, with_gradient
from tfpyramid import ops
from tfpyramid.ops import fractional

TAPS = [2.0, 1.0, 5.0, 4.0]


def axis_step(direction, size, taps, factor, border):
    """Return the function of one step along the height, and its matrix."""
    weights = np.array(taps) / sum(taps)
    if direction == "down":
        units = np.eye(size)
        matrix = np.stack([references.down_line(unit, weights, factor, border) for unit in units], 1)
        return lambda x, taps: fractional.down_axis(x, 1, taps, factor, border), matrix
    units = np.eye(references.level_side(size, factor))
    matrix = np.stack([references.up_line(unit, size, weights, factor, border) for unit in units], 1)
    return lambda x, taps: fractional.up_axis(x, 1, size, taps, factor, border), matrix


@pytest.mark.parametrize("border", ["reflect", "symmetric", "edge", "constant", "wrap"])
@pytest.mark.parametrize("factor", [2**0.5, 2.5, fractional._LARGEST_FACTOR + 2.5])
@pytest.mark.parametrize("direction", ["down", "up"])
@pytest.mark.slow
def test_a_step_and_its_derivatives_are_those_of_its_matrix(direction, factor, border):
    rng = np.random.default_rng(0)
    for size in (1, 2, 5, 40):
        step, matrix = axis_step(direction, size, TAPS, factor, border)
        x, g, more = (tf.constant(rng.normal(size=[2, n, 3, 2])) for n in (*matrix.shape[::-1], matrix.shape[1]))
        taps = tf.constant(np.array(TAPS) / sum(TAPS))
        with tf.GradientTape() as second:
            second.watch(g)
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = step(x, taps)
            gradient = tape.gradient(y, x, g)
        for value, expected, given in [(y, matrix, x), (gradient, matrix.T, g)]:
            np.testing.assert_allclose(value, np.einsum("ij,bjkc->bikc", expected, given), atol=1e-12)
        again = second.gradient(gradient, g, more)
        np.testing.assert_allclose(again, np.einsum("ij,bjkc->bikc", matrix, more), atol=1e-12)


@pytest.mark.parametrize("factor", [1.5, fractional._LARGEST_FACTOR + 2.5])
@pytest.mark.parametrize("direction", ["down", "up"])
def test_the_gradient_of_the_taps_is_the_change_of_the_outputs(direction, factor):
    rng = np.random.default_rng(1)
    step, matrix = axis_step(direction, 30, TAPS, factor, "reflect")
    x, g = (tf.constant(rng.normal(size=[1, n, 2, 1])) for n in matrix.shape[::-1])
    taps = tf.Variable(np.array(TAPS) / sum(TAPS))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(step(x, taps) * g)
    changes = [tf.reduce_sum((step(x, taps + unit) - step(x, taps - unit)) * g) / 2 for unit in np.eye(4)]
    # `up` and `down` are linear in the taps, so a difference is exact.
    np.testing.assert_allclose(tape.gradient(loss, taps), changes, atol=1e-11)


@pytest.mark.parametrize("factor", [2.0**0.5, fractional._LARGEST_FACTOR + 2.5])
@pytest.mark.parametrize("direction", ["down", "up"])
def test_nan_reaches_the_outputs_with_a_tap_on_it(direction, factor):
    step, matrix = axis_step(direction, 40, TAPS, factor, "reflect")
    taps = tf.constant(np.array(TAPS) / sum(TAPS))
    for place in range(matrix.shape[1]):
        x = np.zeros([1, matrix.shape[1], 1, 1])
        x[0, place] = np.nan
        np.testing.assert_array_equal(np.isnan(step(tf.constant(x), taps))[0, :, 0, 0], matrix[:, place] != 0)


@pytest.mark.parametrize(
    "known, most", [(True, {"down": (45, 120), "up": (110, 320)}), (False, {"down": (150, 340), "up": (290, 640)})]
)
def test_a_step_along_an_axis_has_few_operations(known, most):
    images = tf.TensorSpec([1, 64, 64, 3] if known else [None, None, None, 3])
    taps, size = np.ones(5, "f") / 5, [] if known else [tf.TensorSpec([], tf.int32)]

    def down(x):
        return fractional.down_axis(x, 1, taps, 2**0.5, "reflect")

    def up(x, size=90):
        return fractional.up_axis(x, 1, size, taps, 2**0.5, "reflect")

    counts = {
        "down": (count_operations(down, images), count_operations(with_gradient(down), images)),
        "up": (count_operations(up, images, *size), count_operations(with_gradient(up), images, *size)),
    }
    assert all(np.less_equal(counts[name], most[name]).all() for name in most), counts


def test_levels_of_unknown_size_share_their_operations():
    images = tf.TensorSpec([None, None, None, 3])

    def pyramid(x):
        return ops.gaussian_pyramid(x, 6, scale_factor=2**0.5)

    assert count_operations(with_gradient(pyramid), images) <= 900
