"""Strided convolution with a dense kernel against SciPy, OpenCV and Keras."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tfpyramid import ops
from tfpyramid._compat import keras

BORDERS = ("reflect", "symmetric", "edge", "constant", "wrap")


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("strides", [1, 2, 3])
def test_it_is_scipys_correlation_at_every_nth_sample(strides, border):
    for rows, columns in [(3, 3), (4, 5), (1, 2), (7, 1)]:
        kernel = normal([rows, columns, 3, 2], seed=1)
        for h, w in [(7, 6), (5, 8), (2, 3), (1, 1)]:
            x = normal([2, h, w, 3], seed=2)
            expected = references.conv_down(x, kernel, strides, border)
            actual = ops.conv_down(x, kernel, strides, border=border)
            assert actual.shape == [2, -(-h // strides), -(-w // strides), 2]
            np.testing.assert_allclose(actual, expected, atol=1e-12)


def test_the_binomial_kernel_of_each_channel_is_opencvs_pyr_down():
    x = normal([9, 12, 3], seed=3)
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])[:, :, None, None] / 256 * np.eye(3)
    np.testing.assert_allclose(ops.conv_down(x[None], kernel)[0], cv2.pyrDown(x), atol=1e-12)


def test_with_a_constant_border_and_strides_of_one_it_is_keras_convolution():
    x, kernel = normal([2, 6, 5, 3], seed=4).astype("f"), normal([4, 3, 3, 2], seed=5).astype("f")
    layer = keras.layers.Conv2D(2, (4, 3), padding="same", use_bias=False)
    layer.build(x.shape)
    layer.set_weights([kernel])
    np.testing.assert_allclose(ops.conv_down(x, kernel, 1, border="constant"), layer(x), atol=1e-5)


@pytest.mark.parametrize("dtype, rounding", [(tf.float16, 2.0**-11), (tf.bfloat16, 2.0**-8)])
def test_half_precision_is_rounded_once(dtype, rounding):
    x, kernel = tf.cast(normal([2, 8, 7, 3], seed=6), dtype), tf.cast(normal([3, 3, 3, 2], seed=7), dtype)
    y = ops.conv_down(x, kernel)
    assert y.dtype == dtype
    exact = [tf.cast(values, tf.float64).numpy() for values in (x, kernel)]
    expected = references.conv_down(*exact, 2, "reflect")
    np.testing.assert_allclose(tf.cast(y, tf.float64), expected, rtol=1.01 * rounding, atol=5e-6)


@pytest.mark.parametrize("border", ["reflect", "constant"])
@pytest.mark.parametrize("strides", [1, 2, 3])
def test_an_empty_batch_and_its_gradients_have_the_right_shape(strides, border):
    x, kernel = tf.zeros([0, 7, 5, 3]), tf.ones([3, 4, 3, 2])
    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        y = ops.conv_down(x, kernel, strides, border=border)
    to_x, to_kernel = tape.gradient(y, [x, kernel])
    assert y.shape == (0, -(-7 // strides), -(-5 // strides), 2) and to_x.shape == x.shape
    np.testing.assert_array_equal(to_kernel, np.zeros([3, 4, 3, 2]))


@pytest.mark.parametrize("border", ["reflect", "constant"])
@pytest.mark.parametrize("taps", [(4, 3), (4, 4), (5, 2)])
@pytest.mark.parametrize("strides", [1, 2, 3])
def test_one_trace_serves_images_of_every_size(strides, taps, border):
    traces = []
    kernel = normal([*taps, 3, 2], seed=8)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float64)])
    def run(x):
        traces.append(1)
        return ops.conv_down(x, kernel, strides, border=border)

    for shape in [(1, 1, 1, 3), (2, 2, 5, 3), (1, 9, 8, 3)]:
        x = normal(shape, seed=9)
        np.testing.assert_allclose(run(x), references.conv_down(x, kernel, strides, border), atol=1e-12)
    assert run(np.zeros([0, 5, 4, 3])).shape == (0, -(-5 // strides), -(-4 // strides), 2)
    assert len(traces) == 1


def test_it_and_its_gradients_compile_under_xla():
    x, kernel, upstream = normal([2, 5, 4, 2], seed=10), normal([3, 4, 2, 3], seed=11), normal([2, 3, 2, 3], seed=12)

    @tf.function(jit_compile=True, autograph=False)
    def run(x, kernel):
        y = ops.conv_down(x, kernel)
        return y, *tf.gradients(y, [x, kernel], upstream)

    y, to_x, to_kernel = run(tf.constant(x), tf.constant(kernel))
    np.testing.assert_allclose(y, references.conv_down(x, kernel, 2, "reflect"), atol=1e-12)
    # Both are linear: a gradient is the sum of upstream times the response to a unit impulse.
    for gradient, at, respond in [
        (to_x, x, lambda unit: references.conv_down(unit, kernel, 2, "reflect")),
        (to_kernel, kernel, lambda unit: references.conv_down(x, unit, 2, "reflect")),
    ]:
        units = np.eye(at.size).reshape([-1, *at.shape])
        np.testing.assert_allclose(np.ravel(gradient), [np.vdot(respond(unit), upstream) for unit in units], atol=1e-11)


X = np.ones([1, 4, 4, 2])


@pytest.mark.parametrize(
    "kernel",
    [
        np.ones([3, 3, 3, 1]),
        np.ones([3, 3]),
        np.ones([3, 3, 2, 1], np.float32),
        np.ones([3, 3, 2, 1], np.int32),
        np.ones([0, 3, 2, 1]),
    ],
    ids=["channels", "rank", "dtype", "integers", "no rows"],
)
def test_a_kernel_that_does_not_fit_the_images_is_an_error(kernel):
    with pytest.raises(ValueError, match="`kernel` must (be|have) .* Received: kernel"):
        ops.conv_down(X, kernel)


@pytest.mark.parametrize("strides", [0, -1, 2.0, "2", None, True])
def test_strides_that_are_not_a_count_are_an_error(strides):
    with pytest.raises(ValueError, match="`strides` must be an integer of at least 1, .* Received: strides="):
        ops.conv_down(X, np.ones([3, 3, 2, 1]), strides)
