"""`ops.softmax_mixture`: the log-probabilities of a mixture, and what its parts learn from them."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tests import references
from tests.ops.finite_differences import assert_gradients
from tfpyramid import layers, ops

RNG = np.random.default_rng(0)
LOGITS, SCORES = RNG.normal(scale=3, size=(4, 5, 6)), RNG.normal(scale=2, size=(4, 5))


def gradients(logits, scores, upstream=1.0):
    """Return the result for float32 tensors, and the gradients of its sum, weighted by `upstream`."""
    inputs = [tf.constant(x, tf.float32) for x in (logits, scores)]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y = ops.softmax_mixture(*inputs)
        # No product with an infinite result, which would have no gradient by itself.
        objective = tf.reduce_sum(tf.where(np.equal(upstream, 0), tf.zeros_like(y), y) * upstream)
    return y, *tape.gradient(objective, inputs)


def test_the_result_is_that_of_the_reference_and_its_probabilities_have_the_sum_1():
    y = ops.softmax_mixture(LOGITS, SCORES)
    np.testing.assert_allclose(y, references.softmax_mixture(LOGITS, SCORES), rtol=1e-12)
    np.testing.assert_allclose(np.exp(y).sum(1), np.ones(4), rtol=1e-12)
    np.testing.assert_allclose(tf.nn.softmax(y), np.exp(y), rtol=1e-12)  # So a loss of logits takes it.


def test_one_part_is_itself_and_scores_may_be_shifted():
    np.testing.assert_allclose(
        ops.softmax_mixture(LOGITS[:, :1], SCORES[:, :1]), scipy.special.log_softmax(LOGITS[:, 0], axis=1), rtol=1e-12
    )
    y = ops.softmax_mixture(LOGITS, SCORES)
    np.testing.assert_allclose(ops.softmax_mixture(LOGITS + 7.0, SCORES - 9.0), y, rtol=1e-11)


def test_gradients_are_finite_differences():
    assert_gradients(ops.softmax_mixture, [LOGITS, SCORES])


def test_the_gradient_of_scores_is_the_responsibility_less_the_weight():
    classes = [3, 0, 5, 1]
    logits, scores = tf.constant(LOGITS), tf.constant(SCORES)
    with tf.GradientTape() as tape:
        tape.watch([logits, scores])
        y = tf.gather(ops.softmax_mixture(logits, scores), classes, batch_dims=1)
    to_logits, to_scores = tape.gradient(y, [logits, scores])
    weights, parts = references.softmax(SCORES), references.softmax(LOGITS)
    likelihood = parts[np.arange(4), :, classes]
    responsibility = weights * likelihood / np.sum(weights * likelihood, axis=1, keepdims=True)
    np.testing.assert_allclose(to_scores, responsibility - weights, atol=1e-12)
    np.testing.assert_allclose(to_logits, responsibility[..., None] * (np.eye(6)[classes][:, None] - parts), atol=1e-12)


def test_large_logits_and_scores_are_exact():
    y, *found = gradients([[[1e4, -1e4], [-1e4, 1e4]]], [[1e4, 1e4 - 2]])
    np.testing.assert_allclose(y, [[-np.log1p(np.exp(-2)), -np.log1p(np.exp(2))]], rtol=1e-5)
    assert all(np.isfinite(g).all() for g in found)


def test_a_class_that_is_unlikely_everywhere_has_a_probability_and_a_gradient():
    y, to_logits, to_scores = gradients([[[0, -1000], [0, -1001]]], [[0, 0]], np.float32([[0, 1]]))
    np.testing.assert_allclose(y, [[0, -1000 + np.log((1 + np.exp(-1)) / 2)]], rtol=1e-6)
    share = 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(to_scores, [[share - 0.5, 0.5 - share]], rtol=1e-4)
    np.testing.assert_allclose(to_logits, [[[-share, share], [share - 1, 1 - share]]], rtol=1e-4)


@pytest.mark.parametrize("nowhere", [np.finfo(np.float32).min, -np.inf])
def test_a_part_without_a_score_changes_nothing_and_learns_nothing(nowhere):
    upstream = RNG.normal(size=(4, 6)).astype("f")
    scores = np.concatenate([SCORES, np.full([4, 2], nowhere)], 1)
    more = gradients(np.concatenate([LOGITS, 1e4 * LOGITS[:, :2]], 1), scores, upstream)
    for actual, expected in zip(more, gradients(LOGITS, SCORES, upstream), strict=True):
        np.testing.assert_allclose(actual[:, : expected.shape[1]], expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(actual[:, expected.shape[1] :], 0)


def test_an_impossible_class_has_no_gradient():
    logits = np.where(np.arange(6) == 2, -np.inf, LOGITS)
    for upstream in (1.0, np.float32([[1, 1, 0, 1, 1, 1]] * 4)):
        y, *found = gradients(logits, SCORES, upstream)
        np.testing.assert_array_equal(np.isneginf(y), [[k == 2 for k in range(6)]] * 4)
        assert all(np.isfinite(g).all() for g in found)
        np.testing.assert_array_equal(found[0][..., 2], np.zeros([4, 5]))


@pytest.mark.parametrize("dtypes, expected", [("ef", "f"), ("fe", "f"), ("ee", "f"), ("fd", "d"), ("de", "d")])
def test_the_result_is_at_least_float32(dtypes, expected):
    logits, scores = (x.astype(dtype) for x, dtype in zip((LOGITS, SCORES), dtypes))
    y = ops.softmax_mixture(logits, scores)
    assert y.dtype == np.dtype(expected)
    np.testing.assert_allclose(
        y, references.softmax_mixture(np.float64(logits), np.float64(scores)), rtol=1e-12 if expected == "d" else 1e-5
    )


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_no_policy_rounds_the_scores_or_the_result(policy):
    y = layers.SoftmaxMixture(dtype=policy)([np.float32(LOGITS), np.float32(SCORES)])
    assert y.dtype == tf.float32
    np.testing.assert_array_equal(y, ops.softmax_mixture(np.float32(LOGITS), np.float32(SCORES)))


def test_an_empty_batch_is_one():
    assert ops.softmax_mixture(LOGITS[:0], SCORES[:0]).shape == (0, 6)


def test_numbers_of_parts_that_a_graph_finds_to_differ_stop_it():
    run = tf.function(ops.softmax_mixture, [tf.TensorSpec([2, None, 3]), tf.TensorSpec([2, None])], autograph=False)
    assert run(tf.ones([2, 4, 3]), tf.ones([2, 4])).shape == (2, 3)
    for count in (1, 3):  # One score would be broadcast.
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"`logits` must be \[batch, n, classes\], and `score"):
            run(tf.ones([2, 4, 3]), tf.ones([2, count]))


@pytest.mark.parametrize(
    "logits, scores, rule",
    [
        (LOGITS[:, 0], SCORES, r"`logits` must be \[batch, n, classes\].* logits of shape \(4, 6\), scores of shape"),
        (LOGITS, SCORES[:, :1], r"`scores` \[batch, n\] with the same n .* scores of shape \(4, 1\)"),
        (LOGITS, SCORES[..., None], r"Received: .* scores of shape \(4, 5, 1\)"),
        (LOGITS[:, :0], SCORES[:, :0], r"n of at least 1. Received: logits of shape \(4, 0, 6\)"),
        (LOGITS, SCORES[:1], "`logits` and `scores` must have the same batch size"),
        (LOGITS.astype(int), SCORES, "`logits` must be floating point"),
        (LOGITS, SCORES.astype(int), "`scores` must be floating point"),
    ],
)
def test_a_bad_argument_is_named(logits, scores, rule):
    with pytest.raises(ValueError, match=rule):
        ops.softmax_mixture(logits, scores)
