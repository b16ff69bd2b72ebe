"""Levels finer than the images."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, ops
from tfpyramid._sizes import finer_size, level_size


@pytest.mark.parametrize("factor", [2.0, 2**0.5, 1.1, 1.7, 3.0, 2 ** (1 / 3), 1.0001, 1.15, 1.4])
def test_the_finer_size_is_the_largest_whose_next_it_is(factor):
    sizes = np.arange(1, 400)
    finer = np.array([finer_size(int(n), factor) for n in sizes])
    for n, m in zip(sizes.tolist(), finer.tolist()):
        assert level_size(m, factor) == n
        assert level_size(m + 1, factor) > n
    assert np.array_equal(finer_size(tf.constant(sizes, tf.int32), factor), finer)
    assert finer_size(None, factor) is None


def test_upsampled_levels_read_the_images_between_their_samples():
    ramp = np.arange(12.0).reshape(1, 12, 1, 1) * np.ones([1, 1, 12, 1])
    finest, finer, same, coarser = ops.gaussian_pyramid(ramp, 4, scale_factor=2**0.5, upsampled_levels=2)
    assert np.array_equal(same, ramp)
    np.testing.assert_allclose(finer[0, :, 0, 0], np.minimum(np.arange(16) / 2**0.5, 11), atol=1e-12)
    np.testing.assert_allclose(finest[0, :, 0, 0], np.minimum(np.arange(22) / 2, 11), atol=1e-12)
    assert coarser.shape[1] == 9


def test_upsampled_levels_are_in_register():
    levels = ops.gaussian_pyramid(np.ones([1, 9, 20, 1]), 5, scale_factor=2**0.5, upsampled_levels=3)
    assert [x.shape for x in ops.align_levels(levels, 3, scale_factor=2**0.5)] == [(1, 9, 20, 1)] * 5


@pytest.mark.parametrize(
    "make", [lambda **a: layers.GaussianPyramid(**a), lambda **a: ops.gaussian_pyramid(np.ones([1, 8, 8, 1]), **a)]
)
@pytest.mark.parametrize(
    "upsampled, rule",
    [
        (2, "`upsampled_levels` must be less than `num_levels`.* Received: upsampled_levels=2, num_levels=2"),
        (-1, "`upsampled_levels` must be an integer of at least 0.* Received: upsampled_levels=-1"),
        (0.5, "`upsampled_levels` must be an integer of at least 0.* Received: upsampled_levels=0.5"),
    ],
)
def test_the_number_of_upsampled_levels_is_checked(make, upsampled, rule):
    with pytest.raises(ValueError, match=rule):
        make(num_levels=2, upsampled_levels=upsampled)
