"""`cost_curve`: accuracy against pixels is what the model reaches with each setting; and the fit of confidences."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.visual_questions import ANSWERS, COUNT, data, small
from tfpyramid import models


class Answers:
    """A model that answers from given arrays: logits for all levels, or for all but the finest in a cascade."""

    def __init__(self, answers, logits, costs):
        self.answers, self.logits, self.level_costs = tf.constant(answers), tf.constant(logits), costs
        self.calibration = tf.Variable(np.tile(np.float32([1, 0]), (logits.shape[1], 1)))
        if logits.shape[1] < answers.shape[1]:
            self.cascade = self

    def answer_every_level(self, inputs):
        return tf.gather(self.answers, inputs), tf.gather(self.logits, inputs)

    def probabilities(self, logits):
        return tf.sigmoid(self.calibration[:, 0] * logits + self.calibration[:, 1])


COSTS = np.array([1, 0.25, 0.0625])


def made(cascade, samples=40, seed=0):
    """Return a model of three levels and its data, with some equal and some certain probabilities."""
    rng = np.random.default_rng(seed)
    answers = rng.dirichlet(np.ones(4), [samples, 3]).astype(np.float32)
    logits = (3 * rng.standard_normal([samples, 2 if cascade else 3])).round(1).astype(np.float32)
    logits[:3] = 30
    return Answers(answers, logits, COSTS), (np.arange(samples), rng.integers(0, 4, samples))


def measured(model, index, labels, thresholds):
    """Return the accuracy and the pixels of a cascade by its probabilities."""
    p = model.probabilities(model.logits).numpy()
    levels = np.where(p[:, 1] >= thresholds[1], 2, p[:, 0] >= thresholds[0])
    right = tf.argmax(model.answers, axis=2).numpy()[index, levels] == labels
    return right.mean(), np.cumsum(COSTS[::-1])[::-1][levels].mean()


@pytest.mark.parametrize("seed", range(4))
def test_a_search_finds_the_most_accurate_thresholds(seed):
    model, (index, labels) = made(cascade=True, seed=seed)
    curve = models.cost_curve(model, (index, labels), search=True)
    for threshold, accuracy, pixels in zip(*curve):
        np.testing.assert_allclose([accuracy, pixels], measured(model, index, labels, threshold), rtol=1e-12)
    assert np.all(np.diff(curve.pixels) > 0) and np.all(np.diff(curve.accuracy) > 0)
    rule = models.cost_curve(model, (index, labels))
    assert all(curve.accuracy[curve.within(pixels)] >= accuracy for _, accuracy, pixels in zip(*rule))
    assert curve.accuracy.max() > rule.accuracy.max()
    # All pairs of thresholds.
    levels = np.unique(model.probabilities(model.logits))
    grid = np.r_[0, (levels[1:] + levels[:-1]) / 2, 1]
    every = np.array([measured(model, index, labels, (a, b)) for a in grid for b in grid])
    prices = np.array([0.01, 0.03, 0.1, 0.3])[:, None]
    best, found = (np.max(x - prices * y, axis=1) for x, y in (every.T, (curve.accuracy, curve.pixels)))
    # A change of two thresholds at a time can be better, which the search does not try.
    assert np.sum(found < best - 1e-9) <= 1 and np.all(found > best - 0.005)


def test_a_search_takes_equal_certain_and_nan_probabilities():
    model, (index, labels) = made(cascade=True)
    for logits in (np.zeros([40, 2]), np.full([40, 2], 99.0), np.full([40, 2], np.nan)):
        same = Answers(model.answers, logits.astype(np.float32), COSTS)
        curve = models.cost_curve(same, (index, labels), search=True)
        for threshold, accuracy, pixels in zip(*curve):
            np.testing.assert_allclose([accuracy, pixels], measured(same, index, labels, threshold), rtol=1e-12)
    np.testing.assert_array_equal(curve.pixels, [COSTS.sum()])  # NaN stops nowhere.


@pytest.mark.parametrize("cascade", [True, False])
def test_each_point_is_what_a_loop_over_the_samples_counts(cascade):
    model, (index, labels) = made(cascade)
    curve = models.cost_curve(model, (index, labels))
    assert curve.thresholds.shape == ((len(curve.pixels), 2) if cascade else (len(curve.pixels),))
    p = model.probabilities(model.logits).numpy()
    for threshold, accuracy, pixels in zip(*curve):
        right, read = 0, 0.0
        for i in index:
            if cascade:
                k = next((k for k in (2, 1) if p[i, k - 1] >= threshold[k - 1]), 0)
                read += COSTS[k:].sum()
            else:
                k = np.argmax(p[i] - threshold * np.float32(COSTS))
                read += COSTS[k]
            right += model.answers[i, k].numpy().argmax() == labels[i]
        np.testing.assert_allclose([accuracy, pixels], [right / len(index), read / len(index)], rtol=1e-12)
    assert np.all(np.diff(curve.pixels) > 0)
    assert curve.pixels[0] == COSTS[2]
    # No setting is missing: many cost weights reach no other number of pixels.
    found = {round(pixels, 9) for pixels in curve.pixels}
    for weight in np.r_[0, np.logspace(-6, 2, 200)]:
        if cascade:
            stops = p >= np.float32(np.clip(1 - weight * COSTS[:2], 0, 1))
            k = np.where(stops[:, 1], 2, stops[:, 0])
            pixels = np.cumsum(COSTS[::-1])[::-1][k].mean()
        else:
            pixels = COSTS[np.argmax(p - np.float32(weight) * np.float32(COSTS), axis=1)].mean()
        assert round(pixels, 9) in found


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["value", "cascade"])
def test_the_model_reaches_each_point_with_its_setting(objective):
    inputs, labels = data()
    model = small(objective, num_levels=3)
    cascade = objective == "cascade"
    rng = np.random.default_rng(1)
    for part in model.cascade.confidences if cascade else [model.selector]:
        for w in part.trainable_weights:
            w.assign(0.4 * rng.standard_normal(w.shape))
    if cascade:
        model.cascade.calibration.assign([[0.5, 0.1], [2, -0.2]])
    setting = model.cascade.threshold if cascade else model.selector.cost_weight
    curve = models.cost_curve(model, (inputs, labels))
    assert len(curve.pixels) > 4
    read = 4.0 ** -np.arange(3)
    read = np.cumsum(read[::-1])[::-1] if cascade else read
    for threshold, accuracy, pixels in list(zip(*curve))[::2]:
        setting.assign(threshold)
        outputs = model(inputs)
        np.testing.assert_allclose(np.mean(np.argmax(outputs["answer"], axis=1) == labels), accuracy)
        np.testing.assert_allclose(np.mean(outputs["level_weights"] @ read[:, None]), pixels)


def test_a_search_changes_no_choice_of_one_level():
    model, given = made(cascade=False)
    for found, expected in zip(models.cost_curve(model, given, search=True), models.cost_curve(model, given)):
        np.testing.assert_array_equal(found, expected)


def test_equal_probabilities_leave_the_cheapest_level_and_with_no_price_the_finest():
    model, given = made(cascade=False)
    same = Answers(model.answers, tf.zeros_like(model.logits), COSTS)
    np.testing.assert_array_equal(models.cost_curve(same, given).pixels, [COSTS[2], 1])


def test_a_point_is_chosen_for_a_budget():
    model, given = made(cascade=True)
    curve = models.cost_curve(model, given)
    best = curve.within(0.5)
    allowed = curve.pixels <= 0.5
    assert curve.pixels[best] <= 0.5 and curve.accuracy[best] == curve.accuracy[allowed].max()
    assert best == np.flatnonzero(curve.accuracy == curve.accuracy[best])[0]
    with pytest.raises(ValueError, match="`pixels` must be at least those of the cheapest point .* Received: 0.01, "):
        curve.within(0.01)


def test_points_are_at_most_as_many_as_asked_for_and_keep_both_ends():
    model, given = made(cascade=True)
    whole, some = models.cost_curve(model, given), models.cost_curve(model, given, points=5)
    assert len(some.pixels) <= 5 < len(whole.pixels)
    for end in (0, -1):
        assert (some.accuracy[end], some.pixels[end]) == (whole.accuracy[end], whole.pixels[end])


def test_data_may_be_a_dataset_labels_one_hot_and_answers_words():
    model, (index, labels) = made(cascade=False)
    expected = models.cost_curve(model, (index, labels))
    batches = tf.data.Dataset.from_tensor_slices((index, labels)).batch(7)
    one_hot = np.eye(4, dtype=np.float32)[labels]
    for given in (batches, (index, one_hot), [index, labels[:, None]]):
        for found, values in zip(models.cost_curve(model, given), expected):
            np.testing.assert_allclose(found, values, rtol=1e-6)
    # A second word that is always right changes nothing; one that is always wrong leaves no right answer.
    words = tf.stack([model.answers, tf.one_hot(tf.ones(model.answers.shape[:2], tf.int32), 4)], axis=2)
    of_words = Answers(words, model.logits, COSTS)
    np.testing.assert_allclose(models.cost_curve(of_words, (index, np.c_[labels, 0 * labels + 1]))[1], expected[1])
    assert not models.cost_curve(of_words, (index, np.c_[labels, 0 * labels + 2]))[1].any()


@pytest.mark.parametrize(
    "data, message",
    [
        (3, "`data` must be a tf.data.Dataset of batches"),
        ((1, 2, 3), "`data` must be a tf.data.Dataset of batches"),
        (tf.data.Dataset.range(3).batch(2), "`data` must be a .* Received: a dataset of TensorSpec"),
        ((np.arange(0), np.arange(0)), "`data` must hold at least one sample"),
    ],
)
def test_wrong_data_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        models.cost_curve(made(cascade=True)[0], data)


def test_wrong_models_are_refused():
    given = (np.zeros([2, 4]), np.zeros(2))
    with pytest.raises(ValueError, match="`model` must be a model of `pyramid_vlm` .* Received: model of type object"):
        models.cost_curve(object(), given)
    with pytest.raises(ValueError, match="`model` must have a cascade"):
        models.calibrate_confidence(made(cascade=False)[0], given)
    with pytest.raises(ValueError, match="`model` must be trained with .* Received: .* 'softmax'"):
        models.cost_curve(small("softmax"), data())


def test_calibration_minimizes_the_entropy_of_smoothed_targets():
    samples = 4000
    rng = np.random.default_rng(0)
    logits = rng.normal(1, 2, [samples, 2]).astype(np.float32)
    right = rng.random([samples, 2]) < 1 / (1 + np.exp(-(0.4 * logits + [0.5, -1])))
    answers = np.stack([np.ones_like(right[:, :1]), ~right[:, :1], ~right[:, 1:]], axis=1)[..., 0]
    answers = np.eye(2, dtype=np.float32)[answers.astype(int)]
    answers[:, 0] = [1, 0]
    model = Answers(answers, logits, COSTS)
    model.calibration.assign([[7, 8], [0, 2]])  # What it was before does not matter.
    fitted = models.calibrate_confidence(model, (np.arange(samples), np.zeros(samples, int)))
    np.testing.assert_array_equal(model.calibration, fitted)
    np.testing.assert_allclose(fitted, [[0.4, 0.5], [0.4, -1]], atol=0.12)
    # The gradient of the entropy is 0 there.
    for k in range(2):
        positive = right[:, k].sum()
        target = np.where(right[:, k], (positive + 1) / (positive + 2), 1 / (samples - positive + 2))
        error = 1 / (1 + np.exp(-(fitted[k, 0] * logits[:, k] + fitted[k, 1]))) - target
        np.testing.assert_allclose([np.mean(error), np.mean(error * logits[:, k])], 0, atol=1e-5)


@pytest.mark.parametrize("right", [np.ones(COUNT, bool), np.zeros(COUNT, bool), np.arange(COUNT) < COUNT // 2])
def test_a_confidence_that_tells_nothing_becomes_the_rate_of_right_answers(right):
    logits = np.float32(-np.arange(COUNT)[:, None] if right.all() else np.arange(COUNT)[:, None])
    answers = np.eye(ANSWERS, dtype=np.float32)[np.stack([np.zeros(COUNT, int), ~right], axis=1).astype(int)]
    model = Answers(answers, logits, COSTS[:2])
    ((scale, bias),) = models.calibrate_confidence(model, (np.arange(COUNT), np.zeros(COUNT, int)))
    assert scale == 0
    n = right.sum()
    targets = np.where(right, (n + 1) / (n + 2), 1 / (COUNT - n + 2))
    np.testing.assert_allclose(1 / (1 + np.exp(-bias)), targets.mean(), rtol=1e-6)
