"""Pyramids against OpenCV, pyrtools and references.py, and the exact inverse."""

import cv2
import numpy as np
import pyrtools
import pytest
import skimage.data
import tensorflow as tf

from tests import references
from tfpyramid import ops

BORDERS = ("reflect", "symmetric", "edge", "constant", "wrap")
FACTORS = (2**0.5, 1.5, 2.0, 3.0)
KERNELS = (None, "box", [1.0, 3.0, -0.5])
X = np.ones([1, 4, 4, 1])
Y = X[:, :2, :2]


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def opencv_pyramid(image, num_levels):
    levels = [image]
    while len(levels) < num_levels:
        levels.append(cv2.pyrDown(levels[-1]))
        levels[-1] = levels[-1].reshape([*levels[-1].shape[:2], image.shape[2]])  # It drops a channel axis of one.
    return levels


def test_gaussian_pyramid_equals_opencvs_on_random_shapes():
    rng = np.random.default_rng(1)
    sizes = [(1, 1), (1, 70), (70, 1), (2, 2), (70, 70), *rng.integers(1, 71, size=[95, 2])]
    for n, (h, w) in enumerate(sizes):
        image = rng.uniform(size=[h, w, 1 + n % 4]).astype("f")
        num_levels = 2 + n % 5
        levels = ops.gaussian_pyramid(image[None], num_levels)
        assert len(levels) == num_levels
        for level, expected in zip(levels, opencv_pyramid(image, num_levels)):
            assert level.dtype == tf.float32
            np.testing.assert_allclose(level[0], expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("photograph", ["astronaut", "retina"])
def test_gaussian_pyramid_equals_opencvs_on_photographs(photograph):
    image = getattr(skimage.data, photograph)().astype("f") / 255
    for level, expected in zip(ops.gaussian_pyramid(image[None], 5), opencv_pyramid(image, 5), strict=True):
        np.testing.assert_allclose(level[0], expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize(
    "n, expected",
    [
        (4, [[3.75, 4.875], [8.25, 9.375]]),
        (5, [[4.5, 5.75, 7], [10.75, 12, 13.25], [17, 18.25, 19.5]]),
    ],
)
def test_a_level_of_counted_pixels_is_opencvs(n, expected):
    level = ops.gaussian_pyramid(np.arange(n * n, dtype="f").reshape([1, n, n, 1]), 2)[1]
    np.testing.assert_array_equal(level[0, :, :, 0], expected)


def test_gaussian_pyramid_equals_pyrtools_with_taps_divided_by_their_sum():
    image = normal([37, 53], seed=2)
    taps = pyrtools.pyramids.filters.named_filter("binom5")
    peer = pyrtools.pyramids.GaussianPyramid(image, 4, filter_name=taps / taps.sum(), edge_type="reflect1")
    levels = ops.gaussian_pyramid(image[None, :, :, None], 4)
    assert len(peer.pyr_coeffs) == 4
    for k, level in enumerate(levels):
        np.testing.assert_allclose(level[0, :, :, 0], peer.pyr_coeffs[k, 0], atol=1e-12)


@pytest.mark.parametrize("factor", FACTORS)
def test_levels_have_the_ceiling_of_the_size_and_a_side_of_one_stays(factor):
    sides = [37, 6, 1]
    tall = ops.gaussian_pyramid(np.ones([1, 37, 1, 1]), 7, scale_factor=factor)
    wide = ops.gaussian_pyramid(np.ones([1, 1, 6, 1]), 7, scale_factor=factor)
    for k in range(7):
        assert tall[k].shape == [1, sides[0], sides[2], 1]
        assert wide[k].shape == [1, sides[2], sides[1], 1]
        sides = [int(np.ceil(n / factor)) for n in sides]


@pytest.mark.parametrize("pyramid", [ops.gaussian_pyramid, ops.laplacian_pyramid])
@pytest.mark.parametrize(
    "size, factor, shorter",
    [
        ((37, 53), 2.0, [37, 19, 10, 5, 3, 2, 1]),
        ((27, 9), 3.0, [9, 3, 1]),
        ((1, 9), 2.0, [1]),
        ((30, 9), 1.5, [9, 6, 4, 3, 2]),
        ((9, 30), 2**0.5, [9, 7, 5, 4, 3]),
    ],
)
def test_without_a_number_the_levels_go_on_until_the_shorter_side_no_longer_shrinks(pyramid, size, factor, shorter):
    levels = pyramid(np.ones([1, *size, 1]), scale_factor=factor)
    assert [min(level.shape[1:3]) for level in levels] == shorter


def test_without_a_number_one_known_side_of_one_is_enough():
    traced = tf.function(ops.laplacian_pyramid, input_signature=[tf.TensorSpec([None, 1, None, 3])])
    assert len(traced(tf.ones([1, 1, 8, 3]))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("factor", FACTORS)
def test_laplacian_pyramid_is_inverted_exactly(factor, border):
    rng = np.random.default_rng(BORDERS.index(border) * 10 + FACTORS.index(factor))
    for kernel in KERNELS:
        step = {"scale_factor": factor, "kernel": kernel, "border": border}
        for dtype, tolerance in [("float32", 2e-5), ("float64", 1e-12)]:
            x = rng.uniform(size=[2, *rng.integers(1, 61, size=2), 2]).astype(dtype)
            levels = ops.laplacian_pyramid(x, rng.integers(1, 6), **step)
            restored = ops.reconstruct(levels, **step)
            assert restored.dtype == dtype
            np.testing.assert_allclose(restored, x, rtol=0, atol=tolerance, err_msg=f"{step}, {x.shape}")


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("factor", FACTORS)
def test_residuals_and_their_sum_are_those_of_the_reference(factor, border):
    for kernel in KERNELS:
        step = {"scale_factor": factor, "kernel": kernel, "border": border}
        x = normal([1, 7, 4, 1], seed=3)
        expected = references.laplacian_pyramid(x, 3, **step)
        for level, reference in zip(ops.laplacian_pyramid(x, 3, **step), expected, strict=True):
            np.testing.assert_allclose(level, reference, atol=1e-12)
        levels = [normal(level.shape, seed) for seed, level in enumerate(expected)]
        np.testing.assert_allclose(ops.reconstruct(levels, **step), references.reconstruct(levels, **step), atol=1e-12)


@pytest.mark.parametrize("factor", FACTORS)
def test_a_learned_kernel_inverts_exactly_and_gets_a_gradient(factor):
    x = normal([1, 13, 10, 2], seed=4)
    kernel = tf.Variable([0.3, 1.1, -0.2, 0.4], dtype=tf.float64)
    step = {"scale_factor": factor, "kernel": kernel}
    with tf.GradientTape(persistent=True) as tape:
        levels = ops.laplacian_pyramid(x, 4, **step)
        restored = ops.reconstruct(levels, **step)
        loss = tf.add_n([tf.reduce_sum(tf.abs(level)) for level in levels])
        error = tf.reduce_sum(restored * normal(x.shape, seed=5))
    np.testing.assert_allclose(restored, x, atol=1e-12)
    assert np.abs(tape.gradient(loss, kernel)).min() > 0.1
    np.testing.assert_allclose(tape.gradient(error, kernel), np.zeros(4), atol=1e-11)


@pytest.mark.parametrize("dtype, rounding", [(tf.float16, 2.0**-11), (tf.bfloat16, 2.0**-8)])
def test_half_precision_is_rounded_once_a_level(dtype, rounding):
    x = tf.cast(normal([1, 14, 11, 2], seed=6), dtype)
    expected = tf.cast(x, tf.float64).numpy()
    for k, level in enumerate(ops.gaussian_pyramid(x, 4)):
        assert level.dtype == dtype
        np.testing.assert_allclose(tf.cast(level, tf.float64), expected, rtol=0, atol=1.01 * rounding * k)
        expected = references.pyr_down(expected)
    restored = ops.reconstruct(ops.laplacian_pyramid(x, 4))
    assert restored.dtype == dtype
    scale = np.abs(tf.cast(x, tf.float64)).max()
    np.testing.assert_allclose(*(tf.cast(v, tf.float64) for v in (restored, x)), rtol=0, atol=4 * rounding * scale)


@pytest.mark.parametrize("shape", [(0, 5, 4, 2), (2, 1, 1, 3), (1, 1, 2, 1)])
@pytest.mark.parametrize("factor", [2.0, 1.5])
def test_empty_batches_and_single_pixels_are_inverted(shape, factor):
    x = normal(shape, seed=7)
    levels = ops.laplacian_pyramid(x, 4, scale_factor=factor)
    assert [level.shape[0] for level in levels] == [shape[0]] * 4
    restored = ops.reconstruct(levels, scale_factor=factor)
    assert restored.shape == shape
    np.testing.assert_allclose(restored, x, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("factor", [2.0, 1.5])
def test_one_trace_serves_images_of_every_size(factor):
    traces = []

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float64)], autograph=False)
    def there_and_back(x):
        traces.append(1)
        levels = ops.laplacian_pyramid(x, 3, scale_factor=factor)
        return levels, ops.reconstruct(levels, scale_factor=factor)

    for shape in [(1, 1, 1, 3), (2, 2, 5, 3), (0, 3, 3, 3), (1, 9, 8, 3)]:
        x = normal(shape, seed=8)
        levels, restored = there_and_back(x)
        for level, expected in zip(levels, references.laplacian_pyramid(x, 3, scale_factor=factor), strict=True):
            np.testing.assert_allclose(level, expected, atol=1e-13)
        np.testing.assert_allclose(restored, x, atol=1e-13)
    assert len(traces) == 1


@pytest.mark.slow
def test_the_inverse_and_its_gradient_compile_under_xla():
    x, upstream = normal([1, 7, 6, 2], seed=9), normal([1, 7, 6, 2], seed=10)

    @tf.function(jit_compile=True, autograph=False)
    def run(x, upstream):
        levels = ops.laplacian_pyramid(x, 3)
        restored = ops.reconstruct(levels)
        return levels, restored, tf.gradients(restored, x, upstream)[0]

    levels, restored, gradient = run(tf.constant(x), tf.constant(upstream))
    for level, expected in zip(levels, references.laplacian_pyramid(x, 3), strict=True):
        np.testing.assert_allclose(level, expected, atol=1e-13)
    np.testing.assert_allclose(restored, x, atol=1e-13)
    np.testing.assert_allclose(gradient, upstream, atol=1e-13)


WITH_IMAGES = {
    "pyr_down": ops.pyr_down,
    "pyr_up": lambda x: ops.pyr_up(x, (8, 8)),
    "resize_by": lambda x: ops.resize_by(x, 2.0, (8, 8)),
    "conv_down": lambda x: ops.conv_down(x, np.ones([3, 3, 1, 1])),
    "gaussian_pyramid": lambda x: ops.gaussian_pyramid(x, 1),
    "laplacian_pyramid": lambda x: ops.laplacian_pyramid(x, 1),
    "reconstruct": lambda x: ops.reconstruct([x]),
    "align_levels": lambda x: ops.align_levels([x]),
}


@pytest.mark.parametrize("op", WITH_IMAGES)
def test_images_that_are_not_batches_of_floating_pixels_are_an_error(op):
    name = r"`levels\[0\]`" if op in ("reconstruct", "align_levels") else "`images`"
    for images, rule in [
        (
            np.ones([1, 4, 4, 1], np.uint8),
            r"must be floating point. Convert integers first.* Received: .* of dtype uint8",
        ),
        (np.ones([4, 4, 1]), r"must have 4 axes.* Received: .* of shape \(4, 4, 1\)"),
        (np.ones([1, 0, 4, 1]), r"must have a height and a width of at least 1\. Received: .* of shape \(1, 0, 4, 1\)"),
        (np.ones([1, 4, 0, 1]), r"must have a height and a width of at least 1\. Received: .* of shape \(1, 4, 0, 1\)"),
    ]:
        with pytest.raises(ValueError, match=f"{name} {rule}"):
            WITH_IMAGES[op](images)
    traced = tf.function(WITH_IMAGES[op], autograph=False)
    with pytest.raises(ValueError, match=rf"{name} must have a known number of channels\. Received: .*None\)"):
        traced.get_concrete_function(tf.TensorSpec([1, 4, 4, None]))


@pytest.mark.parametrize("factor", [1, 0.5, -2.0, np.nan, np.inf, "2", "two", None, [2.0]], ids=str)
def test_a_factor_that_is_not_above_one_is_an_error(factor):
    for call in (
        lambda: ops.pyr_down(X, scale_factor=factor),
        lambda: ops.pyr_up(Y, (4, 4), scale_factor=factor),
        lambda: ops.gaussian_pyramid(X, 1, scale_factor=factor),
        lambda: ops.laplacian_pyramid(X, 1, scale_factor=factor),
        lambda: ops.reconstruct([X, Y], scale_factor=factor),
    ):
        with pytest.raises(ValueError, match="`scale_factor` must be .* greater than 1, .* Received: scale_factor="):
            call()


@pytest.mark.parametrize("pyramid", [ops.gaussian_pyramid, ops.laplacian_pyramid])
def test_a_number_of_levels_that_is_not_a_count_is_an_error(pyramid):
    rule = "`num_levels` must be an integer of at least 1, .* Received: num_levels="
    for count in (0, -1, 2.0, "3", True):
        with pytest.raises(ValueError, match=rule):
            pyramid(X, count)
    for shape in [(1, None, None, 1), (1, 4, None, 1)]:
        traced = tf.function(pyramid, autograph=False)
        with pytest.raises(ValueError, match="`num_levels` must be given .* is unknown.* Received: "):
            traced.get_concrete_function(tf.TensorSpec(shape))


@pytest.mark.parametrize(
    "levels, rule",
    [
        ([], r"`levels` must be a list of at least one level, finest first\. Received: levels=\[\]"),
        (tf.ones([2, 1, 4, 4, 1]), "`levels` must be a list of at least one level, .* Received: levels of type"),
        ([Y, X], r"`levels` must be finest first.* Received: sides \[\(2, 2\), \(4, 4\)\], scale_factor=2"),
        ([X, X[:, :3, :2]], r"`levels` must be finest first.* Received: sides \[\(4, 4\), \(3, 2\)\]"),
        ([X, Y, Y], r"`levels` must be finest first.*levels\[2\] breaks this rule\. Received: sides"),
        ([X, Y.astype(np.float32)], r"`levels` must all have the same dtype.* dtypes \['float64', 'float32'\]"),
        (
            [X, np.ones([1, 2, 2, 3])],
            r"`levels` must all have the same number of channels\. Received: channels \[1, 3\]",
        ),
    ],
    ids=["none", "a tensor", "order", "one side", "too large", "dtypes", "channels"],
)
def test_levels_that_do_not_follow_each_other_are_an_error(levels, rule):
    with pytest.raises(ValueError, match=rule):
        ops.reconstruct(levels)
