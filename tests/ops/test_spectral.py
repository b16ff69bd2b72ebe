"""Spectral pooling against two-dimensional FFTs in NumPy, finite differences and Rippel's crop."""

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tfpyramid import ops

# Even and odd sides, to even and odd ones; whole and other strides; strides of 1; one sample.
STEPS = [
    ((8, 10), (2.0, 2.0)),
    ((8, 10), (1.7, 3.3)),
    ((9, 7), (2.0, 1.3)),
    ((16, 11), (4.0, 2.2)),
    ((6, 5), (1.0, 1.0)),
    ((1, 6), (2.0, 1.5)),
    ((5, 4), (40.0, 3.9)),
]


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def fourier_pool(x, strides, smoothness, hard=False, mask_of=None):
    """Return the complex result of fft2, mask, crop and ifft2 with the frequencies in the middle of the plane."""
    sides = x.shape[1:3]
    spectrum = np.fft.fftshift(np.fft.fft2(x, axes=(1, 2)), axes=(1, 2))
    for axis, (n, s) in enumerate(zip(sides, strides), 1):
        f = np.abs(np.arange(n) - n // 2)
        cut = n / (2 * s)
        mask = np.ones(n) if hard else np.clip((cut - f) / min(smoothness, cut), 0, 1)
        mask = mask if mask_of is None else mask_of(f, n, s)
        spectrum = spectrum * mask.reshape([-1 if k == axis else 1 for k in range(4)])
    for axis, (n, s) in enumerate(zip(sides, strides), 1):
        m = max(1, round(n / s)) if hard else int(np.ceil(n / s))
        first = n // 2 - m // 2
        lines = np.moveaxis(spectrum, axis, 0)
        kept = lines[first : first + m].copy()
        if m % 2 == 0 and m < n:  # -m/2 is in the crop and +m/2 beside it: one bin, half of each.
            kept[0] = (lines[first] + lines[first + m]) / 2
        spectrum = np.moveaxis(kept, 0, axis)
    y = np.fft.ifft2(np.fft.ifftshift(spectrum, axes=(1, 2)), axes=(1, 2))
    return y * (np.prod(y.shape[1:3]) / np.prod(sides))


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("smoothness", [4.0, 0.7, 100.0])
@pytest.mark.parametrize("size, strides", STEPS)
def test_equals_the_fourier_form_which_is_real(size, strides, smoothness, hard):
    x = normal([2, *size, 3])
    expected = fourier_pool(x, strides, smoothness, hard)
    assert np.max(np.abs(expected.imag)) < 1e-13
    y = ops.spectral_pool(x, strides, smoothness=smoothness, hard=hard)
    assert y.dtype == tf.float64 and y.shape == expected.shape
    np.testing.assert_allclose(y, expected.real, rtol=0, atol=1e-12)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("output_size", [(4, 5), (3, 6), (2, 2), (16, 21), (8, 10), (9, 7), (1, 1)])
@pytest.mark.parametrize("size, strides", STEPS)
def test_a_fixed_size_crops_the_masked_spectrum_or_pads_it(size, strides, output_size, hard):
    x = normal([1, *size, 2])
    y = ops.spectral_pool(x, strides, output_size, hard=hard)
    assert y.shape == (1, *output_size, 2)
    estimate = references.hard if hard else references.soft
    expected = references.spectral_pool(x, strides, output_size, estimate=estimate)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12)


