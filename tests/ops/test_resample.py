"""One step down and up against OpenCV, SciPy and the matrices of references.py; plain magnification."""

import cv2
import numpy as np
import pytest
import scipy.ndimage
import skimage.filters
import tensorflow as tf

from tests import references
from tfpyramid import ops

BORDERS = ("reflect", "symmetric", "edge", "constant", "wrap")
HALVES = {tf.float16: 2.0**-11, tf.bfloat16: 2.0**-8}  # Largest relative error of one rounding.


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def level_size(size, factor):
    return tuple(references.level_side(n, factor) for n in size)


def step_matrices(size, step):
    """Return the matrices on [height * width] vectors of one step down from `size` and of one step up to it."""
    factor, kernel, border = step["scale_factor"], step["kernel"], step["border"]
    taps = references.taps_of(kernel, factor)
    down, up = [], []
    for n in size:
        units = np.eye(n), np.eye(int(np.ceil(n / factor)))
        down.append(np.stack([references.down_line(unit, taps, factor, border) for unit in units[0]], 1))
        up.append(np.stack([references.up_line(unit, n, taps, factor, border) for unit in units[1]], 1))
    return np.kron(*down), np.kron(*up)


def matrix_of(op, size):
    """Return the matrix of an op, column by column: an image for each unit impulse."""
    units = np.eye(size[0] * size[1]).reshape([-1, *size, 1])
    return np.reshape(op(tf.constant(units)), [len(units), -1]).T


def gradient_matrix_of(op, size, outputs):
    """Return the matrix of an op's gradient, column by column: an upstream gradient for each unit impulse."""
    x = tf.constant(normal([outputs, *size, 1]))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = op(x)
    gradient = tape.gradient(y, x, output_gradients=tf.reshape(tf.eye(outputs, dtype=y.dtype), y.shape))
    return np.reshape(gradient, [outputs, -1]).T


@pytest.mark.parametrize(
    "rows",
    [[[6, 8, 2, 0], [1, 4, 7, 4]], [[6, 8, 2, 0, 0], [1, 4, 6, 4, 1], [0, 0, 2, 8, 6]], [[8, 8]], [[16]]],
    ids=["4", "5", "2", "1"],
)
def test_pyr_down_has_opencvs_weights(rows):
    n = len(rows[0])
    for size in [(n, 1), (1, n)]:
        np.testing.assert_array_equal(16 * matrix_of(ops.pyr_down, size), rows)


def test_pyr_up_has_opencvs_weights_on_even_outputs():
    rows = [[6, 2, 0, 0], [4, 4, 0, 0], [1, 6, 1, 0], [0, 4, 4, 0]]
    rows += [[0, 1, 6, 1], [0, 0, 4, 4], [0, 0, 1, 7], [0, 0, 0, 8]]
    np.testing.assert_array_equal(8 * matrix_of(lambda x: ops.pyr_up(x, (8, 1)), (4, 1)), rows)
    np.testing.assert_array_equal(8 * matrix_of(lambda x: ops.pyr_up(x, (1, 8)), (1, 4)), rows)


def test_pyr_up_mirrors_truly_on_odd_outputs_where_opencv_does_not():
    opencv = 8 * np.stack([cv2.pyrUp(unit[:, None], dstsize=(1, 7)).ravel() for unit in np.eye(4)], 1)
    ours = 8 * matrix_of(lambda x: ops.pyr_up(x, (7, 1)), (4, 1))
    np.testing.assert_array_equal(ours[:-1], opencv[:-1])
    np.testing.assert_array_equal(opencv[-1], [0, 0, 1, 7])
    np.testing.assert_array_equal(ours[-1], [0, 0, 2, 6])
    np.testing.assert_array_equal(ours, ours[::-1, ::-1])


def test_pyr_up_equals_opencv_on_even_outputs_of_random_size():
    rng = np.random.default_rng(1)
    for _ in range(40):
        h, w, channels = rng.integers(1, 36), rng.integers(1, 36), rng.integers(1, 5)
        x = rng.normal(size=[h, w, channels]).astype("f")
        expected = cv2.pyrUp(x, dstsize=(2 * int(w), 2 * int(h))).reshape(2 * h, 2 * w, channels)
        np.testing.assert_allclose(ops.pyr_up(x[None], (2 * h, 2 * w))[0], expected, atol=5e-6)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("factor", [2.0, 3.0, 1.5])
