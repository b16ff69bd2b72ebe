"""Magnification, levels brought to one size, and the weights that fuse them."""

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tfpyramid import ops
from tfpyramid._compat import keras
from tfpyramid.ops import fusion

X = np.ones([1, 4, 4, 1])
Y = X[:, :2, :2]


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def level_size(size, factor):
    return tuple(int(np.ceil(n / factor)) for n in size)


def test_nearest_at_factor_two_is_keras_upsampling():
    x = normal([2, 4, 5, 3]).astype("f")
    expected = x.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(keras.layers.UpSampling2D(2)(x), expected)
    np.testing.assert_array_equal(ops.resize_by(x, 2.0, (8, 10), interpolation="nearest"), expected)
    np.testing.assert_array_equal(ops.resize_by(x, 2.0, (7, 9), interpolation="nearest"), expected[:, :7, :9])


@pytest.mark.parametrize("factor", [1, 1.5, 2.0, 3.0, 2.7])
def test_bilinear_is_numpys_interpolation_and_nearest_the_nearer_sample(factor):
    x = normal([2, 4, 3, 2], seed=1)
    linear = nearest = x
    for axis, (size, length) in enumerate([(4, 11), (3, 13)], start=1):
        positions = np.arange(length) / factor
        linear = references.along(lambda line: np.interp(positions, np.arange(size), line), linear, axis)
        nearest = np.take(nearest, np.argmin(np.abs(positions[:, None] - np.arange(size)), axis=1), axis)
    np.testing.assert_allclose(ops.resize_by(x, factor, (11, 13)), linear, atol=1e-13)
    np.testing.assert_array_equal(ops.resize_by(x, factor, (11, 13), interpolation="nearest"), nearest)


def test_without_a_factor_magnification_is_tensorflows_resize():
    rng = np.random.default_rng(2)
    for _ in range(25):
        h, w = rng.integers(1, 12, size=2)
        size = h + rng.integers(0, 20), w + rng.integers(0, 20)
        x = rng.normal(size=[2, h, w, 2]).astype("f")
        expected = tf.image.resize(x, size, method="bilinear", antialias=False)
        np.testing.assert_allclose(ops.resize_by(x, None, size), expected, atol=5e-6)


@pytest.mark.parametrize("dtype, rounding", [(tf.float16, 2.0**-11), (tf.bfloat16, 2.0**-8)])
@pytest.mark.parametrize("factor", [2.0, 3.0])
def test_magnification_in_half_precision_is_near(factor, dtype, rounding):
    x = tf.cast(normal([1, 5, 4, 2], seed=3), dtype)
    exact = tf.cast(x, tf.float64).numpy()
    expected = references.align([np.ones([1, 13, 10, 2]), exact], 0, factor)[1]
    y = ops.resize_by(x, factor, (13, 10))
    assert y.dtype == dtype
    # Each axis rounds a share, two products and their sum.
    np.testing.assert_allclose(tf.cast(y, tf.float64), expected, rtol=0, atol=4 * rounding * np.abs(exact).max())


@pytest.mark.parametrize("factor", [0.5, 0, -1.0, np.nan, np.inf, "2", [2.0]], ids=str)
def test_a_factor_that_does_not_magnify_is_an_error(factor):
    with pytest.raises(ValueError, match="`scale_factor` must be .* of at least 1, .*or None.* Received: "):
        ops.resize_by(X, factor, (8, 8))


