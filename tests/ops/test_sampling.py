"""Sampling at points, and affine grids: SciPy, OpenCV and TensorFlow's own resize."""

import cv2
import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from tests import references
from tests.ops.finite_differences import assert_gradients
from tfpyramid import ops

# SciPy's names of the same rules. Its two rules of constants do not fade to zero within a pixel; OpenCV's does.
SCIPY = {"reflect": "mirror", "symmetric": "reflect", "edge": "nearest", "wrap": "grid-wrap"}


def normal(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def points_of(shape, size, seed=1):
    """Return points over the image and as far beyond it, some of them at whole pixels."""
    points = np.random.default_rng(seed).uniform(-1, 2, size=[*shape, 2]) * size
    points[:, :3] = np.round(points[:, :3])
    return points


@pytest.mark.parametrize("border", SCIPY)
@pytest.mark.parametrize("size", [(7, 10), (2, 3), (1, 1), (1, 6)])
def test_samples_are_those_of_scipy(border, size):
    x, points = normal([2, *size, 3]), points_of([2, 40], size)
    y = ops.bilinear_sample(x, points, border=border)
    for b, c in np.ndindex(2, 3):
        expected = scipy.ndimage.map_coordinates(x[b, ..., c], points[b].T, order=1, mode=SCIPY[border])
        np.testing.assert_allclose(y[b, :, c], expected, atol=1e-10)


@pytest.mark.parametrize("size", [(7, 10), (1, 1), (1, 6)])
def test_samples_fade_to_zero_within_a_pixel_as_in_opencv(size):
    x, points = normal([1, *size, 1]).astype(np.float32), points_of([1, 200], size).astype(np.float32)
    # OpenCV reads at multiples of 1/32 of a pixel.
    points = np.round(points * 32) / 32
    y = ops.bilinear_sample(x, points)[0, :, 0]
    maps = points[0, :, None, 1], points[0, :, None, 0]
    expected = cv2.remap(x[0, ..., 0], *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    np.testing.assert_allclose(y, expected[:, 0], atol=1e-5)
    beyond = [[-1.0, 0.0], [0.0, size[1]], [-1e30, 0.0], [0.0, np.inf]]
    assert not np.any(ops.bilinear_sample(x, np.float32([beyond])))


def test_points_may_have_any_number_of_axes():
    x, points = normal([2, 5, 4, 3]), points_of([2, 2, 3, 4], (5, 4))
    y = ops.bilinear_sample(x, points)
    assert y.shape == (2, 2, 3, 4, 3)
    np.testing.assert_allclose(y, references.bilinear_sample(x, points), atol=1e-12)
    assert ops.bilinear_sample(x, points[:, 0, 0, 0]).shape == (2, 3)


@pytest.mark.parametrize("border", ["constant", *SCIPY])
def test_gradients_are_finite_differences(border):
    points = points_of([2, 30], (5, 4))[:, 3:]
    assert_gradients(lambda x, p: ops.bilinear_sample(x, p, border=border), [normal([2, 5, 4, 2]), points])


def test_at_a_whole_position_the_derivative_is_the_one_to_the_right():
    x, points = normal([1, 5, 5, 1]), tf.constant([[[2.0, 3.0]]], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(points)
        y = ops.bilinear_sample(x, points)
    expected = [x[0, 3, 3, 0] - x[0, 2, 3, 0], x[0, 2, 4, 0] - x[0, 2, 3, 0]]
    np.testing.assert_allclose(tape.gradient(y, points)[0, 0], expected)


@pytest.mark.parametrize("border", ["constant", *SCIPY])
def test_what_is_not_a_number_stays_where_it_is(border):
    x = normal([1, 5, 5, 1])
    x[0, 2, 3] = np.nan
    points = np.array([[[2.0, 3.0], [2.0, 2.0], [1.0, 3.0], [1.5, 2.5], [np.nan, 1.0], [0.5, 0.5]]])
    y = ops.bilinear_sample(x, points, border=border)[0, :, 0]
    np.testing.assert_array_equal(np.isnan(y), [True, False, False, True, True, False])


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_images_are_read_at_full_precision_and_rounded_once(dtype):
    x = tf.cast(normal([1, 9, 9, 2]), dtype)
    points = np.float32(points_of([1, 30], (9, 9)))
    y = ops.bilinear_sample(x, points)
    exact = ops.bilinear_sample(tf.cast(x, tf.float32), points)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, tf.cast(exact, dtype))


@pytest.mark.parametrize("image_size, output_size", [((9, 12), (4, 5)), ((5, 5), (5, 5)), ((1, 7), (3, 2))])
def test_the_identity_is_the_resize_of_tensorflow(image_size, output_size):
    x = normal([2, *image_size, 3]).astype(np.float32)
    points = ops.affine_grid(tf.eye(2, 3, batch_shape=[2]), image_size, output_size)
    y = ops.bilinear_sample(x, points, border="edge")
    np.testing.assert_allclose(y, tf.image.resize(x, output_size), atol=1e-5)


def test_the_grid_is_that_of_the_equation_with_rows_first():
    matrices = normal([3, 2, 3])
    points = ops.affine_grid(matrices, (7, 11), (4, 5))
    np.testing.assert_allclose(points, references.affine_grid(matrices, (7, 11), (4, 5)), atol=1e-12)
    # A window half as large, its centre a quarter of the height below that of the image.
    crop = ops.affine_grid(np.array([[[0.5, 0, 0.5], [0, 0.5, 0]]]), (8, 8), (4, 4))
    np.testing.assert_allclose(crop[0, :, 0, 0], [4, 5, 6, 7])
    np.testing.assert_allclose(crop[0, 0, :, 1], [2, 3, 4, 5])


def test_sizes_may_be_tensors_and_one_trace_serves_them():
    traces = []

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 2]), tf.TensorSpec([2], tf.int32)])
    def run(x, size):
        traces.append(1)
        matrices = tf.eye(2, 3, batch_shape=[tf.shape(x)[0]])
        return ops.bilinear_sample(x, ops.affine_grid(matrices, tf.shape(x)[1:3], size))

    for shape in [(1, 9, 8, 2), (3, 4, 4, 2), (0, 5, 5, 2)]:
        x = normal(shape).astype(np.float32)
        assert run(x, [4, 3]).shape == (shape[0], 4, 3, 2)
    assert len(traces) == 1