def test_a_step_is_a_matrix_and_its_gradient_the_transpose(factor, border):
    for kernel, size in [(None, (5, 4)), (None, (1, 3)), ([1.0, 2.0, 4.0, -1.0], (5, 4)), ("box", (6, 2))]:
        step = {"scale_factor": factor, "kernel": kernel, "border": border}
        down, up = step_matrices(size, step)
        for matrix, op, side in [
            (down, lambda x: ops.pyr_down(x, **step), size),
            (up, lambda x: ops.pyr_up(x, size, **step), level_size(size, factor)),
        ]:
            np.testing.assert_allclose(matrix_of(op, side), matrix, atol=1e-13)
            np.testing.assert_allclose(gradient_matrix_of(op, side, len(matrix)), matrix.T, atol=1e-13)


@pytest.mark.parametrize("factor", [1.25, 2**0.5, 1.5, 2.5, 3.0, 4.7])
def test_other_factors_are_scipys_gaussian_read_between_samples(factor):
    for size in [(20, 17), (7, 30), (3, 1)]:
        x = normal(size, seed=2)
        blurred = scipy.ndimage.gaussian_filter(x, 2 * factor / 6, mode="mirror", truncate=4)
        places = (np.arange(n) * float(references.fraction(factor)) for n in level_size(size, factor))
        grid = np.meshgrid(*places, indexing="ij")
        expected = scipy.ndimage.map_coordinates(blurred, grid, order=1, mode="mirror")
        actual = ops.pyr_down(x[None, :, :, None], scale_factor=factor)
        np.testing.assert_allclose(actual[0, :, :, 0], expected, atol=1e-12)


def test_the_gaussian_kernel_at_factor_two_is_scikit_images():
    x = normal([15, 12, 3], seed=3)
    blurred = skimage.filters.gaussian(x, sigma=2 * 2 / 6, mode="mirror", channel_axis=2)
    np.testing.assert_allclose(ops.pyr_down(x[None], kernel="gaussian")[0], blurred[::2, ::2], atol=1e-12)


def test_a_box_at_factor_two_is_the_mean_of_cells():
    x = normal([2, 8, 6, 3], seed=4)
    expected = x.reshape([2, 4, 2, 3, 2, 3]).mean(axis=(2, 4))
    np.testing.assert_allclose(ops.pyr_down(x, kernel="box"), expected, atol=1e-14)


def test_a_box_at_factor_three_is_the_mean_about_each_sample():
    x = normal([9, 7], seed=4)
    expected = scipy.ndimage.uniform_filter(x, 3, mode="mirror")[::3, ::3]
    actual = ops.pyr_down(x[None, :, :, None], kernel="box", scale_factor=3.0)
    np.testing.assert_allclose(actual[0, :, :, 0], expected, atol=1e-14)


@pytest.mark.parametrize("border", ["reflect", "symmetric", "edge", "wrap"])
@pytest.mark.parametrize("factor", [1.3, 2**0.5, 1.5, 2.0, 2.5, 3.0, 4.0])
def test_dc_gain_is_one(factor, border):
    for kernel in (None, "binomial", "gaussian", "box", "bilinear", [1.0, 2.0, 1.0], [-0.2, 0.9, 0.5, 0.1]):
        step = {"scale_factor": factor, "kernel": kernel, "border": border}
        coarse = level_size((7, 2), factor)
        down = ops.pyr_down(tf.ones([1, 7, 2, 1], tf.float64), **step)
        up = ops.pyr_up(tf.ones([1, *coarse, 1], tf.float64), (7, 2), **step)
        np.testing.assert_allclose(down, np.ones([1, *coarse, 1]), atol=1e-14, err_msg=str(kernel))
        np.testing.assert_allclose(up, np.ones([1, 7, 2, 1]), atol=1e-14, err_msg=str(kernel))


def test_a_constant_border_fades_to_zero_by_the_taps_outside():
    down = ops.pyr_down(tf.ones([1, 5, 7, 1], tf.float64), border="constant")
    np.testing.assert_allclose(down[0, :, :, 0], np.outer([11, 16, 11], [11, 16, 16, 11]) / 256, rtol=1e-14)
    up = ops.pyr_up(tf.ones([1, 3, 2, 1], tf.float64), (6, 3), border="constant")
    np.testing.assert_allclose(up[0, :, :, 0], np.outer([7, 8, 8, 8, 7, 4], [7, 8, 7]) / 64, rtol=1e-14)


