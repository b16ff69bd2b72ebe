"""Cascades: halting weights, costs, and which samples each level computes."""

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tfpyramid import ops
from tfpyramid.ops import cascades, halting, partition

NUM_LEVELS = 3
IMAGES = np.random.default_rng(0).standard_normal([6, 8, 8, 2])


def expected_weights(halting, start=None):
    """Return the probability that a sample stops at each level, from the definition, by the level where it began."""
    count = halting.shape[1] + 1
    stops = np.concatenate([np.ones([len(halting), 1]), halting], axis=1)
    start = np.eye(count)[[-1] * len(halting)] if start is None else start
    weights = np.zeros([len(halting), count], dtype=np.result_type(halting, start))
    for first in range(count):
        for k in range(first + 1):
            weights[:, k] += start[:, first] * stops[:, k] * np.prod(1 - stops[:, k + 1 : first + 1], axis=1)
    return weights


@pytest.mark.parametrize("started", [False, True])
def test_halting_weights_and_their_gradients_are_those_of_the_definition(started):
    rng = np.random.default_rng(1)
    values = {"halting": rng.random([4, 3]), **({"start": rng.dirichlet(np.ones(4), 4)} if started else {})}
    tensors = {name: tf.constant(x) for name, x in values.items()}
    upstream = rng.standard_normal([4, 4])
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        weights = halting.halting_weights(**tensors)
        objective = tf.reduce_sum(weights * upstream)
    np.testing.assert_allclose(weights, expected_weights(**values), atol=1e-15)
    np.testing.assert_allclose(tf.reduce_sum(weights, axis=1), np.ones(4), atol=1e-14)
    expected = references.complex_step(expected_weights, values, upstream)
    for name, gradient in tape.gradient(objective, tensors).items():
        np.testing.assert_allclose(gradient, expected[name], atol=1e-14)


def test_the_cost_is_that_of_all_levels_that_a_sample_visited():
    stop, start = [0, 1, 2, 1], [2, 1, 2, 2]
    weights, begun = tf.one_hot(stop, NUM_LEVELS), tf.one_hot(start, NUM_LEVELS)
    costs = ops.pixel_costs(NUM_LEVELS, 2.0, 1)
    np.testing.assert_array_equal(costs, [4, 1, 0.25])
    expected = [sum(costs[k] for k in range(a, b + 1)) for a, b in zip(stop, start)]
    np.testing.assert_allclose(ops.cascade_costs(weights, costs, start=begun), expected)
    np.testing.assert_allclose(ops.cascade_costs(weights), [1.3125, 0.3125, 0.0625, 0.3125])
    half = ops.cascade_costs(tf.cast(weights, tf.float16), costs, start=tf.cast(begun, tf.float16))
    assert half.dtype == tf.float16
    np.testing.assert_allclose(half, expected)


def test_the_cost_of_probabilities_is_the_expected_cost():
    rng = np.random.default_rng(2)
    chances, start = rng.random([5, 2]), rng.dirichlet(np.ones(NUM_LEVELS), 5)
    weights = halting.halting_weights(chances, start)
    costs = np.array([3.0, 2.0, 1.0])
    stops, reach, expected = np.c_[np.ones(5), chances], np.zeros(5), np.zeros(5)
    for k in (2, 1, 0):
        reach = reach + start[:, k]
        expected += costs[k] * reach
        reach = reach * (1 - stops[:, k])
    np.testing.assert_allclose(ops.cascade_costs(weights, costs, start=start), expected, atol=1e-14)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((tf.ones([3]),), r"`weights` must be \[batch, levels\], .* Received: weights of shape \(3,\)"),
        ((tf.ones([2, 3]), [1.0, 2.0]), "`costs` must be a list of 3 numbers, the cost of each level. Received: costs"),
        ((tf.ones([2, 3]), [1.0, 2.0, -1.0]), "`costs` must be a finite number of at least 0"),
        ((tf.ones([2, 3], tf.int32),), "`weights` must be floating point"),
    ],
)
def test_costs_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ops.cascade_costs(*arguments)
    with pytest.raises(ValueError, match=r"`start` must be \[batch, 3\].* Received: start of shape \(2, 2\)"):
        ops.cascade_costs(tf.ones([2, 3]), start=tf.ones([2, 2]))
    with pytest.raises(ValueError, match="`upsampled_levels` must be less than `num_levels`"):
        ops.pixel_costs(2, 2.0, 2)


class Counted:
    """A function of samples, and how many it was given each time that it was executed."""

    def __init__(self, function):
        self.seen, self.function = [], function

    def __call__(self, *samples):
        tf.py_function(lambda count: self.seen.append(int(count)), [tf.shape(samples[0])[0]], [])
        return self.function(*samples)