@pytest.mark.parametrize(
    "call",
    [
        lambda name: ops.resize_by(X, 2.0, (8, 8), interpolation=name),
        lambda name: ops.align_levels([X, Y], interpolation=name),
        lambda name: ops.align_levels([X, Y], -1, interpolation=name),
    ],
    ids=["resize_by", "align_levels", "align_levels that magnifies none"],
)
def test_an_unknown_interpolation_is_an_error(call):
    rule = "`interpolation` must be one of 'bilinear', 'nearest'. Received: interpolation='bicubic'"
    with pytest.raises(ValueError, match=rule):
        call("bicubic")


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("factor", [2.0, 3.0, 1.5, None])
def test_levels_are_brought_to_the_target_as_the_reference_brings_them(factor, interpolation):
    sizes = [(11, 8)]
    while len(sizes) < 3:
        sizes.append(level_size(sizes[-1], factor or 2.3))
    levels = [normal([2, *size, channels], channels) for size, channels in zip(sizes, (1, 3, 2))]
    for target in (0, 1, 2, -1) if factor else (0, -3):
        expected = references.align(levels, target, factor, interpolation)
        aligned = ops.align_levels(levels, target, scale_factor=factor, interpolation=interpolation)
        for level, reference in zip(aligned, expected, strict=True):
            np.testing.assert_allclose(level, reference, atol=1e-12)


def test_without_a_factor_levels_may_come_in_any_order_and_follow_no_ratio():
    levels = [normal([1, *size, 2], seed) for seed, size in enumerate([(3, 9), (11, 9), (1, 2), (11, 5)])]
    for level, aligned in zip(levels, ops.align_levels(levels, 1, scale_factor=None), strict=True):
        np.testing.assert_allclose(aligned, references.align([levels[1], level], 0, None)[1], atol=1e-12)


@pytest.mark.parametrize("factor, size", [(2.0, (33, 25)), (2.0, (30, 21)), (3.0, (55, 37)), (3.0, (50, 41))])
def test_a_ramp_stays_in_register(factor, size):
    ramp = np.stack(np.meshgrid(*(np.arange(n, dtype=float) for n in size), indexing="ij"), -1)[None]
    step = int(factor)
    levels = [ramp[:, :: step**k, :: step**k] for k in range(3)]
    for target in range(3):
        for k, level in enumerate(ops.align_levels(levels, target, scale_factor=factor)):
            # Away from the border, and from where a coarser level has no sample any more.
            inside = slice(2, -max(2, step ** (k - target)))
            assert levels[target][:, inside, inside].size > 0
            np.testing.assert_allclose(level[:, inside, inside], levels[target][:, inside, inside], atol=1e-11)


@pytest.mark.parametrize("factor", [2.0, None])
def test_one_trace_aligns_levels_of_every_size(factor):
    traces = []

    @tf.function(input_signature=[[tf.TensorSpec([None, None, None, 2], tf.float64)] * 2])
    def align(levels):
        traces.append(1)
        return ops.align_levels(levels, scale_factor=factor)

    for batch, h, w in [(1, 1, 1), (2, 5, 4), (0, 2, 3), (1, 8, 9)]:
        levels = [normal([batch, h, w, 2]), normal([batch, *level_size((h, w), 2.0), 2])]
        aligned = align([tf.constant(level) for level in levels])
        for level, expected in zip(aligned, references.align(levels, 0, factor), strict=True):
            np.testing.assert_allclose(level, expected, atol=1e-13)
    assert len(traces) == 1


