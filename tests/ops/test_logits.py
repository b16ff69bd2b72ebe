"""The logits of levels, fused."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tfpyramid import layers, ops

LEVELS = list(np.random.default_rng(0).normal(scale=3, size=(4, 5, 6)))


@pytest.mark.parametrize("method", ["logsumexp", "mean", "attention"])
@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_is_summed_in_float32_and_rounded_once(method, dtype):
    logits = [tf.cast(level, dtype) for level in np.random.default_rng(1).normal(scale=3, size=(5, 40, 6))]
    query = {"query": tf.cast(LEVELS[0][0], dtype)} if method == "attention" else {}
    wide = {name: tf.cast(value, tf.float32) for name, value in query.items()}
    expected = ops.fuse_logits([tf.cast(level, tf.float32) for level in logits], method, **wide)
    assert np.array_equal(ops.fuse_logits(logits, method, **query), tf.cast(expected, dtype))


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
        ([np.ones([2, 3]), np.ones([2, 4])], {}, r"`logits` must be .* the same known number of classes.* \(2, 4\)"),
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