def counted_cascade(images, stop, start, upsampled):
    """Run a cascade in which sample b stops at level stop[b]; return its result, and what ran for how many samples."""
    calls = {}

    def counted(name, function):
        calls[name] = Counted(function)
        return calls[name]

    def level(k):
        encode = counted(f"encode {k}", lambda x: (k + 1) * tf.reduce_mean(x, [1, 2]))
        sure = counted(f"sure {k}", lambda y, query: query >= k) if k else None
        finer = counted(f"level {k}", lambda x: tf.repeat(x, 2 ** (upsampled - k), axis=1)) if k < upsampled else None
        return cascades.Level(encode, sure, finer)

    levels = [level(k) for k in range(NUM_LEVELS)]
    steps = [
        partition.Stage(counted(f"level {k}", lambda x: x[:, ::2, ::2]), [None, None, 2])
        for k in range(upsampled + 1, NUM_LEVELS)
    ]
    merge = counted("merge", lambda coarser, own: coarser + own)
    spec = tf.TensorSpec([None, 2], images.dtype)
    y, stops = cascades.cascade(images, levels, steps, spec, query=stop, start=start, merge=merge)
    return y, stops, calls


def in_graph(function, *arguments):
    return tf.function(function, autograph=False)(*arguments)


def in_graph_of_any_batch(function, *arguments):
    specs = [tf.TensorSpec([None, *x.shape[1:]], x.dtype) for x in arguments]
    return tf.function(function, specs, autograph=False)(*arguments)


CHOICES = {
    "all stop at the coarsest": ([2, 2, 2], [2, 2, 2]),
    "all go to the finest": ([0, 0], [2, 2]),
    "some at each level": ([2, 0, 1, 0, 1, 2], [2, 2, 2, 2, 2, 2]),
    "starts of all levels": ([0, 1, 0, 2, 1, 0], [1, 1, 2, 2, 2, 0]),
    "starts below the coarsest": ([0, 1, 0], [0, 1, 1]),
    "one sample": ([1], [2]),
    "one sample of a later start": ([0], [1]),
    "nobody": ([], []),
}


RUNS = [lambda function, *x: function(*x), in_graph, pytest.param(in_graph_of_any_batch, marks=pytest.mark.slow)]


@pytest.mark.parametrize("run", RUNS, ids=["eager", "static", "any"])
@pytest.mark.parametrize("upsampled", [0, 1])
@pytest.mark.parametrize("choice", CHOICES)
def test_a_sample_runs_the_levels_from_its_start_to_its_stop_and_nothing_else(choice, upsampled, run):
    stop, start = (np.array(each, np.int32) for each in CHOICES[choice])
    images, calls = IMAGES[: len(stop)], {}

    def function(images, stop, start):
        y, stops, made = counted_cascade(images, stop, start, upsampled)
        calls.update(made)
        return y, stops

    y, stops = run(function, *map(tf.constant, (images, stop, start)))
    np.testing.assert_array_equal(stops, stop)
    means = np.mean(images, axis=(1, 2))
    coarse = {k: np.mean(images[:, :: 2 ** (k - upsampled), :: 2 ** (k - upsampled)], axis=(1, 2)) for k in (1, 2)}
    of_level = [means, *(coarse[k] if k > upsampled else means for k in (1, 2))]
    visits = [(stop <= k) & (start >= k) for k in range(NUM_LEVELS)]
    expected = sum((k + 1) * of_level[k] * visits[k][:, None] for k in range(NUM_LEVELS))
    np.testing.assert_allclose(y, expected, atol=1e-14)
    counts = {f"encode {k}": sum(visits[k]) for k in range(NUM_LEVELS)}
    counts |= {f"sure {k}": sum(visits[k]) for k in (1, 2)}
    counts |= {f"level {k}": sum(visits[k]) if k < upsampled else sum(start >= k) for k in range(3) if k != upsampled}
    seen = {name: call.seen for name, call in calls.items()}
    assert sorted(seen.pop("merge")) == sorted(n for k in (0, 1) if (n := sum(visits[k] & (start > k))))
    assert seen == {name: [n] if n else [] for name, n in counts.items()}


def test_a_sample_that_is_never_sure_goes_on_alone():
    def level(k):
        return cascades.Level(lambda x: tf.reduce_mean(x, [1, 2]), (lambda y: y[:, 0] <= 9) if k else None)

    images = IMAGES.copy()
    images[2, 3, 3] = np.nan
    spec = tf.TensorSpec([None, 2], tf.float64)
    steps = [partition.Stage(tf.identity, [8, 8, 2])] * 2
    for part, expected in ((images, [2, 2, 0, 2, 2, 2]), (images[2:3], [0])):
        y, stops = cascades.cascade(tf.constant(part), [level(k) for k in range(3)], steps, spec)
        np.testing.assert_array_equal(stops, expected)
        np.testing.assert_allclose(y, part.mean(axis=(1, 2)), atol=1e-14)