@pytest.mark.parametrize(
    "levels, arguments, rule",
    [
        ([], {}, r"`levels` must be a list of at least one level, finest first\. Received: levels=\[\]"),
        (tf.ones([2, 1, 4, 4, 1]), {}, "`levels` must be a list of at least one level, .* Received: levels of type"),
        ([Y, X], {}, r"`levels` must be finest first.* Received: sides \[\(2, 2\), \(4, 4\)\], scale_factor=2"),
        ([X, X[:, :2, :3]], {}, r"`levels` must be finest first.* Received: sides \[\(4, 4\), \(2, 3\)\]"),
        ([Y, X], {"scale_factor": None}, "`target_level` must be the largest.* Received: target_level=0, sides"),
        ([X, Y.astype("f")], {}, "`levels.* Received: "),
        (
            [X, Y],
            {"target_level": 1, "scale_factor": None},
            "`target_level` must be the largest.* Received: target_level=1",
        ),
        (
            [X, Y],
            {"target_level": 2},
            "`target_level` must be less than the number of `levels`, 2. Received",
        ),
        ([X, Y], {"target_level": -3}, "`target_level` must be an integer of at least -2.* Received: target_level=-3"),
        ([X, Y], {"target_level": 0.0}, "`target_level` must be an integer.* Received: target_level=0.0"),
        ([X, Y], {"scale_factor": 1}, "`scale_factor` must be .* greater than 1, .* Received: scale_factor=1"),
        ([X, Y], {"scale_factor": np.nan}, "`scale_factor` must be .* greater than 1, .* Received: scale_factor=nan"),
        ([X, Y], {"scale_factor": "2"}, "`scale_factor` must be .* greater than 1, .* Received: scale_factor='2'"),
    ],
    ids=[
        "none",
        "a tensor",
        "order",
        "one side",
        "order without a factor",
        "dtypes",
        "a target that is not the finest without a factor",
        "a target beyond the last",
        "a target before the first",
        "a target that is no index",
        "a factor of 1",
        "a factor of NaN",
        "a factor in quotes",
    ],
)
def test_levels_that_cannot_be_aligned_are_an_error(levels, arguments, rule):
    with pytest.raises(ValueError, match=rule):
        ops.align_levels(levels, **arguments)


@pytest.mark.parametrize("dtype", [tf.float16, tf.float32, tf.float64])
def test_fusion_weights_are_their_equation(dtype):
    values = np.array([1.5, -0.25, 0.5, 3.0])
    tolerance = {"rtol": 2e-3 if dtype == tf.float16 else 1e-6}
    positive = np.array([1.5, 0, 0.5, 3.0])
    powers = np.exp(values)
    for method, expected in [
        ("fast_normalized", positive / (5 + 1e-4)),
        ("softplus_normalized", np.log(1 + powers) / np.log(1 + powers).sum()),
        ("softmax", powers / powers.sum()),
        ("sum", values),
    ]:
        weights = ops.fusion_weights(tf.constant(values, dtype), method)
        assert weights.dtype == dtype
        np.testing.assert_allclose(weights, expected, **tolerance)
    weights = ops.fusion_weights(tf.constant(values, dtype), epsilon=0.5)
    np.testing.assert_allclose(weights, positive / 5.5, **tolerance)


def test_fast_weights_of_nothing_positive_are_zero():
    np.testing.assert_array_equal(ops.fusion_weights(tf.constant([-1.0, 0.0, -3.0])), np.zeros(3))


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32, tf.float64])
@pytest.mark.parametrize("start", [-1.0, -35.0, -37.0, -1e4])
def test_softplus_weights_keep_a_gradient_however_negative_the_values_are(start, dtype):
    values = tf.Variable(tf.cast(tf.constant([start, start]), dtype))
    with tf.GradientTape() as tape:
        weights = ops.fusion_weights(values, "softplus_normalized")
    np.testing.assert_array_equal(tf.cast(weights, tf.float64), [0.5, 0.5])
    # d w[0] / d v = sigmoid(v) / softplus(v) (1 / 4, -1 / 4); the quotient tends to 1.
    slope = 1 / (1 + np.exp(1)) / np.log1p(np.exp(-1)) if start == -1 else 1.0
    gradient = tape.gradient(weights, values, output_gradients=tf.cast([1.0, 0.0], dtype))
    np.testing.assert_allclose(tf.cast(gradient, tf.float64), [slope / 4, -slope / 4], rtol=1e-2)


