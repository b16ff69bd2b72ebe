"""Answers of levels fused, and levels above the size of the images."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tfpyramid import layers, ops
from tfpyramid.ops.separable import finer_size, level_size

LEVELS = list(np.random.default_rng(0).normal(scale=3, size=(4, 5, 6)))


def test_half_precision_is_summed_in_float32():
    # In float16 alone exp(12) is infinite, and the sum of 3000 levels of 1 stops at 2048.
    high = [tf.constant([[12.0, -60000.0]], tf.float16)] * 2
    np.testing.assert_allclose(ops.fuse_logits(high), [[12 + np.log(2), -60000]], rtol=1e-3)
    ones = [tf.ones([1, 1], tf.float16)] * 3000
    assert ops.fuse_logits(ones, "mean").numpy() == 1


def test_large_logits_neither_overflow_nor_lose_their_gradient():
    logits = [tf.constant([[1e4, -1e4]]), tf.constant([[1e4 - 1, -1e30]])]
    with tf.GradientTape() as tape:
        tape.watch(logits)
        y = ops.fuse_logits(logits)
    np.testing.assert_allclose(y, [[1e4 + np.log1p(np.exp(-1)), -1e4]], rtol=1e-6)
    shares = scipy.special.softmax([[1.0, 1e9], [0.0, 0.0]], axis=0)
    for gradient, share in zip(tape.gradient(y, logits), shares):
        np.testing.assert_allclose(gradient[0], share, atol=1e-6)


def test_one_level_is_itself():
    for method in ("logsumexp", "max", "mean"):
        np.testing.assert_allclose(ops.fuse_logits(LEVELS[:1], method), LEVELS[0], rtol=1e-12)
    np.testing.assert_allclose(ops.fuse_logits(LEVELS[:1], "attention", query=np.ones(6)), LEVELS[0], rtol=1e-12)


def test_a_large_query_chooses_the_level_of_the_highest_score():
    query = np.eye(6)[2]
    chosen = np.argmax(np.stack(LEVELS)[:, :, 2], axis=0)
    expected = [LEVELS[k][b] for b, k in enumerate(chosen)]
    np.testing.assert_allclose(ops.fuse_logits(LEVELS, "attention", query=1e6 * query), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "logits, arguments, rule",
    [
        (LEVELS, {"method": "sum"}, "`method` must be one of 'logsumexp', .* Received: method='sum'"),
        (LEVELS, {"method": "attention"}, '`query` must be given for "attention".* Received: query None'),
        (LEVELS, {"query": np.ones(6)}, "`query` must be given for .* Received: query of type ndarray, method='log"),
        ([], {}, r"`logits` must be a list of at least one level.* Received: logits=\[\]"),
        (np.ones([2, 3]), {}, "`logits` must be a list of at least one level.* Received: logits of type ndarray"),
        ([np.ones([2, 3], np.int32)], {}, r"`logits\[0\]` must be floating point.* Received: .* int32"),
        ([np.ones([2, 3]), np.ones([2, 4])], {}, r"`logits` must be .* one known number of classes.* \(2, 4\)"),
        ([np.ones([2, 3, 1])], {}, r"`logits` must be a list of tensors \[batch, classes\].* shapes \[\(2, 3, 1\)\]"),
    ],
)
def test_bad_logits_are_refused(logits, arguments, rule):
    with pytest.raises(ValueError, match=rule):
        ops.fuse_logits(logits, **arguments)


def test_the_layer_refuses_what_is_no_list_of_logits():
    with pytest.raises(ValueError, match="`method` must be one of 'logsumexp', .* Received: method='sum'"):
        layers.LogitFusion("sum")
    with pytest.raises(
        ValueError, match=r"`logits` must be a list of tensors.* Received: one tensor of shape \(2, 3\)"
    ):
        layers.LogitFusion().compute_output_shape((2, 3))
    with pytest.raises(ValueError, match="`logits` must be a list of tensors"):
        layers.LogitFusion("attention")([np.ones([2, 3]), np.ones([2, 4])])


@pytest.mark.parametrize("factor", [2.0, 2**0.5, 1.1, 1.7, 3.0, 2 ** (1 / 3), 1.0001])
def test_the_finer_size_is_the_largest_whose_next_it_is(factor):
    sizes = np.arange(1, 400)
    finer = np.array([finer_size(int(n), factor) for n in sizes])
    for n, m in zip(sizes.tolist(), finer.tolist()):
        assert level_size(m, factor) == n
        assert level_size(m + 1, factor) == n + 1 or m + 1 == n * factor
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


def test_all_levels_and_the_upsampled_ones():
    levels = layers.GaussianPyramid(upsampled_levels=1)(np.ones([1, 4, 5, 1], np.float32))
    assert [tuple(x.shape[1:3]) for x in levels] == [(8, 10), (4, 5), (2, 3), (1, 2)]


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