@pytest.mark.parametrize("size", [(7, 6), (8, 3), (1, 2)])
@pytest.mark.parametrize("direction", ["down", "up"])
def test_nan_spreads_to_the_outputs_whose_taps_see_it_and_no_further(direction, size):
    matrices = step_matrices(size, {"scale_factor": 2.0, "kernel": None, "border": "reflect"})
    matrix, side = (matrices[0], size) if direction == "down" else (matrices[1], level_size(size, 2.0))
    x = normal([1, *side, 1], seed=5)
    clean = matrix @ x.ravel()
    for place in np.ndindex(side):
        broken = x.copy()
        broken[0, place[0], place[1]] = np.nan
        sees = matrix[:, np.ravel_multi_index(place, side)] != 0
        y = np.ravel(ops.pyr_down(broken) if direction == "down" else ops.pyr_up(broken, size))
        np.testing.assert_array_equal(np.isnan(y), sees)
        np.testing.assert_allclose(y[~sees], clean[~sees], atol=1e-13)


@pytest.mark.parametrize("factor", [2.0, 1.5])
@pytest.mark.parametrize("dtype", HALVES, ids=lambda dtype: dtype.name)
def test_half_precision_is_rounded_once_forward_and_backward(dtype, factor):
    size = (9, 7)
    down, up = step_matrices(size, {"scale_factor": factor, "kernel": None, "border": "reflect"})
    for matrix, op, side in [
        (down, lambda x: ops.pyr_down(x, scale_factor=factor), size),
        (up, lambda x: ops.pyr_up(x, size, scale_factor=factor), level_size(size, factor)),
    ]:
        x = tf.cast(normal([1, *side, 1], seed=6), dtype)
        upstream = tf.cast(normal([1, len(matrix), 1, 1], seed=7), dtype)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = op(x)
        gradient = tape.gradient(y, x, output_gradients=tf.reshape(upstream, y.shape))
        assert y.dtype == gradient.dtype == dtype
        for actual, applied, given in [(y, matrix, x), (gradient, matrix.T, upstream)]:
            actual, given = np.ravel(tf.cast(actual, tf.float64)), np.ravel(tf.cast(given, tf.float64))
            np.testing.assert_allclose(actual, applied @ given, rtol=1.01 * HALVES[dtype], atol=1e-6)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32, tf.float64], ids=lambda dtype: dtype.name)
def test_a_single_pixel_and_its_gradient_pass_unchanged(dtype):
    for factor in (2.0, 1.5):
        for op in (
            lambda x: ops.pyr_down(x, scale_factor=factor),
            lambda x: ops.pyr_up(x, (1, 1), scale_factor=factor),
            lambda x: ops.resize_by(x, factor, (1, 1)),
        ):
            x = tf.cast(normal([2, 1, 1, 3]), dtype)
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = op(x)
            gradient = tape.gradient(y, x, output_gradients=-x)
            assert y.dtype == gradient.dtype == dtype
            y, gradient, x = (tf.cast(v, tf.float64) for v in (y, gradient, x))
            np.testing.assert_allclose([y, gradient], [x, -x], rtol=1e-14 if dtype == tf.float64 else 1e-6)


@pytest.mark.parametrize("factor", [2.0, 1.5])
def test_an_empty_batch_and_its_gradient_have_the_right_shape(factor):
    coarse = level_size((7, 6), factor)
    for side, op, shape in [
        ((7, 6), lambda x: ops.pyr_down(x, scale_factor=factor), coarse),
        (coarse, lambda x: ops.pyr_up(x, (7, 6), scale_factor=factor), (7, 6)),
        (coarse, lambda x: ops.resize_by(x, factor, (9, 8)), (9, 8)),
    ]:
        x = tf.zeros([0, *side, 3])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = op(x)
        assert y.shape == (0, *shape, 3) and tape.gradient(y, x).shape == x.shape


@pytest.mark.parametrize("factor", [2.0, 1.5])
def test_one_trace_serves_images_of_every_size(factor):
    traces = []

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float64)], autograph=False)
    def there_and_back(x):
        traces.append(1)
        down = ops.pyr_down(x, scale_factor=factor)
        size = tf.shape(x)[1:3]
        up = ops.pyr_up(down, size, scale_factor=factor)
        return down, up, ops.resize_by(down, factor, tf.unstack(size))

    for shape in [(1, 1, 1, 3), (2, 2, 5, 3), (0, 3, 3, 3), (1, 9, 8, 3)]:
        x = normal(shape, seed=8)
        down, up, magnified = there_and_back(x)
        coarse = references.pyr_down(x, factor)
        np.testing.assert_allclose(down, coarse, atol=1e-13)
        np.testing.assert_allclose(up, references.pyr_up(coarse, shape[1:3], factor), atol=1e-13)
        np.testing.assert_allclose(magnified, references.align([x, coarse], 0, factor)[1], atol=1e-13)
    assert len(traces) == 1


