"""Taps: the named families, what a kernel argument stands for, and what it may not be."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import tensorflow as tf

from tfpyramid import ops
from tfpyramid._compat import KERAS_3, keras
from tfpyramid.ops import kernels

IMAGES = np.ones([1, 4, 4, 1])
WITH_KERNEL = {
    "pyr_down": lambda kernel: ops.pyr_down(IMAGES, kernel=kernel),
    "pyr_up": lambda kernel: ops.pyr_up(IMAGES, (8, 8), kernel=kernel),
    "gaussian_pyramid": lambda kernel: ops.gaussian_pyramid(IMAGES, 2, kernel=kernel),
    "laplacian_pyramid": lambda kernel: ops.laplacian_pyramid(IMAGES, 2, kernel=kernel),
    "reconstruct": lambda kernel: ops.reconstruct([IMAGES, IMAGES[:, :2, :2]], kernel=kernel),
    "gaussian_pyramid of one level": lambda kernel: ops.gaussian_pyramid(IMAGES, 1, kernel=kernel),
    "laplacian_pyramid of one level": lambda kernel: ops.laplacian_pyramid(IMAGES, 1, kernel=kernel),
    "reconstruct of one level": lambda kernel: ops.reconstruct([IMAGES], kernel=kernel),
}


def test_binomial_is_the_average_of_two_neighbours_repeated():
    expected = np.ones(1)
    for size in range(1, 12):
        taps = ops.binomial(size)
        assert taps.dtype == np.float64
        np.testing.assert_allclose(taps, expected, rtol=1e-14)
        expected = np.convolve(expected, [0.5, 0.5])


def test_binomial_of_five_is_burt_and_adelsons():
    np.testing.assert_array_equal(ops.binomial(5), np.array([1, 4, 6, 4, 1]) / 16)


@pytest.mark.parametrize("sigma", [0.1, 0.3, 2 / 3, 1.0, 1.7, 4.25])
def test_gaussian_is_scipys_impulse_response(sigma):
    impulse = np.zeros(2 * int(6 * sigma + 2) + 1)
    impulse[len(impulse) // 2] = 1
    response = scipy.ndimage.gaussian_filter1d(impulse, sigma, truncate=4.0, mode="constant")
    reach = int(4 * sigma + 0.5)
    centre = len(impulse) // 2
    taps = ops.gaussian(sigma)
    assert taps.dtype == np.float64 and taps.shape == (2 * reach + 1,)
    np.testing.assert_allclose(taps, response[centre - reach : centre + reach + 1], rtol=1e-12)
    np.testing.assert_array_equal(np.delete(response, np.arange(centre - reach, centre + reach + 1)), 0)


@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_gaussian_of_a_size_is_scipys_window(size):
    for sigma in (0.4, 1.0, 3.0):
        window = scipy.signal.windows.gaussian(size, sigma)
        np.testing.assert_allclose(ops.gaussian(sigma, size), window / window.sum(), rtol=1e-13)


def test_box_is_the_mean():
    for size in range(1, 7):
        taps = ops.box(size)
        assert taps.dtype == np.float64
        np.testing.assert_allclose(taps, np.ones(size) / size, rtol=1e-15)


@pytest.mark.parametrize("call", [ops.binomial, ops.box, lambda size: ops.gaussian(1.0, size)])
def test_a_size_that_is_not_a_count_is_an_error(call):
    for size in (0, -1, 2.5, "3", True):
        with pytest.raises(ValueError, match="`size` must be an integer of at least 1.* Received: size="):
            call(size)


@pytest.mark.parametrize("sigma", [0, -1.0, np.nan, np.inf, "wide", None])
def test_a_sigma_that_is_not_positive_is_an_error(sigma):
    with pytest.raises(ValueError, match=r"`sigma` must be a finite number greater than 0.* Received: sigma="):
        ops.gaussian(sigma)


@pytest.mark.parametrize(
    "kernel, factor, expected",
    [
        (None, 2.0, [1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16]),
        ("binomial", 3.0, [1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16]),
        ("box", 2.0, [1 / 2, 1 / 2]),
        ("box", 3.0, [1 / 3, 1 / 3, 1 / 3]),
        ("box", 1.5, [1 / 2, 1 / 2]),
        ("box", 3.2, [1 / 4, 1 / 4, 1 / 4, 1 / 4]),
        ("bilinear", 3.0, [1 / 2, 1 / 2]),
        ([3, 1], 2.0, [3 / 4, 1 / 4]),
        ((-1.0, 4.0, -1.0), 2.0, [-1 / 2, 2, -1 / 2]),
        (np.array([2, 2, 4], np.int64), 2.0, [1 / 4, 1 / 4, 1 / 2]),
        ([-1.0], 2.0, [1]),
    ],
)
def test_a_kernel_argument_stands_for_taps_of_sum_one(kernel, factor, expected):
    for dtype, tolerance in [(tf.float32, 1e-7), (tf.float64, 1e-14)]:
        taps = kernels.taps_of(kernel, factor, dtype)
        assert taps.dtype == dtype
        np.testing.assert_allclose(taps, expected, rtol=tolerance)


@pytest.mark.parametrize("kernel, factor", [(None, 1.5), (None, 3.0), ("gaussian", 2.0), (None, 2**0.5)])
def test_the_gaussian_kernel_has_a_third_of_the_factor_as_sigma(kernel, factor):
    reach = int(4 * factor / 3 + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (factor / 3)) ** 2)
    np.testing.assert_allclose(kernels.taps_of(kernel, factor, tf.float64), weights / weights.sum(), rtol=1e-13)


@pytest.mark.parametrize("make", [tf.constant, tf.Variable])
@pytest.mark.parametrize("dtype", [tf.float16, tf.float32, tf.float64])
def test_a_tensor_kernel_is_divided_by_its_sum_and_differentiable(make, dtype):
    values = np.array([1.0, 2.0, -0.5, 1.5])
    upstream = np.array([0.3, -1.0, 2.0, 0.7])
    kernel = make(values, dtype=dtype)
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        taps = kernels.taps_of(kernel, 2.0, tf.float64)
    gradient = tape.gradient(taps, kernel, output_gradients=tf.constant(upstream))
    total = values.sum()
    tolerance = 1e-3 if dtype == tf.float16 else 1e-6
    np.testing.assert_allclose(taps, values / total, rtol=1e-14)
    np.testing.assert_allclose(gradient, upstream / total - upstream @ values / total**2, rtol=tolerance)


@pytest.mark.parametrize("op", WITH_KERNEL)
def test_an_unknown_kernel_name_is_an_error(op):
    rule = r"`kernel` must be one of 'binomial', 'gaussian', 'box', 'bilinear'\. Received: kernel='lanczos'"
    with pytest.raises(ValueError, match=rule):
        WITH_KERNEL[op]("lanczos")


@pytest.mark.parametrize(
    "kernel, rule",
    [
        ([], r"must be a vector of at least one tap\. Received: kernel of shape \(0,\)"),
        ([[1.0, 2.0], [2.0, 1.0]], r"must be a vector of at least one tap\. Received: kernel of shape \(2, 2\)"),
        (1.0, r"must be a vector of at least one tap\. Received: kernel of shape \(\)"),
        ([1.0, -1.0], r"must be finite taps with a sum other than zero.* Received: kernel=\[1\.0, -1\.0\]"),
        ([0.1, 0.2, -0.3], r"must be finite taps with a sum other than zero.* Received: kernel="),
        ([0.0, 0.0], r"must be finite taps with a sum other than zero.* Received: kernel="),
        ([1.0, np.nan], r"must be finite taps with a sum other than zero.* Received: kernel=\[1\.0, nan\]"),
        ([1.0, np.inf], r"must be finite taps with a sum other than zero.* Received: kernel=\[1\.0, inf\]"),
        (["a", "b"], r"must be None, one of 'binomial', .* or a vector of taps\. Received: kernel=\['a', 'b'\]"),
        ([[1.0], [1.0, 2.0]], r"must be None, one of 'binomial', .* or a vector of taps\. Received: kernel="),
        (tf.ones([2, 2]), r"must be a vector of at least one tap\. Received: kernel of shape \(2, 2\)"),
        (tf.ones([0]), r"must be a vector of at least one tap\. Received: kernel of shape \(0,\)"),
        (tf.constant([1, 2]), r"must be floating point.* Received: kernel of dtype int32"),
    ],
    ids=str,
)
def test_taps_that_cannot_be_divided_by_their_sum_are_an_error(kernel, rule):
    for op in ("pyr_down", "pyr_up", "gaussian_pyramid", "laplacian_pyramid", "reconstruct"):
        with pytest.raises(ValueError, match=f"`kernel` {rule}"):
            WITH_KERNEL[op](kernel)


def test_a_keras_variable_is_a_kernel_that_learns():
    layer = keras.layers.BatchNormalization(center=False)
    layer.build((None, 3))
    (gamma,) = layer.trainable_weights
    x = tf.constant(np.random.default_rng(5).standard_normal([1, 8, 8, 1]), tf.float32)
    with tf.GradientTape() as tape:
        objective = tf.reduce_sum(tf.square(ops.pyr_down(x, kernel=gamma)))
    assert np.any(tape.gradient(objective, gamma.value if KERAS_3 else gamma))
