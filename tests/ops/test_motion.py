"""Warping by a flow and cost volumes, against SciPy and against sums over displacements."""

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from tests.ops.finite_differences import assert_gradients
from tfpyramid import ops

RNG = np.random.default_rng(0)


def test_warp_reads_at_each_pixel_moved_by_dx_dy():
    images, flow = RNG.random([2, 7, 9, 3]), 2 * RNG.normal(size=[2, 7, 9, 2])
    for border, mode in (("constant", "grid-constant"), ("edge", "nearest"), ("reflect", "mirror")):
        warped = ops.warp(images, flow, border=border)
        for image, field, result in zip(images, flow, warped):
            places = np.indices([7, 9]) + field[..., ::-1].transpose(2, 0, 1)
            for channel in range(3):
                expected = scipy.ndimage.map_coordinates(image[..., channel], places, order=1, mode=mode)
                np.testing.assert_allclose(result[..., channel], expected, atol=1e-12)


def test_the_flow_from_a_frame_to_the_next_warps_the_next_to_it():
    frame = RNG.random([1, 12, 12, 1])
    following = np.roll(frame, (2, 3), (1, 2))  # All moves by dy = 2, dx = 3.
    warped = ops.warp(following, np.tile([3.0, 2.0], [1, 12, 12, 1]))
    np.testing.assert_allclose(warped[:, :10, :9], frame[:, :10, :9])


def correlated(first, second, reach):
    height, width = first.shape[1:3]
    result = np.zeros([len(first), height, width, (2 * reach + 1) ** 2])
    for channel, (dy, dx) in enumerate(np.ndindex(2 * reach + 1, 2 * reach + 1)):
        for i, j in np.ndindex(height, width):
            y, x = i + dy - reach, j + dx - reach
            if 0 <= y < height and 0 <= x < width:
                result[:, i, j, channel] = (first[:, i, j] * second[:, y, x]).mean(-1)
    return result


@pytest.mark.parametrize("shape, reach", [((2, 5, 6, 3), 2), ((1, 1, 1, 4), 1), ((2, 3, 2, 1), 0), ((0, 4, 4, 2), 1)])
def test_a_cost_volume_is_the_mean_product_under_each_displacement(shape, reach):
    first, second = RNG.normal(size=[2, *shape])
    expected = correlated(first, second, reach)
    np.testing.assert_allclose(ops.cost_volume(first, second, reach), expected, atol=1e-12)
    half = ops.cost_volume(tf.cast(first, tf.bfloat16), tf.cast(second, tf.bfloat16), reach)
    assert half.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(half, tf.float64), expected, atol=0.1)


def test_gradients_of_both_images_and_of_the_flow_are_those_of_differences():
    first, second = RNG.normal(size=[2, 1, 4, 3, 2])
    assert_gradients(lambda x, y: ops.cost_volume(x, y, 1), [first, second])
    flow = RNG.uniform(0.2, 0.8, size=[1, 4, 3, 2])  # Away from whole positions, where there is a bend.
    assert_gradients(lambda x, f: ops.warp(x, f, border="reflect"), [first, flow])


def test_of_unknown_sides_and_compiled_they_are_the_same():
    images, flow = tf.constant(RNG.random([2, 5, 7, 2])), tf.constant(RNG.normal(size=[2, 5, 7, 2]))
    for operation in (lambda x, f: ops.warp(x, f), lambda x, f: ops.cost_volume(x, f, 2)):
        expected = operation(images, flow)
        signature = [tf.TensorSpec([None, None, None, 2], tf.float64)] * 2
        np.testing.assert_allclose(tf.function(operation, input_signature=signature)(images, flow), expected)
        np.testing.assert_allclose(tf.function(operation, jit_compile=True)(images, flow), expected, atol=1e-12)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: ops.warp(np.zeros([1, 2, 2, 1]), np.zeros([1, 2, 2, 3])), r"`flow` must be .*shape \(1, 2, 2, 3\)"),
        (lambda: ops.warp(np.zeros([1, 2, 2, 1]), np.zeros([1, 2, 2, 2], int)), "`flow` must be .*int64"),
        (lambda: ops.cost_volume(np.zeros([1, 2, 2, 1]), np.zeros([1, 2, 3, 1])), "`first` and `second` must agree"),
        (lambda: ops.cost_volume(*np.zeros([2, 1, 2, 2, 1]), -1), "`max_displacement` must be an integer"),
    ],
)
def test_arguments_are_checked(call, message):
    with pytest.raises(ValueError, match=message):
        call()
