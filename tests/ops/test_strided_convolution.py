"""The convolution of real strides: NumPy, Keras's at integer strides, and the seed's example of the derivative."""

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tests.ops.finite_differences import assert_gradients
from tfpyramid import ops
from tfpyramid._compat import keras


def normal(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


X, KERNEL = normal([2, 9, 11, 3]), normal([3, 2, 3, 4], seed=1)
SIZES = [None, (6, 9), (1, 1), (12, 3)]


@pytest.mark.parametrize("output_size", SIZES)
@pytest.mark.parametrize("strides", [(2.6, 1.7), (0.6, 3.3), (20.0, 0.5), (1.0, 2.0)])
def test_it_is_the_sum_of_the_equation(strides, output_size):
    y = ops.strided_conv2d(X, KERNEL, strides, output_size=output_size)
    expected = references.strided_conv2d(X, KERNEL, strides, output_size)
    np.testing.assert_allclose(y, expected, atol=1e-12)
    assert y.shape == expected.shape


@pytest.mark.parametrize("strides", [1, 2, 3, (1, 2), (3, 1)])
def test_at_integer_strides_it_is_the_valid_convolution_of_keras(strides):
    layer = keras.layers.Conv2D(4, (3, 2), strides, use_bias=False, dtype="float64")
    if isinstance(strides, tuple):
        # A CPU convolves with equal strides only: every sample, and then every s-th.
        layer = keras.layers.Conv2D(4, (3, 2), use_bias=False, dtype="float64")
    layer.build(X.shape)
    layer.set_weights([KERNEL])
    expected = layer(X)
    if isinstance(strides, tuple):
        expected = expected[:, :: strides[0], :: strides[1]]
    y = ops.strided_conv2d(X, KERNEL, strides)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("output_size", [None, (5, 7)])
def test_gradients_are_finite_differences(output_size):
    def op(x, kernel, strides):
        return ops.strided_conv2d(x, kernel, strides, output_size=output_size)

    assert_gradients(op, [X, KERNEL, np.array([2.61, 1.73])])


EXAMPLE = np.array([[10.0, 2, 3], [0, 1, 2], [30, 5, 2]]).reshape(1, 3, 3, 1)
EXAMPLE_KERNEL = np.array([[0.4, 0.2], [0.1, 0.9]]).reshape(2, 2, 1, 1)


@pytest.mark.parametrize("axis, position", [(1, -2.0), (0, 2.4)])
def test_the_worked_example_has_its_position_derivative_and_none_for_the_stride(axis, position):
    # y[0, 0] does not move with the strides: what is worked out there is the derivative by the position.
    moved = [0.0, 0.0]
    moved[axis] = 1e-6
    at = np.array([[[0.0, 0.0]], [moved]]).reshape(2, 1, 2) + np.array([[[0, 0], [0, 1], [1, 0], [1, 1]]] * 2)
    samples = ops.bilinear_sample(np.repeat(EXAMPLE, 2, axis=0), at)[..., 0] @ np.ravel(EXAMPLE_KERNEL)[:, None]
    np.testing.assert_allclose((samples[1] - samples[0]) / 1e-6, [position], rtol=1e-6)
    strides = tf.constant([2.4, 2.2], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(strides)
        y = ops.strided_conv2d(EXAMPLE, EXAMPLE_KERNEL, strides, output_size=(2, 2))[0, 0, 0, 0]
    np.testing.assert_array_equal(tape.gradient(y, strides), [0.0, 0.0])


def test_the_stride_derivative_is_that_of_the_position_times_the_index():
    strides = tf.constant([1.3, 0.4], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(strides)
        y = ops.strided_conv2d(EXAMPLE, EXAMPLE_KERNEL, strides, output_size=(2, 3))[0, 1, 2, 0]
    gradient = tape.gradient(y, strides).numpy()
    z = np.zeros([4, 4])
    padded = np.pad(EXAMPLE[0, :, :, 0], ((0, 2), (0, 2)))
    for i, j in np.ndindex(4, 4):
        z[i, j] = np.sum(padded[i : i + 2, j : j + 2] * EXAMPLE_KERNEL[..., 0, 0])
    # Position (1.3, 0.8) lies in the cell of z[1:3, 0:2].
    by_y = 0.2 * (z[2, 0] - z[1, 0]) + 0.8 * (z[2, 1] - z[1, 1])
    by_x = 0.7 * (z[1, 1] - z[1, 0]) + 0.3 * (z[2, 1] - z[2, 0])
    np.testing.assert_allclose(gradient, [1 * by_y, 2 * by_x], rtol=1e-6)


@pytest.mark.parametrize("stride", [1.0, 2.0])
def test_at_a_whole_position_the_derivative_is_the_one_to_the_right(stride):
    x, kernel = normal([1, 6, 6, 1], seed=4), np.ones([1, 1, 1, 1])
    strides = tf.constant([stride, stride], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(strides)
        y = tf.reduce_sum(ops.strided_conv2d(x, kernel, strides, output_size=(3, 3)))
    image, index = x[0, :, :, 0], np.arange(3)
    at = np.ix_((index * stride).astype(int), (index * stride).astype(int))
    down = np.diff(np.pad(image, ((0, 1), (0, 0))), axis=0)[at]
    right = np.diff(np.pad(image, ((0, 0), (0, 1))), axis=1)[at]
    expected = [np.sum(down * index[:, None]), np.sum(right * index)]
    np.testing.assert_allclose(tape.gradient(y, strides), expected, rtol=1e-12)
    assert np.abs(expected).min() > 0.1


def test_a_pixel_that_is_not_a_number_stays_where_it_is_read():
    x = normal([1, 9, 9, 1])
    x[0, 4, 4] = np.nan
    y = ops.strided_conv2d(x, np.ones([1, 1, 1, 1]), 1.0)
    assert np.isnan(y[0, 4, 4, 0]) and np.isnan(y).sum() == 1


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_images_keep_strides_of_full_precision(dtype):
    # Position 255 * 1.37 = 349.35; with the stride in bfloat16 it would be read at 349.66, in float16 at 349.23.
    x = tf.cast(tf.range(400) % 8, dtype)[None, None, :, None]
    y = ops.strided_conv2d(x, tf.ones([1, 1, 1, 1], dtype), tf.constant([1.0, 1.37]), output_size=(1, 256))
    assert y.dtype == dtype
    expected = np.interp(np.arange(256) * 1.37, np.arange(400), np.arange(400) % 8)
    np.testing.assert_allclose(tf.cast(y, tf.float64)[0, 0, :, 0], expected, atol=0.03)


def test_one_trace_serves_images_of_every_size_and_an_empty_batch():
    traces = []

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float64), tf.TensorSpec([2], tf.float64)])
    def run(x, strides):
        traces.append(1)
        y = ops.strided_conv2d(x, KERNEL, strides)
        return y, *tf.gradients(y, [x, strides])

    for shape in [(1, 3, 2, 3), (2, 9, 11, 3), (1, 12, 5, 3)]:
        x = normal(shape, seed=9)
        y, to_x, _ = run(x, [1.7, 2.4])
        np.testing.assert_allclose(y, references.strided_conv2d(x, KERNEL, (1.7, 2.4)), atol=1e-12)
        assert to_x.shape == shape
    y, to_x, to_strides = run(np.zeros([0, 9, 11, 3]), [1.7, 2.4])
    assert y.shape == (0, 4, 4, 4) and to_x.shape == (0, 9, 11, 3) and not np.any(to_strides)
    assert len(traces) == 1
    with pytest.raises(tf.errors.InvalidArgumentError, match="`images` must be at least as large as the kernel"):
        run(np.zeros([1, 2, 5, 3]), [1.0, 1.0])


def test_gradients_pass_a_branch_and_a_map():
    strides = tf.constant([1.7, 2.4], tf.float64)

    def objective(x):
        return tf.reduce_sum(ops.strided_conv2d(x[None], KERNEL, strides, output_size=(4, 3)) ** 2)

    @tf.function
    def run(x):
        branch = tf.cond(x[0, 0, 0, 0] < 1e9, lambda: objective(x[0]), lambda: 0.0 * objective(x[1]))
        mapped = tf.reduce_sum(tf.map_fn(objective, x))
        return *tf.gradients(branch, [x, strides]), *tf.gradients(mapped, [x, strides])

    x = tf.constant(X)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, strides])
        first, every = objective(x[0]), objective(x[0]) + objective(x[1])
    expected = [*tape.gradient(first, [x, strides]), *tape.gradient(every, [x, strides])]
    for actual, value in zip(run(x), expected, strict=True):
        np.testing.assert_allclose(actual, tf.convert_to_tensor(value), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"strides": 0}, "`strides` must be a finite number greater than 0, .* Received: strides=0"),
        ({"strides": (2, -1)}, "`strides` must be a finite number greater than 0, .* Received: strides=-1"),
        ({"strides": "2"}, "`strides` must be a finite number .* Received: strides='2'"),
        ({"strides": (1, 2, 3)}, "`strides` must be a finite number .* Received: strides="),
        ({"strides": tf.constant([1, 2])}, "`strides` must be floating point.* of dtype int32"),
        ({"strides": tf.constant([1.0])}, r"`strides` must be \(s_y, s_x\), a tensor of shape \[2\]. Received: shape"),
        (
            {"kernel": KERNEL[..., :2, :]},
            "`kernel` must be .* with as many channels as `images`, 3. Received: kernel of",
        ),
        ({"kernel": np.float32(KERNEL)}, "`kernel` must have the dtype of `images`, float64. Received: kernel of flo"),
        ({"images": X[:, :2]}, "`images` must be at least as large as the kernel .* Received: images with sides"),
        ({"output_size": 3}, r"`output_size` must be two sizes, \(height, width\). Received: output_size=3"),
        ({"output_size": (0, 3)}, "`output_size` must be an integer of at least 1, .* Received: output_size=0"),
    ],
)
def test_bad_input_is_an_error_that_names_it(arguments, message):
    arguments = {"images": X, "kernel": KERNEL, "strides": 2.0, **arguments}
    with pytest.raises(ValueError, match=message):
        ops.strided_conv2d(**arguments)
