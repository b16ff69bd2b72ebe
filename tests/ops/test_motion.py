"""Warps and cost volumes: OpenCV, the equations in NumPy, SciPy, and what they are to each other."""

import cv2
import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from tests import references
from tests.graph_size import count_operations
from tests.ops.finite_differences import assert_gradients
from tfpyramid import layers, ops
from tfpyramid._compat import keras

RNG = np.random.default_rng(0)


def normal(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("border", ["constant", "edge"])
def test_a_warp_is_the_remap_of_opencv(border):
    # OpenCV reads at multiples of 1/32 of a pixel.
    x, flow = np.float32(normal([1, 9, 12, 1])), np.float32(np.round(4 * normal([1, 9, 12, 2], 1) * 32) / 32)
    rows, columns = np.float32(np.meshgrid(np.arange(9), np.arange(12), indexing="ij"))
    rule = {"constant": cv2.BORDER_CONSTANT, "edge": cv2.BORDER_REPLICATE}[border]
    maps = columns + flow[0, ..., 0], rows + flow[0, ..., 1]
    expected = cv2.remap(x[0, ..., 0], *maps, cv2.INTER_LINEAR, borderMode=rule)
    np.testing.assert_allclose(ops.warp(x, flow, border=border)[0, ..., 0], expected, atol=1e-5)


def test_a_warp_brings_the_second_image_back_by_the_flow_from_the_first():
    first = normal([1, 8, 9, 2])
    second = np.roll(first, (1, 3), axis=(1, 2))  # One down, three to the right.
    flow = np.broadcast_to([3.0, 1.0], [1, 8, 9, 2])
    np.testing.assert_array_equal(ops.warp(second, flow, border="wrap"), first)


@pytest.mark.parametrize("border", ["constant", "reflect", "symmetric", "edge", "wrap"])
def test_gradients_of_a_warp_are_finite_differences(border):
    assert_gradients(
        lambda x, flow: ops.warp(x, flow, border=border), [normal([2, 5, 4, 3]), 3 * normal([2, 5, 4, 2], 1)]
    )


@pytest.mark.parametrize("border", ["constant", "reflect", "symmetric", "edge", "wrap"])
def test_at_a_pixel_the_gradient_of_a_warp_is_that_of_the_cell_to_the_right_compiled_or_not(border):
    # The gradient jumps there, so a position that XLA computes with other digits would read another cell.
    x = tf.constant(normal([5]), tf.bfloat16)
    places = np.array([-3, 3, 1, 4, 7])
    images = x[None, None, :, None]
    flow = tf.constant(np.stack([places - np.arange(5), np.zeros(5)], -1)[None, None], tf.bfloat16)

    def gradient(images, flow):
        with tf.GradientTape() as tape:
            tape.watch(flow)
            y = tf.reduce_sum(ops.warp(images, flow, border=border))
        return tf.cast(tape.gradient(y, flow)[0, 0, :, 0], tf.float32)

    found = gradient(images, flow)
    np.testing.assert_array_equal(tf.function(gradient, jit_compile=True)(images, flow), found)
    x, inside = np.float64(tf.cast(x, tf.float32)), [1, 2]  # Beyond the border, a mirror turns the cells around.
    expected = x[places[inside] + 1] - x[places[inside]]
    np.testing.assert_allclose(np.array(found)[inside], expected, atol=2**-8 * np.abs(expected).max())


def test_a_flow_of_half_precision_is_added_to_positions_that_have_the_digits():
    x = np.float32(np.arange(4097))[None, None, :, None]
    flow = tf.constant(0.25, tf.float16, [1, 1, 4097, 2]) * tf.constant([1, 0], tf.float16)
    np.testing.assert_array_equal(ops.warp(x, flow)[0, 0, :-1, 0], np.arange(4096) + 0.25)


@pytest.mark.parametrize(
    "size, search",
    [((6, 5), {}), ((4, 7), {"max_displacement": 5, "step": 2}), ((1, 3), {"max_displacement": 0, "kernel_size": 5})],
)
def test_costs_are_those_of_the_equation(size, search):
    first, second = normal([2, *size, 3]), normal([2, *size, 3], 1)
    y = ops.cost_volume(first, second, **search)
    np.testing.assert_allclose(y, references.cost_volume(first, second, **search), atol=1e-12)


def test_gradients_of_costs_are_finite_differences_for_both_maps():
    maps = [normal([2, 5, 4, 3]), normal([2, 5, 4, 3], 1)]
    assert_gradients(lambda a, b: ops.cost_volume(a, b, 3, step=2, kernel_size=3), maps)


@pytest.mark.parametrize("width", [1, 8, 17])
def test_costs_of_any_width_and_step_are_those_of_the_equation(width):
    first, second = normal([1, 3, width, 2]), normal([1, 3, width, 2], 1)
    for search in ({"max_displacement": 5}, {"max_displacement": 7, "step": 3}, {"max_displacement": 9, "step": 9}):
        y = ops.cost_volume(first, second, **search)
        np.testing.assert_allclose(y, references.cost_volume(first, second, **search), atol=1e-12)


def test_costs_have_second_derivatives():
    maps = [normal([1, 3, 9, 2]), normal([1, 3, 9, 2], 1)]

    def derivative(a, b):
        with tf.GradientTape() as tape:
            tape.watch([a, b])
            y = tf.reduce_sum(ops.cost_volume(a, b, 1) ** 3)
        return tf.concat(tape.gradient(y, [a, b]), 0)

    assert_gradients(derivative, maps)


def test_a_cost_volume_with_its_gradient_is_few_operations():
    def gradients(first, second):
        volume = ops.cost_volume(first, second, 4)
        return volume, tf.gradients(volume, [first, second])

    for sides, most in (((6, 7), 350), ((None, None), 650)):
        shape = tf.TensorSpec([1, *sides, 3])
        assert count_operations(gradients, shape, shape) <= most


def test_the_largest_cost_is_the_flow_that_warps_the_second_map_back():
    first = normal([1, 12, 12, 32])
    second = np.roll(first, (-1, 2), axis=(1, 2))
    best = np.argmax(ops.cost_volume(first, second, 2)[0, 3:-3, 3:-3], axis=-1)
    assert np.all(best == 5 * (2 - 1) + (2 + 2))
    flow = np.broadcast_to([2.0, -1.0], [1, 12, 12, 2])
    np.testing.assert_array_equal(ops.warp(second, flow)[0, 3:-3, 3:-3], first[0, 3:-3, 3:-3])


def test_costs_of_half_precision_are_rounded_once():
    first, second = (tf.cast(normal([1, 6, 6, 64], seed), tf.float16) for seed in (0, 1))
    exact = ops.cost_volume(*(tf.cast(x, tf.float32) for x in (first, second)), kernel_size=3)
    np.testing.assert_array_equal(ops.cost_volume(first, second, kernel_size=3), tf.cast(exact, tf.float16))


def test_warp_reads_at_each_pixel_moved_by_dx_dy():
    images, flow = RNG.random([2, 7, 9, 3]), 2 * RNG.normal(size=[2, 7, 9, 2])
    for border, mode in (("constant", "grid-constant"), ("edge", "nearest"), ("reflect", "mirror")):
        warped = ops.warp(images, flow, border=border)
        for image, field, result in zip(images, flow, warped):
            places = np.indices([7, 9]) + field[..., ::-1].transpose(2, 0, 1)
            for channel in range(3):
                expected = scipy.ndimage.map_coordinates(image[..., channel], places, order=1, mode=mode)
                np.testing.assert_allclose(result[..., channel], expected, atol=1e-12)


@pytest.mark.slow
def test_of_unknown_sides_and_compiled_they_are_the_same():
    images, flow = tf.constant(RNG.random([2, 5, 7, 2])), tf.constant(RNG.normal(size=[2, 5, 7, 2]))
    for operation in (lambda x, f: ops.warp(x, f), lambda x, f: ops.cost_volume(x, f, 2)):
        expected = operation(images, flow)
        signature = [tf.TensorSpec([None, None, None, 2], tf.float64)] * 2
        np.testing.assert_allclose(tf.function(operation, input_signature=signature)(images, flow), expected)
        np.testing.assert_allclose(tf.function(operation, jit_compile=True)(images, flow), expected, atol=1e-12)


X, FLOW = normal([2, 5, 4, 3]), normal([2, 5, 4, 2])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: ops.warp(X, FLOW[..., :1]), r"`flow` must be \[batch, .* flow of shape \(2, 5, 4, 1\), images of sh"),
        (lambda: ops.warp(X, FLOW[:, 1:]), r"`flow` must be .* height and width of `images`.* of shape \(2, 4, 4, 2\)"),
        (lambda: ops.warp(X, FLOW.astype(int)), "`flow` must be floating point"),
        (lambda: ops.warp(X, FLOW, border="zeros"), "`border` must be one of .* Received: border='zeros'"),
        (lambda: ops.cost_volume(X, FLOW), r"`second` must have the shape of `first`.* second of shape \(2, 5, 4, 2\)"),
        (lambda: ops.cost_volume(X, np.float32(X)), "`second` must have the dtype .* float64. Received: .* float32"),
        (lambda: ops.cost_volume(X, X, -1), "`max_displacement` must be an integer of at least 0, in pixels"),
        (lambda: ops.cost_volume(X, X, step=0), "`step` must be an integer of at least 1.* Received: step=0"),
        (lambda: ops.cost_volume(X, X, kernel_size=2), "`kernel_size` must be odd.* Received: kernel_size=2"),
        (lambda: layers.Warp2D(border="zeros"), "`border` must be one of .* Received: border='zeros'"),
        (lambda: layers.Warp2D()(X), r"`inputs` must be a list of two tensors, \[images, flow\].* Received: one "),
        (
            lambda: layers.CostVolume()([X] * 4),
            r"`inputs` must be a list of two tensors, \[first, second\], or three, .* a list of 4",
        ),
        (lambda: layers.CostVolume()([X] * 3), r"`flow` must be .* width of `first`. .* first of shape \(2, 5, 4, 3\)"),
        (lambda: layers.CostVolume(sampling="nearest"), "`sampling` must be one of 'warp', 'lookup'. Received: sampli"),
        (lambda: ops.cost_volume(X, X, flow=FLOW, sampling=None), "`sampling` must be one of .* sampling=None"),
        (lambda: ops.cost_volume(X, X, flow=FLOW[:1]), r"`flow` must be .* of `first`.* of shape \(1, 5, 4, 2\)"),
        (lambda: ops.warp(X, FLOW, return_mask=1), "`return_mask` must be True or False. Received: return_mask=1"),
        (lambda: layers.Warp2D()([X, X]), r"`flow` must be \[batch, height, width, 2\].* of shape \(2, 5, 4, 3\)"),
        (lambda: layers.CostVolume()([X, FLOW]), "`second` must have the shape of `first`"),
        (
            lambda: layers.CostVolume()([keras.Input((4, 5, 3)), keras.Input((4, 4, 3))]),
            r"`second` must have the shape of `first`.* first of shape \(None, 4, 5, 3\)",
        ),
    ],
)
def test_bad_input_is_an_error_that_names_it(call, message):
    with pytest.raises(ValueError, match=message):
        call()