def test_a_larger_fixed_size_interpolates_the_samples():
    x = normal([1, 9, 8, 1])
    # 9 and 8 frequencies are all there are: at every second position, the samples.
    y = ops.spectral_pool(x, (1.0, 1.0), (18, 16), hard=True).numpy()
    np.testing.assert_allclose(y[:, ::2, ::2], x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("size, strides", STEPS)
def test_a_constant_stays_and_a_mean_stays(size, strides, hard):
    for output_size in (None, (4, 7)):
        ones = ops.spectral_pool(np.full([1, *size, 1], 3.0), strides, output_size, hard=hard)
        np.testing.assert_allclose(ones, 3 * np.ones(ones.shape), rtol=0, atol=1e-13)
        x = normal([1, *size, 1])
        y = ops.spectral_pool(x, strides, output_size, hard=hard)
        np.testing.assert_allclose(np.mean(y), np.mean(x), rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("output_size", [None, (6, 5)])
@pytest.mark.parametrize("size, strides", [((64, 64), (2.0, 2.0)), ((33, 48), (1.9, 3.1)), ((7, 8), (2.3, 2.0))])
def test_the_transpose_gives_the_transpose(size, strides, output_size, hard, dtype, tolerance):
    x = normal([1, *size, 2]).astype(dtype)
    y = ops.spectral_pool(x, strides, output_size, hard=hard)
    swapped = ops.spectral_pool(x.transpose(0, 2, 1, 3), strides[::-1], output_size and output_size[::-1], hard=hard)
    np.testing.assert_allclose(y, np.transpose(swapped, [0, 2, 1, 3]), rtol=0, atol=tolerance)


def test_one_number_is_for_both_axes():
    x = normal([1, 9, 8, 1])
    np.testing.assert_array_equal(ops.spectral_pool(x, 1.5, 4), ops.spectral_pool(x, (1.5, 1.5), (4, 4)))


def test_samples_sit_where_they_say():
    positions = np.arange(24)
    wave = np.cos(2 * np.pi * 2 * positions / 24 + 0.3)
    y = ops.spectral_pool(np.tile(wave[None, None, :, None], [1, 3, 1, 1]), (1.0, 24 / 9), smoothness=0.5)
    sampled = np.cos(2 * np.pi * 2 * np.arange(9) / 9 + 0.3)
    np.testing.assert_allclose(y[0, 0, :, 0], sampled, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size, strides", [((9, 15), (9 / 5, 3.0)), ((8, 10), (1.7, 3.3))])
def test_without_smoothness_it_is_the_crop(size, strides):
    x = normal([1, *size, 1])
    spectrum = np.fft.fft2(x, axes=(1, 2))
    sides = [int(np.ceil(n / s)) for n, s in zip(size, strides)]
    for axis, (n, s, m) in enumerate(zip(size, strides, sides), 1):
        keep = [f % n for f in range(-n, n) if abs(f) < n / (2 * s)]
        lines = np.zeros((m, *np.moveaxis(spectrum, axis, 0).shape[1:]), complex)
        for f in {f - n if f > n // 2 else f for f in keep}:
            lines[f % m] = np.moveaxis(spectrum, axis, 0)[f % n]
        spectrum = np.moveaxis(lines, 0, axis)
    crop = np.fft.ifft2(spectrum, axes=(1, 2)).real * np.prod(sides) / np.prod(size)
    np.testing.assert_allclose(ops.spectral_pool(x, strides, smoothness=1e-9), crop, rtol=0, atol=1e-12)
    if size == (9, 15):  # To odd sides: what `hard` keeps too.
        np.testing.assert_allclose(ops.spectral_pool(x, strides, hard=True), crop, rtol=0, atol=1e-12)


def stride_gradient(x, strides, upstream, **options):
    strides = tf.constant(strides, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(strides)
        y = ops.spectral_pool(x, strides, **options)
        objective = tf.reduce_sum(y * upstream)
    return tape.gradient(objective, strides).numpy()


@pytest.mark.parametrize("output_size", [None, (3, 9)])
@pytest.mark.parametrize("smoothness", [4.0, 1.3, 100.0])
@pytest.mark.parametrize("size, strides", [((8, 10), (1.7, 2.1)), ((13, 9), (2.2, 1.3)), ((32, 24), (1.9, 2.7))])
def test_the_gradient_of_strides_is_that_of_finite_differences(size, strides, smoothness, output_size):
    x = normal([1, *size, 2])
    upstream = normal(ops.spectral_pool(x, strides, output_size).shape, seed=1)
    found = stride_gradient(x, strides, upstream, output_size=output_size, smoothness=smoothness)
    for axis in (0, 1):
        step = 1e-6 * np.eye(2)[axis]
        sides = [
            np.sum(ops.spectral_pool(x, moved, output_size, smoothness=smoothness) * upstream)
            for moved in (strides + step, strides - step)
        ]
        np.testing.assert_allclose(found[axis], (sides[0] - sides[1]) / 2e-6, rtol=1e-6, atol=1e-8)
    assert output_size is not None or np.all(found != 0)  # A small fixed size may drop the slope.


def test_hard_has_the_gradient_of_the_soft_mask_at_what_it_keeps():
    x, strides = normal([1, 12, 15, 2]), (2.3, 1.8)
    size = (5, 8)  # 12 / 2.3 and 15 / 1.8, rounded: the highest of 8 frequencies is halved.
    upstream = normal([1, *size, 2], seed=1)
    for sign in (1, -1):
        found = stride_gradient(x, strides, sign * upstream, hard=True)
        for axis in (0, 1):

            def mask_of(f, n, s):
                # By finite differences of the mask, on the one axis; the crop alone on the other.
                if n != x.shape[axis + 1]:
                    return np.ones(n)
                soft = [np.clip((cut - f) / min(4.0, cut), 0, 1) for cut in (n / (2 * (s + d)) for d in (1e-6, -1e-6))]
                return (soft[0] - soft[1]) / 2e-6

            moved = fourier_pool(x, strides, 4.0, hard=True, mask_of=mask_of).real
            np.testing.assert_allclose(found[axis], np.sum(sign * upstream * moved), rtol=1e-6)


@pytest.mark.parametrize("hard", [False, True])
def test_a_stride_at_a_corner_of_the_mask_has_the_gradient_of_the_slope(hard):
    # 32 / 4 = 8 is the cut: the mask is just 0 at 8, and just 1 at 4. A wave of either frequency is heard.
    for frequency in (4, 6, 8):
        wave = np.cos(2 * np.pi * frequency * np.arange(32) / 32).reshape([1, 1, 32, 1])
        pooled = ops.spectral_pool(wave, (1.0, 2.0), hard=True)
        expected = -1 / 4 * 32 / (2 * 2.0**2) * np.sum(pooled * pooled)
        np.testing.assert_allclose(stride_gradient(wave, [1.0, 2.0], pooled, hard=hard)[1], expected)


def test_strides_that_have_no_gradient_have_a_gradient_of_zero():
    # The mean alone is left, or is all there is; and a constant, where cut = smoothness, a corner of the slope.
    for size, strides in [((4, 6), [5.0, 100.0]), ((1, 1), [2.0, 1.0])]:
        x = normal([1, *size, 1])
        for hard in (False, True):
            found = stride_gradient(x, strides, np.ones([1, 1, 1, 1]), hard=hard)
            np.testing.assert_allclose(found, [0, 0], atol=1e-15)
    found = stride_gradient(np.ones([1, 16, 16, 1]), [2.0, 2.0], normal([1, 8, 8, 1]))
    np.testing.assert_allclose(found, [0, 0], atol=1e-14)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_is_summed_in_float32_and_rounded_once(dtype):
    x = tf.cast(normal([2, 13, 16, 3]), dtype)
    y = ops.spectral_pool(x, (1.9, 2.0))
    assert y.dtype == dtype
    exact = ops.spectral_pool(tf.cast(x, tf.float64), (1.9, 2.0))
    epsilon = {tf.float16: 2.0**-11, tf.bfloat16: 2.0**-8}[dtype]
    np.testing.assert_allclose(tf.cast(y, tf.float64), exact, rtol=1.01 * epsilon, atol=1e-6)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32, tf.float64])
def test_strides_of_any_dtype_are_learned_on_images_of_any(dtype):
    for images in (tf.float16, tf.float32, tf.float64):
        strides = tf.Variable([1.75, 2.5], dtype=dtype)  # Exact in all of them.
        x = tf.cast(normal([1, 8, 10, 2]), images)
        with tf.GradientTape() as tape:
            y = ops.spectral_pool(x, strides)
            objective = tf.reduce_sum(y**2)
        assert y.dtype == images and y.shape == (1, 5, 4, 2)
        gradient = tape.gradient(objective, strides)
        assert gradient.dtype == dtype
        exact = stride_gradient(tf.cast(x, tf.float64), [1.75, 2.5], 2 * tf.cast(y, tf.float64))
        np.testing.assert_allclose(tf.cast(gradient, tf.float64), exact, rtol=0.02)


def test_float32_is_near_float64():
    x = normal([1, 101, 128, 1]).astype(np.float32)
    exact = ops.spectral_pool(x.astype(np.float64), (1.9, 2.0)).numpy()
    assert np.max(np.abs(ops.spectral_pool(x, (1.9, 2.0)).numpy() - exact)) < 2e-6


@pytest.mark.parametrize("strides", [(2.0, 1.6), tf.constant([2.0, 1.6])])
def test_an_empty_batch_and_its_gradient_are_empty(strides):
    x = tf.zeros([0, 8, 9, 3])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = ops.spectral_pool(x, strides)
    assert y.shape == (0, 4, 6, 3)
    assert tape.gradient(y, x).shape == x.shape


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("output_size", [None, (5, 4)])
def test_one_trace_serves_all_sizes_and_strides(output_size, hard):
    traces = []

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 2]), tf.TensorSpec([2])])
    def pool(x, strides):
        traces.append(None)
        learned = ops.spectral_pool(x, strides, output_size, hard=hard)
        fixed = ops.spectral_pool(x, (1.9, 2.3), output_size, hard=hard)
        assert learned.shape.as_list() == fixed.shape.as_list() == [None, *(output_size or (None, None)), 2]
        return learned, fixed

    for size in ((8, 10), (1, 1), (7, 12)):
        x = tf.constant(normal([2, *size, 2]), tf.float32)
        for strides in ((2.0, 2.0), (1.3, 3.1)):
            for y, used in zip(pool(x, tf.constant(strides)), (strides, (1.9, 2.3))):
                expected = ops.spectral_pool(x, used, output_size, hard=hard)
                assert y.shape == expected.shape
                np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)
    assert len(traces) == 1


