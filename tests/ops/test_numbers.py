"""Numbers at the ends of what an argument may be, or of what a dtype holds: the right value, or an error by name."""

import math
from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, losses, ops
from tfpyramid.ops import kernels, routing

LOGITS = tf.constant([0.0, 1.0, 1.0, -2.0])
UPSTREAM = tf.constant([1.0, 2.0, 4.0, 8.0])
BEYOND = [1e-300, 1e-40, 1e-31, 1e31, 1e300]


def value_and_gradient(function, x, upstream=None):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return y.numpy(), tape.gradient(y, x, upstream).numpy()


@pytest.mark.parametrize("size", [1, 2, 3, 1029, 1030, 1031, 4096, 16384])
def test_binomial_taps_are_the_nearest_floats_of_their_fractions(size):
    taps = ops.binomial(size)
    for k in {0, size // 3, size // 2, size - 1}:
        assert taps[k] == float(Fraction(math.comb(size - 1, k), 2 ** (size - 1)))
    assert taps.sum() == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("size", [1, 2, 3, 8, 101, 16384])
def test_narrow_and_wide_gaussians_are_the_middle_taps_and_the_box(size):
    middle = np.zeros(size)
    middle[[(size - 1) // 2, size // 2]] = 1
    np.testing.assert_array_equal(ops.gaussian(1e-30, size), middle / middle.sum())
    np.testing.assert_array_equal(ops.gaussian(1e-3, size), middle / middle.sum())
    np.testing.assert_allclose(ops.gaussian(1e30, size), ops.box(size), rtol=1e-15)


def test_taps_are_divided_by_a_sum_that_no_float_holds():
    np.testing.assert_allclose(kernels.taps_of([1e308, 1e308, 1e308], 2.0, tf.float64), np.full(3, 1 / 3))
    np.testing.assert_allclose(kernels.taps_of([1e-310, 3e-310], 2.0, tf.float64), [0.25, 0.75], rtol=1e-9)
    assert ops.phase([1e308, 1e308]) == 0.5


@pytest.mark.parametrize("kernel_size, strides", [(41, 2), (52, 2), (100, 2), (64, 16)])
def test_a_softmax_starts_at_the_gaussian_with_finite_values(kernel_size, strides):
    layer = layers.AntiAliasedDownsample2D(
        kernel_size=kernel_size, strides=strides, normalization="softmax", dtype="float64"
    )
    x = np.random.default_rng(0).normal(size=(1, 7, 9, 1))
    with tf.GradientTape() as tape:
        y = layer(x)
    assert np.isfinite(layer.get_weights()[0]).all()
    assert np.isfinite(tape.gradient(y, layer.trainable_weights)[0]).all()
    offsets = np.arange(kernel_size) - (kernel_size - 1) / 2
    taps = np.exp(-0.5 * (offsets / (strides / 3)) ** 2)
    np.testing.assert_allclose(y, ops.pyr_down(x, scale_factor=strides, kernel=taps), atol=1e-12)


@pytest.mark.parametrize("temperature", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("window", [3, 64])
def test_a_content_adaptive_layer_starts_at_the_gaussian_with_finite_values(window, temperature):
    layer = layers.ContentAdaptiveDownsample2D(window=window, hidden=1, temperature=temperature)
    x = np.random.default_rng(0).normal(size=(1, 4, 3, 1))
    y = layer(x)
    assert all(np.isfinite(weight).all() for weight in layer.get_weights())
    taps = np.exp(-0.5 * ((np.arange(window) - (window - 1) / 2) / (2 / 3)) ** 2)
    np.testing.assert_allclose(y, ops.pyr_down(x, kernel=taps), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("limit", [1e-30, 1e-3, 1.0, 1e30])
@pytest.mark.parametrize("bits", [1, 8, 23])
def test_quantised_values_are_whole_steps_at_every_limit(limit, bits, dtype):
    x = tf.cast([0.0, 0.3, -0.7, 1.0, -2.0, 6e4], dtype)
    y, gradient = value_and_gradient(lambda x: ops.quantize_st(x, bits, limit), x)
    values, step = tf.cast(x, tf.float64).numpy(), limit / 2**bits
    expected = step * np.clip(np.round(values / step), -(2**bits), 2**bits)
    rounded, tolerance = tf.cast(tf.cast(expected, dtype), tf.float64), 1e-14 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(tf.cast(y, tf.float64), rounded, rtol=tolerance)
    bound = float(tf.cast(tf.constant(limit, tf.float64), dtype))
    np.testing.assert_array_equal(tf.cast(gradient, tf.float64), np.abs(values) <= bound)


SCALES = {
    "limit": lambda s: ops.quantize_st(LOGITS, 8, s),
    "norm": lambda s: ops.normalize_gradient(LOGITS, norm=s),
    "smoothness": lambda s: ops.spectral_pool(tf.ones([1, 4, 4, 1]), 2.0, smoothness=s),
    "epsilon": lambda s: ops.fusion_weights(LOGITS, epsilon=s),
    "decay": lambda s: losses.multi_scale_loss(tf.ones([1, 4, 4, 1]), [tf.ones([1, 4, 4, 1])], decay=s),
    "sigma": lambda s: ops.gaussian(s, 3),
}


@pytest.mark.parametrize("value", BEYOND)
@pytest.mark.parametrize("name", SCALES)
def test_numbers_that_multiply_or_divide_are_bounded(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be at (least 1e-30|most).* Received: {name}="):
        SCALES[name](value)


@pytest.mark.parametrize("value", [1e31, 1e300, -1e31])
def test_numbers_of_either_sign_or_zero_have_the_upper_bound(value):
    with pytest.raises(ValueError, match="`factor` must be at most 1e.30 in magnitude.* Received: factor="):
        ops.scale_gradient(LOGITS, value)
    if value > 0:
        for make in (
            lambda: losses.PyramidDiversity(value),
            lambda: layers.LearnableStrideConv2D(cost_weight=value),
            lambda: losses.multi_scale_loss(tf.ones([1, 4, 4, 1]), [tf.ones([1, 4, 4, 1])], weights=[value]),
            lambda: layers.AdaptiveDepthPyramid(3, depth_penalty=value),
        ):
            with pytest.raises(ValueError, match="` must be at most 1e.30"):
                make()


def test_numbers_at_the_bounds_give_finite_gradients():
    for norm in (1e-30, 1e30):
        _, gradient = value_and_gradient(lambda x: ops.normalize_gradient(x, norm=norm), LOGITS, UPSTREAM)
        np.testing.assert_allclose(gradient, norm * UPSTREAM / np.linalg.norm(UPSTREAM), rtol=1e-5)
    for smoothness in (1e-30, 1e30):
        image = tf.reshape(tf.range(81.0), [1, 9, 9, 1])
        _, gradient = value_and_gradient(
            lambda s: ops.spectral_pool(image, s, smoothness=smoothness), tf.constant([2.0, 1.8])
        )
        assert np.isfinite(gradient).all()


def test_a_decay_whose_powers_no_float32_holds_is_refused():
    levels = ops.gaussian_pyramid(tf.ones([1, 4, 4, 1]), 20)
    with pytest.raises(ValueError, match="`decay` must .* Received: decay=1000"):
        losses.multi_scale_loss(levels[0], levels, decay=1000.0)
    np.testing.assert_array_equal(losses.multi_scale_loss(levels[0], levels, decay=1e-30), [0.0])


@pytest.mark.parametrize("dtype, size", [("float32", 3e38), ("float32", 1e-20), ("float16", 6e4), ("float16", 1e-7)])
def test_normalised_fusion_weights_of_any_size_sum_to_one(dtype, size):
    values = tf.constant([size, size, 0.0, -size], dtype)
    for method in ("fast_normalized", "softplus_normalized"):
        weights, gradient = value_and_gradient(lambda v, m=method: ops.fusion_weights(v, m, epsilon=1e-30), values)
        assert np.isfinite(weights).all() and np.isfinite(gradient).all()
        assert weights.sum() == pytest.approx(1, rel=2e-3)
    np.testing.assert_allclose(ops.fusion_weights(values, epsilon=1e-30), [0.5, 0.5, 0, 0], rtol=1e-3)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_fast_weights_of_no_positive_value_are_zero_at_every_epsilon(dtype):
    for epsilon in (1e-30, 1e-8, 1e-4, 1e30):
        for values in ([-1.0, -2.0], [0.0, 0.0]):
            weights = ops.fusion_weights(tf.constant(values, dtype), epsilon=epsilon)
            np.testing.assert_array_equal(weights, [0.0, 0.0])


def test_a_kernel_lies_along_different_axes():
    values = tf.reshape(tf.range(12.0), [3, 4])
    along_rows = ops.normalize_kernel(values, axes=[0])
    np.testing.assert_array_equal(ops.normalize_kernel(values, axes=0), along_rows)
    np.testing.assert_allclose(tf.reduce_sum(along_rows, 0), np.ones(4), rtol=1e-6)
    for axes in ([], (0, 0), (0, -2), 2, (0, 1.5), "0", None, True):
        with pytest.raises(ValueError, match="`axes` must .* Received: axes=|`values` must have the axes"):
            ops.normalize_kernel(values, axes=axes)
    for normalization in ("sum", "softmax"):
        for size in (1e30, 2e38):
            taps = ops.normalize_kernel(tf.constant([[size, -size, size / 2]]), normalization)
            assert np.isfinite(taps).all()


def test_levels_that_many_large_factors_part_are_aligned():
    levels = [tf.fill([1, 4, 4, 1], 3.0), *[tf.fill([1, 1, 1, 1], 2.0)] * 110]
    for phase in (0.0, 0.5):
        aligned = ops.align_levels(levels, scale_factor=1024, phase=phase)
        for level in aligned[1:]:
            np.testing.assert_array_equal(level, np.full([1, 4, 4, 1], 2.0))


IN_HALVES = {
    "ContentAdaptiveDownsample2D": layers.ContentAdaptiveDownsample2D,
    "ContentAdaptiveDownsample2D hard": lambda **o: layers.ContentAdaptiveDownsample2D(hard=True, **o),
    "ContentAdaptiveDownsample2D sum": lambda **o: layers.ContentAdaptiveDownsample2D(normalization="sum", **o),
    "ChannelAdaptiveDownsample2D": layers.ChannelAdaptiveDownsample2D,
    "AntiAliasedDownsample2D": layers.AntiAliasedDownsample2D,
    "LearnableDownsample2D": layers.LearnableDownsample2D,
    "SpatialTransformerDownsample2D": layers.SpatialTransformerDownsample2D,
    "SpectralDownsample2D": layers.SpectralDownsample2D,
    "BilinearDownsample2D": lambda **o: layers.BilinearDownsample2D(antialias=True, **o),
}


@pytest.mark.parametrize("name", IN_HALVES)
def test_a_mean_of_large_halves_is_that_of_float32_rounded(name):
    images = np.random.default_rng(0).uniform(-6e4, 6e4, [1, 9, 8, 3]).astype("float16")
    images[0, :4] = 6e4
    halves, singles = IN_HALVES[name](dtype="mixed_float16"), IN_HALVES[name](dtype="float32")
    halves(images), singles(images)
    # The weights of "sum" are as large as the pixels: then a mean is as large as their square.
    moved, rng = 0.0 if "sum" in name else 0.01, np.random.default_rng(1)
    weights = [w + moved * rng.normal(size=w.shape) if w.ndim > 1 else w for w in singles.get_weights()]
    if "Content" in name:  # Features that no half holds.
        weights[0] = np.full_like(weights[0], 0.05)
    singles.set_weights(weights)
    halves.set_weights(singles.get_weights())
    expected = singles(images.astype("f")).numpy()
    expected[np.abs(expected) > 6.5e4] = np.nan  # No half holds these.
    y = halves(images).numpy()
    np.testing.assert_allclose(np.where(np.isnan(expected), np.nan, y), expected, atol=200)
    assert np.isfinite(expected).mean() > 0.5


def test_levels_whose_sum_halves_hold_are_fused():
    levels = [tf.fill([1, 4, 4, 1], tf.constant(value, tf.float16)) for value in (6e4, 6e4, -6e4)]
    layer = layers.WeightedFusion("sum", scale_factor=None, dtype="mixed_float16")
    np.testing.assert_array_equal(layer(levels), np.full([1, 4, 4, 1], levels[0][0, 0, 0, 0]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_of_weight_zero_are_not_read(value):
    features = [tf.ones([2, 3]), tf.constant([[value] * 3, [5.0] * 3])]
    weights = tf.constant([[1.0, 0.0], [0.5, 0.5]])
    for run in (routing.weighted_sum, tf.function(routing.weighted_sum, jit_compile=True, autograph=False)):
        np.testing.assert_array_equal(run(features, weights), [[1.0] * 3, [3.0] * 3])
    scores = [tf.constant([[90.0, 0.0]]), tf.constant([[-90.0, value]])]
    if not np.isnan(value):
        fused = ops.fuse_logits(scores, "attention", query=tf.constant([1.0, 0.0]))
        np.testing.assert_array_equal(fused, [[90.0, 0.0]])


def test_the_largest_logit_beside_nan_is_nan():
    for method in ("max", "logsumexp", "mean"):
        for levels in ([[1.0, 2.0], [np.nan, 1.0]], [[np.nan, 2.0], [1.0, 1.0]]):
            fused = ops.fuse_logits([tf.constant([level]) for level in levels], method).numpy()
            assert np.isnan(fused[0, 0]) and np.isfinite(fused[0, 1])
