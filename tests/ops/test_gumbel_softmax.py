"""`ops.gumbel_softmax`: the distribution of its noise, its seed, and its hard choice."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tests.ops.straight_through import DTYPES, forward_and_backward, one_hot, values
from tfpyramid import ops


def test_gumbel_noise_chooses_as_often_as_the_softmax_says():
    logits = np.log([[0.5, 0.3, 0.15, 0.05]]).astype(np.float32)
    drawn = ops.gumbel_softmax(np.repeat(logits, 40000, axis=0), seed=(1, 2), hard=True)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    np.testing.assert_array_equal(np.sum(drawn, axis=1), 1)
    # Four standard deviations of a share of 40,000 draws are 0.01.
    np.testing.assert_allclose(np.mean(drawn, axis=0), np.exp(logits[0]), atol=0.01)


def test_gumbel_noise_is_finite_and_has_the_moments_of_its_distribution():
    # At temperature 1, the difference of two logarithms of the weights is that of two draws.
    y = ops.gumbel_softmax(np.zeros([200000, 2]), seed=(3, 4)).numpy()
    assert np.isfinite(y).all() and y.min() > 0
    difference = np.log(y[:, 0]) - np.log(y[:, 1])
    # That of two Gumbel draws is logistic: its variance is pi^2 / 3.
    assert abs(difference.mean()) < 0.02 and abs(difference.var() / (np.pi**2 / 3) - 1) < 0.02


def test_gumbel_noise_is_a_function_of_the_seed():
    logits = values(tf.float32, shape=(20, 4))
    first, again, other = (ops.gumbel_softmax(logits, seed=seed) for seed in [(1, 2), tf.constant([1, 2]), (1, 3)])
    np.testing.assert_array_equal(first, again)
    assert np.any(np.abs(first - other) > 0.1)
    compiled = tf.function(lambda x: ops.gumbel_softmax(x, seed=(1, 2)), jit_compile=True, autograph=False)(logits)
    np.testing.assert_allclose(compiled, first, atol=1e-6)
    np.testing.assert_allclose(ops.gumbel_softmax(logits, 0.5), scipy.special.softmax(logits * 2, axis=-1), atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_a_hard_gumbel_choice_is_one_hot_with_the_gradient_of_the_soft_one(dtype):
    logits, dy = values(dtype, shape=(30, 4)) / 10, values(dtype, shape=(30, 4), seed=5) / 10
    soft, of_soft = forward_and_backward(lambda x, t: ops.gumbel_softmax(x, t, seed=(5, 6)), logits, 0.7, dy)
    hard, of_hard = forward_and_backward(lambda x, t: ops.gumbel_softmax(x, t, seed=(5, 6), hard=True), logits, 0.7, dy)
    assert hard.dtype == soft.dtype == dtype
    np.testing.assert_array_equal(hard, one_hot(tf.cast(soft, tf.float64).numpy()))
    np.testing.assert_array_equal(of_hard, of_soft)


@pytest.mark.parametrize("seed", [3, (1, 2, 3), (1.0, 2.0), [[1, 2]]])
def test_a_seed_that_is_not_two_integers_is_an_error(seed):
    with pytest.raises(ValueError, match="`seed` must be two integers, or None. Received: seed="):
        ops.gumbel_softmax(np.zeros([2, 3]), seed=seed)


def test_gumbel_noise_is_finite_for_the_smallest_and_the_largest_draw(monkeypatch):
    def extremes(shape, seed, minval, maxval, **options):
        return tf.constant([[minval, np.nextafter(np.float32(maxval), np.float32(0))]], tf.float32)

    monkeypatch.setattr(tf.random, "stateless_uniform", extremes)
    logits = tf.Variable([[0.0, 0.0]])
    with tf.GradientTape() as tape:
        smaller = ops.gumbel_softmax(logits, seed=(1, 2))[0, 0]
    # -log(-log(u)) is -4.47 and 16.64 there.
    np.testing.assert_allclose(np.log(smaller), -4.47 - 16.64, atol=0.01)
    assert np.isfinite(tape.gradient(smaller, logits)).all()