@pytest.mark.parametrize("method", fusion.METHODS)
def test_hard_weights_choose_the_largest_and_learn_as_the_soft_ones(method):
    values, upstream = np.array([0.5, 2.0, 2.0, 1.0]), np.array([1.0, -2.0, 0.3, 0.7])
    variable = tf.Variable(values)
    with tf.GradientTape() as tape:
        weights = ops.fusion_weights(variable, method, hard=True)
    gradient = tape.gradient(weights, variable, output_gradients=tf.constant(upstream))
    soft = references.fusion_weights(values, method)
    total = values.sum() + 1e-4
    slope = soft / (np.log1p(np.exp(values)) * (1 + np.exp(-values)))
    expected = {
        "softplus_normalized": slope * (upstream - soft @ upstream),
        "fast_normalized": upstream / total - upstream @ values / total**2,
        "softmax": soft * (upstream - soft @ upstream),
        "sum": upstream,
    }
    np.testing.assert_array_equal(weights, [0, 1, 0, 0])
    np.testing.assert_allclose(gradient, expected[method], rtol=1e-12)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("method", fusion.METHODS)
def test_weights_of_each_channel_are_those_of_a_fusion_of_its_own(method, hard):
    values = np.random.default_rng(0).standard_normal([4, 3])
    weights = ops.fusion_weights(tf.constant(values), method, hard=hard)
    for c in range(3):
        np.testing.assert_allclose(weights[:, c], ops.fusion_weights(values[:, c], method, hard=hard), rtol=1e-12)


@pytest.mark.parametrize("dtype", [tf.float16, tf.float64])
def test_the_temperature_of_a_softmax_leads_from_the_mean_to_one_level(dtype):
    values = tf.constant([0.25, 0.5, -0.25], dtype)
    weights = ops.fusion_weights(values, "softmax", temperature=0.5)
    np.testing.assert_allclose(weights, references.softmax(np.array([0.5, 1.0, -0.5])), rtol=1e-3)
    np.testing.assert_allclose(ops.fusion_weights(values, "softmax", temperature=1e6), np.full(3, 1 / 3), rtol=1e-3)
    np.testing.assert_array_equal(ops.fusion_weights(values, "softmax", temperature=tf.constant(1e-6)), [0, 1, 0])
    # The choice is that of the values: weights that are equal to rounding choose no other.
    np.testing.assert_array_equal(ops.fusion_weights(values, "softmax", temperature=1e6, hard=True), [0, 1, 0])


@pytest.mark.parametrize("temperature", [0, -1.0, np.nan, "cold"])
def test_a_temperature_is_a_positive_number(temperature):
    with pytest.raises(ValueError, match="`temperature` must be a finite number greater than 0.* Received: temp"):
        ops.fusion_weights(tf.ones([2]), "softmax", temperature=temperature)


@pytest.mark.parametrize("method", ["fast_normalized", "softplus_normalized", "sum"])
def test_a_temperature_where_there_is_none_is_an_error(method):
    rule = "`temperature` must be 1 unless `method` is 'softmax'.* Received: temperature=.*, method="
    for temperature in (0.5, tf.constant(1.0)):
        with pytest.raises(ValueError, match=rule):
            ops.fusion_weights(tf.ones([2]), method, temperature=temperature)


@pytest.mark.parametrize("shape", [[], [2, 3, 1]])
def test_values_are_for_levels_or_for_levels_and_channels(shape):
    with pytest.raises(ValueError, match=r"`values` must be \[levels\] or \[levels, channels\].* Received: values of"):
        ops.fusion_weights(tf.ones(shape))


def test_weights_that_have_no_equation_are_an_error():
    rule = "must be one of 'fast_normalized', 'softplus_normalized', 'softmax', 'sum'. Received: method='mean'"
    with pytest.raises(ValueError, match=rule):
        ops.fusion_weights(tf.ones([2]), "mean")
    for epsilon in (0, -1.0, np.nan, None):
        with pytest.raises(ValueError, match="`epsilon` must be a finite number greater than 0. Received: epsilon="):
            ops.fusion_weights(tf.ones([2]), epsilon=epsilon)


@pytest.mark.parametrize("method", fusion.METHODS)
def test_values_that_are_not_floating_are_an_error(method):
    with pytest.raises(ValueError, match="`values` must be floating point.* Received: values of dtype int32"):
        ops.fusion_weights(tf.constant([1, 2]), method)
