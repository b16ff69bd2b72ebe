"""Routing: the sum that it stands for, what is executed, and what is not."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import ops
from tfpyramid.ops import dtypes, partition, routing

CHOICES = {
    "mixed": [2, 0, 2, 1, 2],
    "one level is not chosen": [0, 2, 0, 0, 2],
    "all at the coarsest": [2, 2, 2, 2, 2],
    "all at the finest": [0, 0, 0, 0, 0],
    "a batch of one": [1],
    "an empty batch": [],
}


def halved(x):
    return x[:, ::2, ::2]


def levels_of(batch, dtype=np.float64):
    x = np.random.default_rng(0).standard_normal([batch, 8, 12, 3]).astype(dtype)
    return [tf.constant(x), tf.constant(halved(x)), tf.constant(halved(halved(x)))]


class Counted:
    """A function of samples, and how many it was given each time that it was executed."""

    def __init__(self, function, sample_shape):
        self.seen = []
        self.stage = partition.Stage(self, sample_shape)
        self._function = function

    def __call__(self, samples):
        tf.py_function(lambda count: self.seen.append(int(count)), [tf.shape(samples)[0]], [])
        return self._function(samples)


def encoders():
    """Return three encoders, all different, to vectors of 3 numbers."""
    return [Counted(lambda x, k=k: tf.reduce_mean(tf.tanh((k + 1) * x), [1, 2]), [3]) for k in range(3)]


def steps():
    return [Counted(halved, [4, 6, 3]), Counted(halved, [2, 3, 3])]


def masked_sum(levels, weights):
    """Every level encoded and multiplied by 0 or 1, in NumPy."""
    one_hot = np.eye(3)[np.argmax(weights, axis=1)]
    return sum(one_hot[:, [k]] * np.tanh((k + 1) * x.numpy()).mean(axis=(1, 2)) for k, x in enumerate(levels))


def in_graph(function):
    return tf.function(function, autograph=False)


@pytest.mark.parametrize("wrap", [lambda function: function, in_graph], ids=["eager", "graph"])
@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_routing_is_the_masked_sum(choice, wrap):
    levels, weights = levels_of(len(choice)), tf.constant(np.eye(3)[np.array(choice, int)])
    stages, down = [e.stage for e in encoders()], [s.stage for s in steps()]
    expected = masked_sum(levels, weights.numpy())
    for routed in (
        wrap(lambda: routing.route(levels, weights, stages))(),
        wrap(lambda: routing.route_down(levels[0], weights, stages, down))(),
    ):
        assert routed.shape == (len(choice), 3)
        np.testing.assert_allclose(routed, expected, atol=1e-15)


@pytest.mark.parametrize("wrap", [lambda function: function, in_graph], ids=["eager", "graph"])
def test_each_encoder_is_executed_for_its_samples_and_only_if_there_are_any(wrap):
    levels, weights = levels_of(5), tf.one_hot(CHOICES["one level is not chosen"], 3, dtype=tf.float64)
    counted = encoders()
    wrap(lambda: routing.route(levels, weights, [e.stage for e in counted]))()
    assert [e.seen for e in counted] == [[3], [], [2]]


@pytest.mark.parametrize("wrap", [lambda function: function, in_graph], ids=["eager", "graph"])
@pytest.mark.parametrize(
    "choice, built",
    [([0, 2, 0, 0, 2], [[2], [2]]), ([1, 0, 1, 1, 0], [[3], []]), ([0, 0], [[], []]), ([2, 1], [[2], [1]])],
)
def test_a_level_is_made_of_the_samples_that_are_read_there_or_deeper(choice, built, wrap):
    counted = steps()
    weights = tf.one_hot(choice, 3, dtype=tf.float64)
    images, stages = levels_of(len(choice))[0], [e.stage for e in encoders()]
    wrap(lambda: routing.route_down(images, weights, stages, [s.stage for s in counted]))()
    assert [s.seen for s in counted] == built


def test_the_gradient_is_that_of_the_masked_sum_and_dense():
    x = levels_of(5)[0]
    weights = tf.one_hot(CHOICES["mixed"], 3, dtype=tf.float64)
    stages, down = [e.stage for e in encoders()], [s.stage for s in steps()]
    upstream = tf.constant(np.random.default_rng(1).standard_normal([5, 3]))

    def gradient(function):
        with tf.GradientTape() as tape:
            tape.watch(x)
            objective = tf.reduce_sum(upstream * function())
        return tape.gradient(objective, x)

    def summed():
        levels = [x, halved(x), halved(halved(x))]
        return routing.weighted_sum([stage(level) for stage, level in zip(stages, levels)], weights)

    found = gradient(lambda: routing.route_down(x, weights, stages, down))
    assert isinstance(found, tf.Tensor)
    np.testing.assert_allclose(found, gradient(summed), atol=1e-15)


def test_nan_among_the_weights_of_a_sample_is_not_hidden():
    weights = np.eye(3)[[0, 1, 2]]
    weights[1, 2] = np.nan
    routed = routing.route(levels_of(3), tf.constant(weights), [e.stage for e in encoders()]).numpy()
    assert np.isnan(routed[1]).all() and np.isfinite(routed[[0, 2]]).all()


def test_of_equal_weights_the_first_level_is_chosen():
    counted = encoders()
    routing.route(levels_of(2), tf.zeros([2, 3], tf.float64), [e.stage for e in counted])
    assert [e.seen for e in counted] == [[2], [], []]


def test_features_may_be_maps():
    levels = levels_of(4)
    stages = [partition.Stage(lambda x, k=k: x[:, :2, :3] * (k + 1), [2, 3, 3]) for k in range(3)]
    choice = [1, 0, 2, 1]
    routed = routing.route(levels, tf.one_hot(choice, 3, dtype=tf.float64), stages)
    for sample, k in enumerate(choice):
        np.testing.assert_array_equal(routed[sample], levels[k][sample, :2, :3] * (k + 1))


@pytest.mark.parametrize("shape", [[4, 3], [4, 2, 5, 3]])
def test_weighted_sum_weighs_each_sample_by_its_own(shape):
    rng = np.random.default_rng(2)
    features, weights = [rng.standard_normal(shape) for _ in range(3)], rng.standard_normal([4, 3])
    expected = np.einsum("kb...,bk->b...", np.array(features), weights)
    np.testing.assert_allclose(routing.weighted_sum([tf.constant(f) for f in features], weights), expected, atol=1e-14)


def test_weights_are_used_in_the_dtype_of_the_features():
    features = [tf.constant(np.random.default_rng(3).standard_normal([2, 4])) for _ in range(2)]
    weights = tf.constant([[0.25, 0.75], [1.0, 0.0]], tf.float16)
    summed = routing.weighted_sum(features, weights)
    assert summed.dtype == tf.float64
    np.testing.assert_allclose(summed, np.einsum("kbn,bk->bn", np.array(features), np.float64(weights)), atol=1e-15)


@pytest.mark.parametrize("wrap", [lambda function: function, in_graph], ids=["eager", "graph"])
@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_features_keep_their_dtype_where_some_are_missing_too(choice, wrap):
    levels, weights = levels_of(len(choice), np.float16), tf.one_hot(choice, 3, dtype=tf.float16)
    stages = 3 * [partition.Stage(lambda x: tf.reduce_mean(tf.cast(x, tf.float64), [1, 2]), [3], tf.float64)]
    down = [s.stage for s in steps()]
    for routed in (
        wrap(lambda: routing.route(levels, weights, stages))(),
        wrap(lambda: routing.route_down(levels[0], weights, stages, down))(),
    ):
        assert routed.dtype == tf.float64
        expected = [np.float64(levels[k][sample]).mean((0, 1)) for sample, k in enumerate(choice)]
        np.testing.assert_allclose(routed, np.reshape(expected, [-1, 3]), atol=1e-15)


def test_the_common_dtype_is_the_widest():
    half, brain, single, double = tf.float16, tf.bfloat16, tf.float32, tf.float64
    assert dtypes.common_dtype([half, half]) == half
    assert dtypes.common_dtype([brain, single]) == single
    assert dtypes.common_dtype([double, half, single]) == double
    assert dtypes.common_dtype([half, brain]) == single


def test_costs_are_the_share_of_the_pixels():
    np.testing.assert_array_equal(ops.pixel_costs(4), [1, 1 / 4, 1 / 16, 1 / 64])
    np.testing.assert_allclose(ops.pixel_costs(3, 2**0.5), [1, 1 / 2, 1 / 4])


def test_what_does_not_fit_is_refused():
    levels, stages = levels_of(2), [e.stage for e in encoders()]
    weights = tf.one_hot([0, 1], 3, dtype=tf.float64)
    with pytest.raises(ValueError, match=r"`weights` must be \[batch, 3\], .* Received: weights of shape \(2, 4\)"):
        routing.route(levels, tf.ones([2, 4]), stages)
    with pytest.raises(ValueError, match=r"`weights` must be \[batch, 2\], .* Received: weights of shape \(2,\)"):
        routing.weighted_sum([tf.ones([2, 3])] * 2, tf.ones([2]))
    with pytest.raises(ValueError, match=r"`levels` must have one level for each encoder, 3\. Received: 2 levels"):
        routing.route(levels[:2], weights, stages)
    with pytest.raises(
        ValueError, match=r"`descend` must have one step fewer than there are encoders, 2\. Received: 1 steps"
    ):
        routing.route_down(levels[0], weights, stages, [steps()[0].stage])
    with pytest.raises(ValueError, match="`num_levels` must be an integer of at least 1"):
        ops.pixel_costs(0)
    with pytest.raises(ValueError, match="`scale_factor` must be a finite number greater than 1"):
        ops.pixel_costs(2, 1.0)
