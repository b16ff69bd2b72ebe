"""Blending, exposure fusion and focus stacking against NumPy, OpenCV and photographs with a known result."""

import cv2
import numpy as np
import pytest
import skimage.data
import tensorflow as tf

from tests import references
from tests.graph_size import count_operations, with_gradient
from tests.ops.finite_differences import assert_gradients
from tfpyramid import ops

STEPS = [
    {"scale_factor": 2.0, "kernel": None, "border": "reflect"},
    {"scale_factor": 1.5, "kernel": [1.0, 3.0, 2.0], "border": "constant"},
    {"scale_factor": 3.0, "kernel": "box", "border": "wrap"},
]
RNG = np.random.default_rng(0)
A, B, C = RNG.random([3, 2, 9, 7, 3])
MASK = RNG.random([2, 9, 7, 1])

# On three images [batch, height, width, 3].
OPERATIONS = {
    "blend": lambda a, b, c: ops.blend(a, b, c[..., :1], num_levels=3),
    "exposure_fusion": lambda *images: ops.exposure_fusion(images, 3),
    "focus_stack": lambda *images: ops.focus_stack(images, 3),
}


def psnr(x, y):
    return -10 * np.log10(np.mean(np.square(np.float64(x) - y)))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("num_levels", [1, 3])
def test_blending_equals_the_published_form(num_levels, step):
    for mask in (MASK, C):
        expected = references.blend(A, B, mask, num_levels, **step)
        np.testing.assert_allclose(ops.blend(A, B, mask, num_levels=num_levels, **step), expected, atol=1e-12)
    single = ops.blend(*np.float32([A, B, C]), num_levels=num_levels, **step)
    assert single.dtype == tf.float32
    np.testing.assert_allclose(single, expected, atol=1e-6)


def test_the_default_is_full_depth():
    expected = references.blend(A, B, MASK, 4, **STEPS[0])  # Until the width is 7, 4, 2 and 1.
    np.testing.assert_allclose(ops.blend(A, B, MASK), expected, atol=1e-12)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("exponents", [(1, 1, 1), (0.5, 2, 0), (0, 0, 0), (0, 1, 3)])
@pytest.mark.slow
def test_exposure_fusion_equals_the_equation(exponents, step):
    named = dict(zip(("contrast", "saturation", "well_exposedness"), exponents))
    for images in ([A, B, C], [A[..., :1], B[..., :1]], [A]):
        expected = references.exposure_fusion(images, 3, exponents, **step)
        np.testing.assert_allclose(ops.exposure_fusion(images, 3, **named, **step), expected, atol=1e-12)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.slow
def test_focus_stacking_equals_the_equation(step):
    for images in ([A, B, C], [A[..., :1], B[..., :1]], [A]):
        expected = references.focus_stack(images, 3, **step)
        np.testing.assert_allclose(ops.focus_stack(images, 3, **step), expected, atol=1e-12)