X, POINTS = normal([2, 5, 4, 3]), np.zeros([2, 6, 2])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: ops.bilinear_sample(X[0], POINTS), "`images` must have 4 axes"),
        (lambda: ops.bilinear_sample(X, POINTS[..., :1]), r"`points` must be \[batch, ..., 2\].* of shape \(2, 6, 1\)"),
        (lambda: ops.bilinear_sample(X, np.zeros([2])), r"`points` must be \[batch, ..., 2\].* of shape \(2,\)"),
        (lambda: ops.bilinear_sample(X, POINTS.astype(int)), "`points` must be float32 or float64.* of int64"),
        (lambda: ops.bilinear_sample(X, POINTS.astype(np.float16)), "`points` must be float32 or float64.* of float16"),
        (lambda: ops.bilinear_sample(X, POINTS, border="zeros"), "`border` must be one of .* Received: border='zeros'"),
        (lambda: ops.affine_grid(np.zeros([2, 6]), (4, 4), (2, 2)), r"`matrices` must be of shape \[batch, 2, 3\]"),
        (
            lambda: ops.affine_grid(np.zeros([2, 2, 3]), (4, 0), (2, 2)),
            "`image_size` must be .* Received: image_size=0",
        ),
        (lambda: ops.affine_grid(np.zeros([2, 2, 3]), (4, 4), 2), "`output_size` must be .* Received: output_size=2"),
    ],
)
def test_bad_input_is_an_error_that_names_it(call, message):
    with pytest.raises(ValueError, match=message):
        call()