def test_sides_are_known_where_they_can_be():
    @tf.function
    def shapes(x, strides):
        assert ops.spectral_pool(x, (2.0, 3.0)).shape == (2, 4, 4, 1)
        assert ops.spectral_pool(x, strides).shape.as_list() == [2, None, None, 1]
        assert ops.spectral_pool(x, strides, (3, 3)).shape == (2, 3, 3, 1)

    shapes(tf.zeros([2, 8, 10, 1]), tf.constant([2.0, 3.0]))


@pytest.mark.slow
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("output_size", [None, (5, 4)])
def test_xla_compiles_it_with_strides_that_change(output_size, hard):
    strides = tf.Variable([2.0, 2.0])
    x = tf.constant(normal([2, 8, 10, 3]), tf.float32)

    def value_and_gradients():
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = ops.spectral_pool(x, strides, output_size, hard=hard)
            objective = tf.reduce_sum(y**3)
        return y, *tape.gradient(objective, (x, strides))

    compiled = tf.function(value_and_gradients, jit_compile=True, autograph=False)
    for value in ([1.7, 2.1], [2.3, 1.2], [3.0, 9.0]):
        strides.assign(value)
        for actual, expected in zip(compiled(), value_and_gradients()):
            assert actual.shape == expected.shape
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_an_unknown_stride_that_is_not_a_number_shows():
    pool = tf.function(ops.spectral_pool, input_signature=[tf.TensorSpec([1, 8, 8, 1]), tf.TensorSpec([2])])
    assert np.isnan(pool(tf.ones([1, 8, 8, 1]), tf.constant([np.nan, 2.0]))).all()
