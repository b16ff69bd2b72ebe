"""The operations under the downsamplers: kernels for each channel, cells, windows, normalised taps."""

import cv2
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tests import references
from tests.graph_size import count_operations
from tests.ops.finite_differences import assert_gradients
from tfpyramid import ops
from tfpyramid.ops.pooling import max_filter
from tfpyramid.ops.resize import area_resize

BORDERS = ["reflect", "symmetric", "edge", "constant", "wrap"]
HALVES = [tf.float16, tf.bfloat16]


def normal(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("size, strides", [((3, 4), 1), ((5, 5), 2), ((2, 3), 3)])
def test_each_channel_is_convolved_with_its_own_kernel(size, strides, border):
    x, kernel = normal([2, 9, 7, 3]), normal([*size, 3, 1], seed=1)
    y = ops.depthwise_down(x, kernel, strides, border=border)
    for c in range(3):
        expected = references.conv_down(x[..., c : c + 1], kernel[:, :, c : c + 1], strides, border)
        np.testing.assert_allclose(y[..., c : c + 1], expected, atol=1e-12)


def test_the_gradients_of_a_kernel_for_each_channel_are_finite_differences():
    assert_gradients(ops.depthwise_down, [normal([2, 5, 6, 2]), normal([3, 3, 2, 1], seed=1)])


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_is_summed_at_full_precision_and_rounded_once(dtype):
    x, kernel, weights = (
        tf.cast(normal([1, 9, 9, 2]), dtype),
        normal([5, 5, 2, 1]).astype(np.float32),
        normal([1, 5, 5, 9]),
    )
    weights = tf.cast(weights, dtype)
    pairs = [
        (ops.depthwise_down(x, kernel), ops.depthwise_down(tf.cast(x, tf.float32), kernel)),
        (ops.window_mean(x, weights), ops.window_mean(tf.cast(x, tf.float32), tf.cast(weights, tf.float32))),
        (ops.bilinear_down(x, 2.5, antialias=True), ops.bilinear_down(tf.cast(x, tf.float32), 2.5, antialias=True)),
    ]
    for y, exact in pairs:
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, tf.cast(exact, dtype))


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("size, window, strides", [((8, 10), 4, 2), ((7, 5), 3, 2), ((9, 8), 2, 3), ((6, 5), 6, 1)])
def test_a_window_is_combined_with_the_weights_of_its_place(size, window, strides, border):
    x = normal([2, *size, 3])
    weights = normal([2, *(-(-n // strides) for n in size), window**2], seed=1)
    y = ops.window_mean(x, weights, strides, border=border)
    np.testing.assert_allclose(y, references.window_mean(x, weights, strides, border), atol=1e-12)


def test_weights_that_are_everywhere_equal_are_a_kernel():
    x, kernel = normal([2, 7, 9, 3]), normal([4, 4])
    weights = np.broadcast_to(np.ravel(kernel), [2, 4, 5, 16])
    expected = ops.depthwise_down(x, np.broadcast_to(kernel[:, :, None, None], [4, 4, 3, 1]))
    np.testing.assert_allclose(ops.window_mean(x, weights), expected, atol=1e-12)


def test_window_means_with_their_gradient_are_few_operations():
    def gradients(x, weights):
        y = ops.window_mean(x, weights)
        return y, tf.gradients(y, [x, weights])

    for sides, most in (((8, 8), 230), ((None, None), 600)):
        arguments = tf.TensorSpec([1, *sides, 2]), tf.TensorSpec([1, *(n and n // 2 for n in sides), 16])
        assert count_operations(gradients, *arguments) <= most


@pytest.mark.parametrize("window, strides", [(4, 2), (3, 2), (2, 3)])
def test_window_means_have_second_derivatives(window, strides):
    def derivative(x, weights):
        with tf.GradientTape() as tape:
            tape.watch([x, weights])
            y = tf.reduce_sum(ops.window_mean(x, weights, strides) ** 3)
        return tf.concat([tf.reshape(g, [-1]) for g in tape.gradient(y, [x, weights])], 0)

    shape = [1, *(-(-n // strides) for n in (5, 4)), window**2]
    assert_gradients(derivative, [normal([1, 5, 4, 2]), normal(shape, seed=1)])


def test_the_gradients_of_window_means_are_finite_differences():
    assert_gradients(ops.window_mean, [normal([2, 5, 4, 2]), normal([2, 3, 2, 9], seed=1)])


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("scale_factor", [2.0, 1.5, 2.7, 3.0])
@pytest.mark.parametrize("size", [(12, 9), (7, 31), (1, 5), (1, 1)])
def test_cells_are_those_of_tensorflow(size, scale_factor, antialias):
    x = normal([2, *size, 3]).astype(np.float32)
    y = ops.bilinear_down(x, scale_factor, antialias=antialias)
    expected = tf.image.resize(x, [int(np.ceil(n / scale_factor)) for n in size], antialias=antialias)
    # TensorFlow rounds positions to float32.
    np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.mark.parametrize("size", [(12, 9), (7, 31)])
def test_cells_are_those_of_opencv(size):
    x = normal([*size, 3]).astype(np.float32)
    y = ops.bilinear_down(x[None], 2.0)[0]
    expected = cv2.resize(x, (y.shape[1], y.shape[0]), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(y, expected, atol=2e-5)


@pytest.mark.parametrize("size, output", [((12, 9), (4, 4)), ((7, 31), (3, 5)), ((8, 8), (4, 2))])
def test_areas_are_those_of_opencv_or_of_repeated_samples(size, output):
    x = normal([2, *size, 3])
    y = area_resize(tf.constant(x), output)
    np.testing.assert_allclose(y, references.area_resize(x, output), atol=1e-12)
    for image, small in zip(x, y):
        expected = cv2.resize(image, output[::-1], interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(small, expected, atol=1e-6)


def test_areas_of_an_image_of_fewer_samples_repeat_them():
    x = normal([1, 1, 2, 1])
    np.testing.assert_allclose(area_resize(tf.constant(x), (2, 4)), np.repeat(np.repeat(x, 2, 1), 2, 2))


@pytest.mark.parametrize("size", [(2, 2), (3, 1)])
def test_a_maximum_keeps_the_size_and_leaves_out_what_is_beyond_the_border(size):
    x = -np.abs(normal([2, 5, 4, 2]))
    y = max_filter(tf.constant(x), size)
    (rows, columns), (up, left) = size, ((n - 1) // 2 for n in size)
    for i, j in np.ndindex(5, 4):
        patch = x[:, max(i - up, 0) : i - up + rows, max(j - left, 0) : j - left + columns]
        np.testing.assert_array_equal(y[:, i, j], patch.max(axis=(1, 2)))


def test_taps_of_sum_one_are_the_nearest_to_the_values():
    values = normal([3, 4, 2, 1])
    taps = ops.normalize_kernel(values, "sum").numpy()
    np.testing.assert_allclose(taps.sum(axis=(0, 1)), 1, atol=1e-12)
    # The nearest point of a plane differs from the point by a multiple of the plane's normal, the vector of ones.
    difference = taps - values
    np.testing.assert_allclose(difference, np.broadcast_to(difference[:1, :1], difference.shape), atol=1e-12)
    opposites = np.array([[1.0, -1.0]])
    np.testing.assert_allclose(ops.normalize_kernel(opposites, "sum"), [[1.5, -0.5]])


def test_softmax_taps_are_positive_whatever_the_values():
    values = normal([3, 4, 2, 1]) * 1000
    taps = ops.normalize_kernel(values, "softmax").numpy()
    np.testing.assert_allclose(taps, scipy.special.softmax(values, axis=(0, 1)), atol=1e-12)
    np.testing.assert_array_equal(ops.normalize_kernel(values, None), values)


@pytest.mark.parametrize("normalization", ["sum", "softmax"])
def test_taps_may_lie_along_any_axes(normalization):
    values = normal([3, 4, 2, 1])
    moved = ops.normalize_kernel(np.moveaxis(values, 1, -1), normalization, axes=(0, -1))
    np.testing.assert_allclose(np.moveaxis(moved, -1, 1), ops.normalize_kernel(values, normalization), atol=1e-12)


@pytest.mark.parametrize("normalization", ["sum", "softmax"])
def test_the_gradients_of_normalised_taps_are_finite_differences(normalization):
    assert_gradients(lambda v: ops.normalize_kernel(v, normalization), [normal([3, 2, 2, 1])])


X = np.ones([1, 4, 4, 2])


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: ops.depthwise_down(X, np.ones([3, 3, 1, 1])),
            "`kernel` must be .* as many channels as `images`, 2. Received: kernel of",
        ),
        (lambda: ops.depthwise_down(X, np.ones([3, 3, 2, 1], int)), "`kernel` must be floating point"),
        (lambda: ops.depthwise_down(X, np.ones([3, 3, 2, 1]), 0), "`strides` must be .* Received: strides=0"),
        (lambda: ops.depthwise_down(X, np.ones([3, 3, 2, 1]), border="zero"), "`border` must be one of"),
        (
            lambda: ops.window_mean(X, np.ones([1, 2, 2, 5])),
            r"`weights` must be .* window\^2.* Received: weights of shape",
        ),
        (
            lambda: ops.window_mean(X, np.ones([1, 2, 2, 4], np.float32)),
            "`weights` must be .* for `strides` s, and have the dtype of `images`, float64",
        ),
        (
            lambda: ops.window_mean(X, np.ones([1, 2, 3, 4])),
            r"`weights` must be .* Received: weights of shape \(1, 2, 3, 4\)",
        ),
        (
            lambda: ops.window_mean(X, np.ones([2, 2, 2, 4])),
            r"`weights` must be .* Received: weights of shape \(2, 2, 2, 4\)",
        ),
        (lambda: ops.window_mean(X, np.ones([1, 2, 2, 4]), 2.0), "`strides` must be an integer"),
        (lambda: ops.bilinear_down(X, 1.0), "`scale_factor` must be a finite number greater than 1"),
        (
            lambda: ops.bilinear_down(X, 2.0, antialias="yes"),
            "`antialias` must be True or False. Received: antialias='yes'",
        ),
        (
            lambda: ops.normalize_kernel(np.ones([3])),
            r"`axes` must be one or more axes of `values`, .* Received: axes=\(0, 1\), values of shape \(3,\)",
        ),
        (
            lambda: ops.normalize_kernel(np.ones([3, 0])),
            "`values` must have a known number of taps, at least 1, .* Received: values of",
        ),
        (lambda: ops.normalize_kernel(np.ones([3, 3], int)), "`values` must be floating point"),
        (
            lambda: ops.normalize_kernel(np.ones([3, 3]), "l2"),
            "`normalization` must be one of 'sum', 'softmax', None. Rec",
        ),
        (
            lambda: ops.normalize_kernel(np.ones([3, 3]), ""),
            "`normalization` must be one of 'sum', 'softmax', None. Rec",
        ),
    ],
)
def test_bad_input_is_an_error_that_names_it(call, message):
    with pytest.raises(ValueError, match=message):
        call()
