"""Multi-scale structural similarity: its values, its gradients, and images that give NaN elsewhere."""

import numpy as np
import pytest
import tensorflow as tf

from tests.ops.finite_differences import assert_gradients
from tests.references import similarity as references
from tfpyramid import ops

RNG = np.random.default_rng(0)
SIZES = [(1, 1), (1, 30), (2, 3), (10, 11), (11, 23), (33, 47), (90, 160)]


def pair(height, width, channels=2, dtype=np.float64, batch=2):
    targets = RNG.random([batch, height, width, channels])
    return targets.astype(dtype), np.clip(targets + 0.3 * RNG.standard_normal(targets.shape), 0, 1).astype(dtype)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_values_are_those_of_numpy(size):
    images = pair(*size)
    expected = references.multi_scale_ssim(*images)
    np.testing.assert_allclose(ops.multi_scale_ssim(*images), expected, rtol=1e-10)
    np.testing.assert_allclose(ops.multi_scale_ssim(*np.float32(images)), expected, atol=1e-5)


def test_every_argument_is_that_of_numpy():
    t, p = pair(20, 31)
    found = ops.multi_scale_ssim(
        255 * t, 255 * p, 255, power_factors=[0.5, 0, 1], filter_size=6, filter_sigma=0.8, k1=0.1, k2=0.2
    )
    expected = references.multi_scale_ssim(255 * t, 255 * p, 255, [0.5, 0, 1], 6, 0.8, 0.1, 0.2)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("size", [(161, 161), (176, 203)], ids=str)
@pytest.mark.parametrize("max_val", [1.0, 255.0])
def test_large_images_have_the_value_of_tensorflow(size, max_val):
    t, p = (np.float32(max_val * x) for x in pair(*size, 3))
    found, expected = ops.multi_scale_ssim(t, p, max_val), tf.image.ssim_multiscale(t, p, max_val)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (7, 12), (33, 47), (161, 165)], ids=str)
def test_sizes_that_are_not_known_while_tracing_give_the_same(size):
    images = pair(*size, dtype=np.float32)
    run = tf.function(ops.multi_scale_ssim, [tf.TensorSpec([None, None, None, 2])] * 2)
    np.testing.assert_allclose(run(*images), ops.multi_scale_ssim(*images), atol=2e-6)
    assert run(*np.zeros([2, 0, *size, 2], np.float32)).shape == 0


@pytest.mark.parametrize("size", [(1, 1), (3, 4), (12, 17)], ids=str)
def test_gradients_are_the_derivatives(size):
    t, p = pair(*size, batch=1)
    assert_gradients(ops.multi_scale_ssim, [t, 0.7 * t + 0.3 * p])


def stripes(*shape):
    return np.float32(np.indices(shape)[2] % 2)


DEGENERATE = {
    "black": (np.zeros, np.zeros),
    "white": (np.ones, np.ones),
    "black and white": (np.zeros, np.ones),
    "identical": (stripes, stripes),
    "opposite": (stripes, lambda shape: 1 - stripes(*shape)),
    "negative": (np.ones, lambda shape: -np.ones(shape)),
    "far outside": (np.ones, lambda shape: np.full(shape, 6e4)),
}


@pytest.mark.parametrize(
    "dtype, size",
    [
        ("float32", (1, 1)),
        pytest.param("bfloat16", (1, 8), marks=pytest.mark.slow),
        pytest.param("float16", (10, 161), marks=pytest.mark.slow),
    ],
    ids=str,
)
@pytest.mark.parametrize("case", DEGENERATE)
def test_values_and_gradients_are_finite(case, size, dtype):
    make = [each if each is not stripes else lambda shape: stripes(*shape) for each in DEGENERATE[case]]
    t, p = (tf.cast(each([1, *size, 1]), dtype) for each in make)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([t, p])
        y = ops.multi_scale_ssim(t, p)
    assert 0 <= y[0] <= 1
    assert all(np.isfinite(tf.cast(tape.gradient(y, x), tf.float32)).all() for x in (t, p))
    if case in ("black", "white", "identical"):
        assert y[0] == 1
    if case == "opposite" and size[1] > 1:
        assert y[0] == 0


def test_a_nan_reaches_only_its_own_sample():
    t, p = pair(20, 20, dtype=np.float32)
    p[0, 3, 3, 0] = np.nan
    assert np.isnan(ops.multi_scale_ssim(t, p)).tolist() == [True, False]


def test_xla_gives_the_same():
    images = pair(9, 30, dtype=np.float32)
    run = tf.function(ops.multi_scale_ssim, jit_compile=True)
    np.testing.assert_allclose(run(*images), ops.multi_scale_ssim(*images), atol=1e-5)


def test_images_of_different_sizes_are_an_error():
    with pytest.raises(ValueError, match="`targets` must have the shape of `predictions`. Received: targets of shape"):
        ops.multi_scale_ssim(np.zeros([1, 8, 8, 1]), np.zeros([1, 8, 9, 1]))
    run = tf.function(ops.multi_scale_ssim, [tf.TensorSpec([None, None, None, 1])] * 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`targets` must have the shape of `predictions`"):
        run(np.zeros([1, 8, 8, 1], np.float32), np.zeros([1, 8, 9, 1], np.float32))


def test_integers_are_an_error():
    with pytest.raises(ValueError, match="`targets` must be floating point.* Received: targets of dtype uint8"):
        ops.multi_scale_ssim(np.zeros([1, 8, 8, 1], np.uint8), np.zeros([1, 8, 8, 1], np.float32))