def test_blending_resembles_opencvs_multi_band_blender():
    height, width, num_levels = 400, 512, 6
    a, b = (np.float32(getattr(skimage.data, name)()[:height, :width]) / 255 for name in ("astronaut", "coffee"))
    mask = np.zeros([height, width], np.float32)
    mask[:, : width // 2] = 1
    blender = cv2.detail_MultiBandBlender(0, num_levels - 1)
    blender.prepare((0, 0, width, height))
    for image, part in ((a, mask), (b, 1 - mask)):
        blender.feed(np.int16(255 * image), np.uint8(255 * part), (0, 0))
    expected = np.clip(np.float32(blender.blend(None, None)[0]) / 255, 0, 1)
    y = ops.blend(a[None], b[None], mask[None, :, :, None], num_levels=num_levels)[0]
    # It extends images and rounds to integers in other ways, which changes the borders most.
    assert np.mean(np.abs(y - expected)) < 0.015


@pytest.mark.parametrize("name", ["astronaut", "coffee", "rocket"])
def test_exposure_fusion_resembles_opencvs_mertens(name):
    linear = (np.float32(getattr(skimage.data, name)()) / 255) ** 2.2
    exposures = [np.uint8(np.rint(255 * np.clip(linear * 2.0**stops, 0, 1) ** (1 / 2.2))) for stops in (-3, -1, 1, 3)]
    expected = cv2.createMergeMertens(1, 1, 1).process([x[:, :, ::-1] for x in exposures])[:, :, ::-1]
    y = ops.exposure_fusion([np.float32(x[None]) / 255 for x in exposures])[0]
    assert np.mean(np.abs(y - expected)) < 0.01


def test_a_focus_stack_restores_a_photograph():
    left, _, disparity = skimage.data.stereo_motorcycle()
    sharp = np.float32(left) / 255
    blurred = cv2.GaussianBlur(sharp, (0, 0), 3)
    near = (disparity > np.median(disparity))[:, :, None]  # Missing values are infinite.
    inputs = [np.where(near, sharp, blurred), np.where(near, blurred, sharp)]
    assert max(psnr(x, sharp) for x in [*inputs, np.mean(inputs, axis=0)]) < 28
    for num_levels in (4, 6, None):
        assert psnr(ops.focus_stack([x[None] for x in inputs], num_levels)[0], sharp) > 36.5


def test_masks_of_one_value_choose_one_image():
    for value, expected in ((1, A), (0, B)):
        for mask in (np.full(MASK.shape, value, bool), np.full(MASK.shape, value, np.float32)):
            np.testing.assert_allclose(ops.blend(A, B, mask), expected, atol=1e-12)


@pytest.mark.parametrize("step", STEPS)
def test_equal_images_are_the_result(step):
    np.testing.assert_array_equal(ops.blend(A, A, MASK, num_levels=3, **step), A)
    for function in (ops.exposure_fusion, ops.focus_stack):
        np.testing.assert_allclose(function([A, A, A], 3, **step), A, atol=1e-12)


def test_the_seam_is_wider_at_coarse_levels():
    """A step in brightness becomes a ramp; with one level it remains a step."""
    a, b = np.ones([1, 64, 64, 1]), np.zeros([1, 64, 64, 1])
    mask = np.zeros([1, 64, 64, 1])
    mask[:, :, :32] = 1
    steps = [np.abs(np.diff(ops.blend(a, b, mask, num_levels=n)[0, 32, :, 0])).max() for n in (1, 3, 6)]
    assert steps[0] == 1 and steps[1] < 0.2 and steps[2] < 0.04


def test_gradients_are_finite_differences():
    small = [x[:1, :5, :6] for x in (A, B, C)]
    for operation in OPERATIONS.values():
        assert_gradients(operation, small)


@pytest.mark.parametrize("name", OPERATIONS)
def test_flat_images_have_finite_first_and_second_derivatives(name):
    x = [tf.fill([1, 6, 5, 3], value) for value in (0.0, 1.0, 0.5)]
    with tf.GradientTape() as second:
        second.watch(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(OPERATIONS[name](*x) ** 3)
        first = tape.gradient(y, x)
        total = tf.add_n([tf.reduce_sum(gradient**2) for gradient in first])
    for gradient in [*first, *second.gradient(total, x)]:
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.slow
def test_graphs_compute_the_same_for_any_size(name, jit_compile):
    specification = [tf.TensorSpec([None, *([9, 7] if jit_compile else [None, None]), 3])] * 3
    run = tf.function(OPERATIONS[name], specification, autograph=False, jit_compile=jit_compile)
    for batch, height, width in [(2, 9, 7)] if jit_compile else [(2, 9, 7), (1, 1, 1), (3, 1, 4), (0, 5, 6)]:
        images = list(np.float32(RNG.random([3, batch, height, width, 3])))
        expected = OPERATIONS[name](*images)
        assert expected.shape == (batch, height, width, 3)
        np.testing.assert_allclose(run(*images), expected, atol=1e-6)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_rounded_once(name, dtype):
    images = [tf.cast(x, dtype) for x in (A, B, C)]
    y = OPERATIONS[name](*images)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, tf.cast(OPERATIONS[name](*(tf.cast(x, "float32") for x in images)), dtype))


@pytest.mark.parametrize("name", OPERATIONS)
def test_nan_reaches_the_pixels_around_it_and_no_other_image(name):
    images = [np.float32(np.repeat(x, 4, axis=2)) for x in (A, B, C)]  # 28 columns.
    images[0][0, 0, 0, 0] = np.nan
    y = np.asarray(OPERATIONS[name](*images))
    assert np.isnan(y[0, 0, 0]).any()
    assert np.isfinite(y[0, :, 25:]).all() and np.isfinite(y[1]).all()


@pytest.mark.slow
def test_graphs_are_small():
    unknown, known = [tf.TensorSpec([None, None, None, 3])] * 3, [tf.TensorSpec([2, 9, 7, 3])] * 3
    counts = {
        name: [
            count_operations(operation, *unknown),
            count_operations(operation, *known),
            count_operations(with_gradient(operation), *known),
        ]
        for name, operation in OPERATIONS.items()
    }
    bounds = {"blend": (620, 170, 430), "exposure_fusion": (850, 260, 710), "focus_stack": (580, 190, 510)}
    for name, bound in bounds.items():
        assert all(count <= most for count, most in zip(counts[name], bound)), counts


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: ops.blend(A, B[:, :8], MASK), r"`b` must have the shape of `a`, and its dtype. Received: b of shape"),
        (
            lambda: ops.blend(A, np.float32(B), MASK),
            "`b` must have the shape of `a`, and its dtype. Received: .*float32",
        ),
        (lambda: ops.blend(A, B, MASK[:, 1:]), r"`mask` must be \[batch, height, width, 1\], or have the shape of `a`"),
        (lambda: ops.blend(A, B, MASK[:1]), r"`mask` must be .* Received: mask of shape \(1, 9, 7, 1\), a of shape"),
        (lambda: ops.blend(A, B, C[..., :2]), "`mask` must be"),
        (lambda: ops.blend(A, B, MASK[..., 0]), "`mask` must have 4 axes"),
        (lambda: ops.blend(A, B, np.uint8(MASK)), "`mask` must be floating point"),
        (lambda: ops.blend(A, B, MASK, num_levels=0), "`num_levels` must be an integer of at least 1"),
        (lambda: ops.exposure_fusion([]), r"`images` must be a list of at least one tensor. Received: images=\[\]"),
        (lambda: ops.exposure_fusion(tf.constant(A)), "`images` must be a list of at least one tensor"),
        (lambda: ops.exposure_fusion([A, B[:, 1:]]), r"`images` must have the same shape .* images\[1\] of shape"),
        (lambda: ops.exposure_fusion([A, np.float32(B)]), r"`images` must have the same shape and dtype. Received"),
        (lambda: ops.exposure_fusion([A], contrast=-1), "`contrast` must be a finite number of at least 0"),
        (lambda: ops.focus_stack([A, B[..., :1]]), r"`images` must have the same shape .* images\[1\] of shape"),
        (lambda: ops.focus_stack([A, np.uint8(B)]), r"`images\[1\]` must be floating point"),
        (lambda: ops.focus_stack([A, B], border="zero"), "`border` must be one of"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_sizes_that_only_the_graph_knows_are_compared():
    masked = tf.function(lambda a, m: ops.blend(a, a, m, num_levels=2), [tf.TensorSpec([None, None, None, 3])] * 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`mask` must be"):
        masked(np.float32(A), np.float32(C[:, :5]))
    fused = tf.function(lambda *x: ops.focus_stack(x, 2), [tf.TensorSpec([None, None, None, 3])] * 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`images` must have the same shape"):
        fused(np.float32(A), np.float32(B[:, :, :5]))
    for function in (lambda x: ops.blend(x, x, x), lambda x: ops.focus_stack([x])):
        with pytest.raises(ValueError, match="`num_levels` must be given if the height or width"):
            tf.function(function, [tf.TensorSpec([None, None, None, 3])])(np.float32(A))
