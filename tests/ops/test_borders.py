"""Border rules against NumPy's padding, for extensions longer than the axis too."""

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tfpyramid import ops
from tfpyramid.ops import borders, slicing

BORDERS = ("reflect", "symmetric", "edge", "constant", "wrap")
IMAGES = np.ones([1, 4, 4, 1])
WITH_BORDER = {
    "pyr_down": lambda border: ops.pyr_down(IMAGES, border=border),
    "pyr_up": lambda border: ops.pyr_up(IMAGES, (8, 8), border=border),
    "conv_down": lambda border: ops.conv_down(IMAGES, np.ones([3, 3, 1, 1]), border=border),
    "gaussian_pyramid": lambda border: ops.gaussian_pyramid(IMAGES, 2, border=border),
    "laplacian_pyramid": lambda border: ops.laplacian_pyramid(IMAGES, 2, border=border),
    "reconstruct": lambda border: ops.reconstruct([IMAGES, IMAGES[:, :2, :2]], border=border),
    "gaussian_pyramid of one level": lambda border: ops.gaussian_pyramid(IMAGES, 1, border=border),
    "laplacian_pyramid of one level": lambda border: ops.laplacian_pyramid(IMAGES, 1, border=border),
    "reconstruct of one level": lambda border: ops.reconstruct([IMAGES], border=border),
}


def padded(x, axis, before, after, border):
    pads = [(0, 0)] * x.ndim
    pads[axis] = (before, after)
    return np.pad(x, pads, mode=border)


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("border", BORDERS)
def test_an_extension_is_numpys_padding(border, axis):
    for size in range(1, 7):
        shape = [2, 3, 3, 2]
        shape[axis] = size
        x = np.random.default_rng(size).normal(size=shape)
        extents = [(0, 0), (1, 0), (0, 1), (1, 2), (size, size), (0, 3 * size), (3 * size, 0), (3 * size, 3 * size)]
        for before, after in extents:
            extended = borders.extend(tf.constant(x), axis, before, after, border)
            expected = padded(x, axis, before, after, border)
            np.testing.assert_array_equal(extended, expected, err_msg=f"{size}, {before}, {after}")


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32])
@pytest.mark.parametrize("border", BORDERS)
def test_an_extension_keeps_the_dtype(border, dtype):
    x = tf.constant(np.arange(6.0).reshape([1, 3, 2, 1]), dtype)
    extended = borders.extend(x, 1, 5, 7, border)
    assert extended.dtype == dtype
    np.testing.assert_array_equal(tf.cast(extended, tf.float32), padded(x.numpy().astype("f"), 1, 5, 7, border))


@pytest.mark.parametrize("border", BORDERS)
def test_the_gradient_of_an_extension_adds_up_what_was_copied(border):
    x = tf.constant(np.random.default_rng(1).normal(size=[1, 4, 1, 1]))
    upstream = np.random.default_rng(2).normal(size=[1, 17, 1, 1])
    with tf.GradientTape() as tape:
        tape.watch(x)
        extended = borders.extend(x, 1, 6, 7, border)
    gradient = tape.gradient(extended, x, output_gradients=tf.constant(upstream))
    matrix = np.stack([np.pad(unit, (6, 7), mode=border) for unit in np.eye(4)], axis=1)
    np.testing.assert_allclose(np.ravel(gradient), matrix.T @ upstream.ravel(), rtol=1e-13)


@pytest.mark.parametrize("border", ["reflect", "symmetric", "edge"])
def test_positions_between_samples_fold_like_those_on_samples(border):
    for size in range(1, 6):
        positions = np.linspace(-3 * size, 4 * size, 50 * size + 7)
        reach = 4 * size + 1
        folded = np.pad(np.arange(size), (reach, reach), mode=border)
        expected = np.interp(positions, np.arange(-reach, size + reach), folded)
        actual = borders.fold(tf.constant(positions), tf.constant(float(size), tf.float64), border)
        np.testing.assert_allclose(actual, expected, atol=1e-12)


def test_positions_between_samples_wrap_past_the_last_sample():
    for size in range(1, 6):
        positions = np.linspace(-3 * size, 4 * size, 50 * size + 7)
        actual = borders.fold(tf.constant(positions), tf.constant(float(size), tf.float64), "wrap").numpy()
        np.testing.assert_allclose(actual, positions % size, atol=1e-12)
        assert actual.min() >= 0 and actual.max() < size


@pytest.mark.parametrize("factor", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("border", BORDERS)
def test_a_coarse_axis_is_extended_by_the_rule_of_the_fine_one(border, factor):
    for size in (1, 2, 5, 6, 9):
        coarse = np.random.default_rng(size).normal(size=int(np.ceil(size / factor)))
        expected = [references.coarse_sample(coarse, i, size, factor, border) for i in range(-5, len(coarse) + 4)]
        x = tf.constant(coarse[None, :, None, None])
        extended = borders.extend(x, 1, 5, 4, border, spacing=factor, length=tf.constant(size))
        np.testing.assert_allclose(np.ravel(extended), expected, atol=1e-12)


@pytest.mark.parametrize("axis", [1, 2])
def test_reading_between_samples_is_numpys_interpolation(axis):
    x = np.random.default_rng(3).normal(size=[2, 5, 5, 2])
    positions = np.array([-2.0, -0.25, 0.0, 0.75, 1.0, 2.5, 3.999, 4.0, 4.5, 9.0])
    expected = references.along(lambda line: np.interp(positions, np.arange(5), line), x, axis)
    np.testing.assert_allclose(slicing.read_linear(tf.constant(x), axis, tf.constant(positions)), expected, rtol=1e-12)


@pytest.mark.parametrize("border", BORDERS)
def test_an_empty_batch_is_extended(border):
    assert borders.extend(tf.zeros([0, 3, 2, 1]), 1, 4, 5, border).shape == [0, 12, 2, 1]


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.slow
def test_one_trace_extends_axes_of_every_size(border):
    traces = []

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 1])])
    def extend(x):
        traces.append(1)
        return borders.extend(x, 2, 4, 3, border)

    for shape in [(1, 2, 1, 1), (2, 1, 3, 1), (0, 3, 2, 1)]:
        x = np.random.default_rng(4).normal(size=shape).astype("f")
        np.testing.assert_array_equal(extend(x), padded(x, 2, 4, 3, border))
    assert len(traces) == 1


def test_extensions_compile_under_xla():
    x = np.random.default_rng(5).normal(size=[1, 3, 2, 1])

    @tf.function(jit_compile=True, autograph=False)
    def extend(x):
        return [borders.extend(x, 1, 7, 8, border) for border in BORDERS]

    for border, extended in zip(BORDERS, extend(tf.constant(x))):
        np.testing.assert_array_equal(extended, padded(x, 1, 7, 8, border))


@pytest.mark.parametrize("op", WITH_BORDER)
def test_an_unknown_border_is_an_error(op):
    rule = "`border` must be one of 'reflect', 'symmetric', 'edge', 'constant', 'wrap'. Received: border="
    for border in ("mirror", "", None, 0, ["reflect"]):
        with pytest.raises(ValueError, match=rule):
            WITH_BORDER[op](border)
