"""`ops.soft_argmax`: the mean position of a softmax, and the position of the largest value."""

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tests.ops.finite_differences import assert_gradients
from tfpyramid import ops


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


@pytest.mark.parametrize("shape", [(2, 5, 4, 3), (1, 1, 1, 2), (3, 1, 7, 1), (0, 3, 2, 2)])
@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_positions_are_those_of_the_reference(shape, temperature):
    maps = normal(*shape)
    for hard, estimate in ((False, references.soft), (True, references.hard)):
        y = ops.soft_argmax(maps, temperature, hard=hard)
        assert y.shape == (shape[0], shape[3], 2)
        np.testing.assert_allclose(y, references.soft_argmax(maps, temperature, estimate), atol=1e-12)


def test_positions_are_fractions_of_the_image():
    maps = np.zeros([1, 2, 4, 1], "f")
    np.testing.assert_allclose(ops.soft_argmax(maps), [[[0.5, 0.5]]], atol=1e-6)  # Between equal maxima: the middle.
    np.testing.assert_array_equal(ops.soft_argmax(maps, hard=True), [[[0.25, 0.125]]])  # The first of equal ones.
    maps[0, 1, 3] = 1
    np.testing.assert_array_equal(ops.soft_argmax(maps, hard=True), [[[0.75, 0.875]]])
    np.testing.assert_allclose(ops.soft_argmax(maps, 1e-3), [[[0.75, 0.875]]], atol=1e-6)


def test_the_gradient_is_that_of_the_soft_position():
    maps, upstream = tf.constant(normal(2, 4, 3, 2)), tf.constant(normal(2, 2, 2))
    assert_gradients(lambda x: ops.soft_argmax(x, 0.5), [maps])
    gradients = []
    for hard in (False, True):
        with tf.GradientTape() as tape:
            tape.watch(maps)
            y = ops.soft_argmax(maps, 0.5, hard=hard)
        gradients.append(tape.gradient(y, maps, upstream))
    np.testing.assert_array_equal(*gradients)
    assert np.any(gradients[0])


@pytest.mark.parametrize("hard", [False, True])
def test_a_map_with_nan_has_no_position(hard):
    maps = normal(2, 3, 4, 2)
    maps[1, 2, 0, 1] = np.nan
    y = ops.soft_argmax(maps, hard=hard)
    np.testing.assert_array_equal(np.isnan(y), np.arange(8).reshape(2, 2, 2) >= 6)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_positions_of_half_precision_maps_are_float32(dtype):
    y = ops.soft_argmax(tf.one_hot([[1001]], 2048, dtype=dtype, axis=1)[..., None], hard=True)
    assert y.dtype == tf.float32
    np.testing.assert_array_equal(y, [[[1001.5 / 2048, 0.5]]])


def test_extreme_temperatures_and_values_are_finite():
    for temperature in (1e-30, 1e30):
        maps = tf.constant(1e4 * normal(1, 3, 3, 1), tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(maps)
            y = ops.soft_argmax(maps, temperature)
        assert np.isfinite(y).all() and np.isfinite(tape.gradient(y, maps)).all()


def test_sides_may_be_unknown():
    positions = tf.function(lambda x: ops.soft_argmax(x, hard=True), [tf.TensorSpec([None, None, None, 2])])
    maps = np.float32(normal(2, 5, 3, 2))
    np.testing.assert_array_equal(positions(maps), ops.soft_argmax(maps, hard=True))


def test_a_bad_argument_is_named():
    with pytest.raises(ValueError, match=r"`maps` must have 4 axes"):
        ops.soft_argmax(np.zeros([2, 3, 3]))
    with pytest.raises(ValueError, match=r"`temperature` must be a finite number greater than 0"):
        ops.soft_argmax(np.zeros([2, 3, 3, 1]), 0.0)
    with pytest.raises(ValueError, match=r"`hard` must be True or False"):
        ops.soft_argmax(np.zeros([2, 3, 3, 1]), hard=2)
