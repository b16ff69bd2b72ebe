"""NaN and infinity at one pixel: they reach the outputs that read that pixel with a weight other than 0, and no other.

The weights are the matrix of an operation: its outputs for images of one pixel each.
"""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, ops
from tfpyramid.ops import borders

SIDES = (7, 6)
PIXELS = SIDES[0] * SIDES[1]
RNG = np.random.default_rng(0)
POINTS = np.concatenate([RNG.uniform(-2, 9, [20, 2]), RNG.integers(-2, 9, [20, 2])])[None]
FIXATIONS = np.array([[0.2, 0.3], [1 / 2, 1 / 2], [1.1, 0.9]])[None]
FLOW = RNG.integers(-6, 7, [1, *SIDES, 2]) / 2


def same(x, values):
    """Return values for each image of a batch."""
    return tf.tile(tf.constant(values, x.dtype), [tf.shape(x)[0], *[1] * (np.ndim(values) - 1)])


def up_size(factor):
    return [int(factor * side) for side in SIDES]


def steps(factor, kernel, border):
    options = {"scale_factor": factor, "kernel": kernel, "border": border}
    name = f"{factor} {kernel} {border}"
    return {
        f"pyr_down {name}": lambda x: ops.pyr_down(x, **options),
        f"pyr_up {name}": lambda x: ops.pyr_up(x, up_size(factor), **options),
    }


CASES = {
    **steps(2.0, None, "reflect"),
    **steps(2.0, "box", "symmetric"),
    **steps(2.0, [1.0, 2.0, 3.0, 1.0], "edge"),
    **steps(3.0, "box", "constant"),
    **steps(1.5, None, "wrap"),
    **steps(1.5, "box", "reflect"),
    **steps(2.5, "bilinear", "constant"),
    **steps(1.4, [1.0, 2.0, 3.0, 1.0], "reflect"),
    "resize_by": lambda x: ops.resize_by(x, 1.5, (10, 9)),
    "resize_by nearest": lambda x: ops.resize_by(x, 2.0, (13, 12), interpolation="nearest"),
    "resize_by without a factor": lambda x: ops.resize_by(x, None, (11, 12)),
    "bilinear_down 1.5": lambda x: ops.bilinear_down(x, 1.5),
    "bilinear_down 2": lambda x: ops.bilinear_down(x),
    "bilinear_down antialias 1.5": lambda x: ops.bilinear_down(x, 1.5, antialias=True),
    "bilinear_down antialias 2": lambda x: ops.bilinear_down(x, antialias=True),
    "bilinear_down antialias 3": lambda x: ops.bilinear_down(x, 3.0, antialias=True),
    "depthwise_down": lambda x: ops.depthwise_down(x, np.ones([3, 2, 1, 1])),
    "conv_down": lambda x: ops.conv_down(x, tf.ones([2, 3, 1, 1], x.dtype), border="wrap"),
    "window_mean": lambda x: ops.window_mean(x, same(x, np.ones([1, 4, 3, 9]))),
    "strided_conv2d": lambda x: ops.strided_conv2d(x, tf.ones([3, 2, 1, 1], x.dtype), (1.5, 2.0)),
    "strided_conv2d beyond": lambda x: ops.strided_conv2d(
        x, tf.ones([2, 2, 1, 1], x.dtype), (1.7, 1.0), output_size=(6, 7)
    ),
    "cost_volume of the second": lambda x: ops.cost_volume(tf.ones_like(x), x, 2, kernel_size=3),
    "gaussian_pyramid": lambda x: ops.gaussian_pyramid(x, 2)[1],
    "gaussian_pyramid by 1.5": lambda x: ops.gaussian_pyramid(x, 3, scale_factor=1.5, upsampled_levels=1)[0],
    "reconstruct of the low-pass": lambda x: ops.reconstruct(
        [tf.zeros([tf.shape(x)[0], 10, 9, 1], x.dtype), x], scale_factor=1.5
    ),
    "reconstruct of the residual": lambda x: ops.reconstruct(
        [x, tf.zeros([tf.shape(x)[0], 4, 3, 1], x.dtype)], kernel="box"
    ),
    "align_levels": lambda x: ops.align_levels([tf.zeros([tf.shape(x)[0], 13, 12, 1], x.dtype), x])[1],
    "align_levels down": lambda x: ops.align_levels([x, tf.zeros([tf.shape(x)[0], 4, 3, 1], x.dtype)], -1)[0],
}
for name in borders.NAMES:
    CASES[f"bilinear_sample {name}"] = lambda x, name=name: ops.bilinear_sample(x, same(x, POINTS), border=name)
    CASES[f"foveated_pyramid {name}"] = lambda x, name=name: tf.concat(
        ops.foveated_pyramid(x, same(x, FIXATIONS), 3, 2, border=name), -1
    )
    CASES[f"warp {name}"] = lambda x, name=name: ops.warp(x, same(x, FLOW), border=name)


def with_pixels(value, background):
    """Return an image for each pixel, that pixel of one value and the others of another."""
    x = np.full([PIXELS, PIXELS], background, np.float64)
    np.fill_diagonal(x, value)
    return x.reshape(PIXELS, *SIDES, 1)


def reached(op, value=np.nan):
    """Return [pixels, outputs], which outputs are not finite where a pixel is not."""
    return ~np.isfinite(op(with_pixels(value, 1.0))).reshape(PIXELS, -1)


def read(op):
    """Return [pixels, outputs], which outputs read a pixel with a weight that is not 0."""
    return np.asarray(op(with_pixels(1.0, 0.0))).reshape(PIXELS, -1) != 0