@pytest.mark.slow
@pytest.mark.parametrize("factor", [2.0, 1.5])
def test_steps_and_their_gradients_compile_under_xla(factor):
    size, step = (5, 4), {"scale_factor": factor, "kernel": None, "border": "reflect"}
    down, up = step_matrices(size, step)
    coarse = level_size(size, factor)

    @tf.function(jit_compile=True, autograph=False)
    def run(x, y):
        results = [ops.pyr_down(x, **step), ops.pyr_up(y, size, **step), ops.resize_by(y, factor, size)]
        return results, tf.gradients(results[0], x, 1 + results[0]), tf.gradients(results[1], y, 1 + results[1])

    x, y = normal([1, *size, 1], seed=9), normal([1, *coarse, 1], seed=10)
    results, (to_x,), (to_y,) = run(tf.constant(x), tf.constant(y))
    np.testing.assert_allclose(np.ravel(results[0]), down @ x.ravel(), atol=1e-13)
    np.testing.assert_allclose(np.ravel(results[1]), up @ y.ravel(), atol=1e-13)
    np.testing.assert_allclose(results[2], references.align([x, y], 0, factor)[1], atol=1e-13)
    np.testing.assert_allclose(np.ravel(to_x), down.T @ (1 + down @ x.ravel()), atol=1e-13)
    np.testing.assert_allclose(np.ravel(to_y), up.T @ (1 + up @ y.ravel()), atol=1e-13)


@pytest.mark.parametrize("make", [tuple, list, lambda size: [tf.constant(n) for n in size], tf.constant])
def test_an_output_size_is_numbers_or_tensors_or_one_tensor(make):
    x = normal([1, 4, 3, 2])
    for op, expected in [
        (ops.pyr_up, references.pyr_up(x, (7, 6))),
        (lambda x, size: ops.resize_by(x, 2.0, size), references.align([np.ones([1, 7, 6, 2]), x])[1]),
    ]:
        np.testing.assert_allclose(op(x, make((7, 6))), expected, atol=1e-13)
        np.testing.assert_allclose(tf.function(lambda: op(x, make((7, 6))))(), expected, atol=1e-13)


@pytest.mark.parametrize("size", [(6, 6), (9, 6), (7, 4), (7, 7), tf.constant([9, 6])], ids=str)
def test_a_size_that_does_not_fit_is_an_error_at_once_where_it_is_known(size):
    rule = r"`output_size` must satisfy ceil\(output_size / scale_factor\) = size of `images`.* Received: output_size="
    with pytest.raises(ValueError, match=rule):
        ops.pyr_up(np.ones([1, 4, 3, 1]), size)


def test_a_size_that_does_not_fit_is_an_error_at_run_time_where_it_is_not():
    fixed = tf.function(lambda x: ops.pyr_up(x, (7, 6)), input_signature=[tf.TensorSpec([None, None, None, 1])])
    asked = tf.function(ops.pyr_up, input_signature=[tf.TensorSpec([1, 4, 3, 1]), tf.TensorSpec([2], tf.int32)])
    assert fixed(tf.ones([1, 4, 3, 1])).shape == asked(tf.ones([1, 4, 3, 1]), tf.constant([7, 6])).shape == [1, 7, 6, 1]
    for call in (lambda: fixed(tf.ones([1, 4, 4, 1])), lambda: asked(tf.ones([1, 4, 3, 1]), tf.constant([9, 6]))):
        with pytest.raises(tf.errors.InvalidArgumentError, match="`output_size` must satisfy"):
            call()


@pytest.mark.parametrize("size", [7, (7,), (7, 6, 1), None, (0, 6), (7.9, 6), ("7", 6), tf.ones([3])], ids=str)
def test_an_output_size_that_is_not_two_whole_numbers_is_an_error(size):
    x = np.ones([1, 4, 3, 1])
    for call in (lambda: ops.pyr_up(x, size), lambda: ops.resize_by(x, 2.0, size)):
        with pytest.raises(ValueError, match="`output_size` must be .* Received: output_size="):
            call()
