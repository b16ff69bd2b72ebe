"""ShiftConsistency and the pairs of windows it is measured on."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import metrics
from tfpyramid._compat import keras

RNG = np.random.default_rng(0)
SCORES = RNG.standard_normal([2, 50, 3]).astype(np.float32)


def test_it_is_the_share_of_equal_classes_over_all_updates():
    metric = metrics.ShiftConsistency()
    for k in range(0, 50, 20):
        metric.update_state(SCORES[0, k : k + 20], SCORES[1, k : k + 20])
    same = np.argmax(SCORES[0], 1) == np.argmax(SCORES[1], 1)
    np.testing.assert_allclose(metric.result(), np.mean(same), rtol=1e-6)
    metric.reset_state()
    assert float(metric.result()) == 0


def test_samples_are_weighed():
    weights = RNG.random(50).astype(np.float32)
    metric = metrics.ShiftConsistency()
    metric.update_state(*SCORES, sample_weight=weights)
    same = np.argmax(SCORES[0], 1) == np.argmax(SCORES[1], 1)
    np.testing.assert_allclose(metric.result(), np.sum(same * weights) / np.sum(weights), rtol=1e-5)


def test_a_traced_function_updates_it():
    metric = metrics.ShiftConsistency()

    @tf.function(autograph=False)
    def update(a, b):
        metric.update_state(a, b)

    update(*SCORES)
    update(SCORES[0], SCORES[0])
    same = np.argmax(SCORES[0], 1) == np.argmax(SCORES[1], 1)
    np.testing.assert_allclose(metric.result(), (np.sum(same) + 50) / 100, rtol=1e-6)


def test_the_configuration_makes_an_equal_metric():
    metric = metrics.ShiftConsistency(name="consistency")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert isinstance(again, metrics.ShiftConsistency) and again.get_config() == metric.get_config()


@pytest.mark.parametrize(
    "a, b, message",
    [
        ([3], [3], r"`y_a` must be scores \[batch, classes\] of at least two classes. Received: y_a of shape"),
        ([3, 1], [3, 1], "`y_a` must be scores .* of at least two classes"),
        ([3, 2], [3, 2, 1], "`y_b` must be scores"),
        ([3, 2], [3, 4], "`y_b` must have the shape of `y_a`, so that .* for each sample. Received: y_a of shape"),
        ([3, 2], [2, 2], "`y_b` must have the shape of `y_a`"),
    ],
)
def test_what_is_no_pair_of_predictions_is_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        metrics.ShiftConsistency().update_state(np.zeros(a, np.float32), np.zeros(b, np.float32))


@pytest.mark.parametrize("nan_in", ["y_a", "y_b", "both"])
def test_scores_that_are_not_numbers_are_not_consistent(nan_in):
    scores, broken = np.array([[0.1, 0.9], [0.8, 0.2]], "f"), np.array([[0.1, 0.9], [np.nan, 0.2]], "f")
    metric = metrics.ShiftConsistency()
    metric.update_state(scores if nan_in == "y_b" else broken, scores if nan_in == "y_a" else broken)
    assert np.isnan(float(metric.result()))
    metric.reset_state()
    metric.update_state(scores, scores)
    assert float(metric.result()) == 1
    metric.update_state([[1, 2]], [[2, 1]])
    assert float(metric.result()) == pytest.approx(2 / 3)


def test_windows_lie_in_their_image_within_the_shift_of_each_other():
    rows, columns = np.mgrid[:10, :12].astype(np.float32)
    images = np.tile(np.stack([rows, columns], -1), [200, 1, 1, 1])
    first, second = metrics.shifted_pair(images, 3, seed=1)
    assert first.shape == second.shape == (200, 7, 9, 2)
    starts = np.stack([first[:, 0, 0], second[:, 0, 0]])
    window = np.stack(np.mgrid[:7, :9], -1)
    for crops, start in zip((first, second), starts):
        np.testing.assert_array_equal(crops, start[:, None, None] + window)
    assert {*starts.ravel()} == {0, 1, 2, 3}
    assert {*(starts[0] - starts[1]).ravel()} == {-3, -2, -1, 0, 1, 2, 3}


def test_windows_are_drawn_by_the_seed():
    images = RNG.random([20, 8, 8, 1]).astype(np.float32)
    again = metrics.shifted_pair(images, seed=1)[0]
    assert np.array_equal(metrics.shifted_pair(images, seed=1)[0], again)
    assert not np.array_equal(metrics.shifted_pair(images, seed=2)[0], again)


def test_a_shift_that_leaves_no_window_is_refused():
    with pytest.raises(
        ValueError, match="`max_shift` must be less than the sides of the images. Received: max_shift=8"
    ):
        metrics.shifted_pair(np.zeros([1, 8, 9, 1], np.float32), 8)
    with pytest.raises(ValueError, match="`max_shift` must be an integer of at least 1, .* Received: max_shift=0"):
        metrics.shifted_pair(np.zeros([1, 8, 9, 1], np.float32), 0)