def in_mode(op, mode):
    if mode == "eager":
        return lambda x: np.asarray(op(tf.constant(x)))
    sides = [None, None, None, 1] if mode == "unknown sides" else [None, *SIDES, 1]
    signature = [tf.TensorSpec(sides, tf.float64)]
    run = tf.function(op, input_signature=signature, autograph=False, jit_compile=mode == "XLA")
    return lambda x: run(x).numpy()


@pytest.mark.parametrize("name", CASES)
def test_a_pixel_that_is_not_finite_reaches_the_outputs_that_read_it(name):
    op = in_mode(CASES[name], "eager")
    expected = read(op)
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(reached(op), expected)
    np.testing.assert_array_equal(reached(op, np.inf), expected)


@pytest.mark.parametrize("mode", ["unknown sides", "XLA"])
@pytest.mark.parametrize(
    "name",
    [
        "pyr_down 1.5 box reflect",
        "pyr_up 1.5 None wrap",
        "pyr_up 2.0 box symmetric",
        "bilinear_down antialias 1.5",
        "bilinear_down antialias 2",
        "warp constant",
        "strided_conv2d beyond",
    ],
)
def test_it_reaches_the_same_in_every_mode(name, mode):
    op = in_mode(CASES[name], mode)
    np.testing.assert_array_equal(reached(op), read(op))


def reached_backwards(op):
    """Return [pixels, outputs], which pixels' gradients are not finite where the gradient of an output is not."""
    images = tf.constant(np.random.default_rng(1).normal(size=(1, *SIDES, 1)))
    shape = op(images).shape[1:]
    count = shape.num_elements()
    upstream = np.where(np.eye(count, dtype=bool), np.nan, 1.0).reshape(count, *shape)
    images = tf.tile(images, [count, 1, 1, 1])
    with tf.GradientTape() as tape:
        tape.watch(images)
        y = op(images)
    return ~np.isfinite(tape.gradient(y, images, tf.constant(upstream))).reshape(count, -1).T


@pytest.mark.parametrize("name", CASES)
def test_a_gradient_that_is_not_finite_reaches_the_pixels_that_the_output_reads(name):
    np.testing.assert_array_equal(reached_backwards(CASES[name]), read(in_mode(CASES[name], "eager")))


@pytest.mark.parametrize("factor, kernel", [(2.0, None), (2.0, "box"), (1.5, None)])
def test_a_residual_has_what_its_pixel_and_the_next_level_have(factor, kernel):
    step = {"scale_factor": factor, "kernel": kernel}

    def residual(x):
        return ops.laplacian_pyramid(x, 2, **step)[0]

    # Where the two parts cancel, as in a constant image, both are read all the same.
    down = read(lambda x: ops.pyr_down(x, **step))
    height, width = ops.pyr_down(tf.zeros([1, *SIDES, 1]), **step).shape[1:3]
    units = np.eye(height * width).reshape(-1, height, width, 1)
    up = np.asarray(ops.pyr_up(units, SIDES, **step)).reshape(len(units), -1) != 0
    np.testing.assert_array_equal(reached(residual), np.eye(PIXELS, dtype=bool) | (down @ up))


def test_a_product_of_matrices_reads_every_pixel():
    assert reached(lambda x: ops.spectral_pool(x, 2.0)).all()


def test_a_convolution_reads_every_pixel_under_its_kernel():
    kernel = np.array([1.0, 0.0, 1.0])[:, None, None, None] * np.ones([1, 3, 1, 1])
    weights = np.eye(9)[[4]].reshape(1, 1, 1, 9) * np.ones([1, 4, 3, 1])
    for op, of_ones in [
        (lambda x: ops.depthwise_down(x, kernel), lambda x: ops.depthwise_down(x, np.ones_like(kernel))),
        (lambda x: ops.conv_down(x, kernel), lambda x: ops.conv_down(x, np.ones_like(kernel))),
        (lambda x: ops.window_mean(x, same(x, weights)), CASES["window_mean"]),
    ]:
        np.testing.assert_array_equal(reached(op), read(of_ones))


def test_a_cost_multiplies_by_the_zeros_beyond_the_border_too():
    volume = reached(lambda x: ops.cost_volume(x, tf.ones_like(x), 1)).reshape(PIXELS, PIXELS, 9)
    np.testing.assert_array_equal(volume, np.broadcast_to(np.eye(PIXELS, dtype=bool)[..., None], volume.shape))


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_fused_level_of_weight_zero_is_not_read(value, per_channel):
    levels = [tf.ones([1, 4, 4, 2]), tf.fill([1, 2, 2, 2], np.float32(value))]
    layer = layers.WeightedFusion("softmax", hard=True, per_channel=per_channel)
    np.testing.assert_array_equal(layer(levels), np.ones([1, 4, 4, 2]))
    layer = layers.WeightedFusion("sum", per_channel=per_channel)
    layer.build([level.shape for level in levels])
    layer.level_weights.assign(np.array([[2.0, 2.0], [0.0, 0.0]]) if per_channel else [2.0, 0.0])
    for run in (layer, tf.function(layer, jit_compile=True, autograph=False)):
        np.testing.assert_array_equal(run(levels), np.full([1, 4, 4, 2], 2.0))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_level_whose_gate_is_closed_is_not_read(value):
    pyramid = layers.AdaptiveDepthPyramid(2, layers.BlurPool2D(), hard=True)
    images = tf.fill([1, 4, 4, 1], np.float32(value))
    pyramid(images)
    pyramid.gate_logits.assign([-1.0])
    levels, _ = pyramid(images)
    np.testing.assert_array_equal(levels[1], np.zeros([1, 2, 2, 1]))
