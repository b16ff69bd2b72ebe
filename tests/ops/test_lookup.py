"""Cost volumes at a flow: "warp" and "lookup", where they agree, and where they differ."""

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tests.graph_size import count_operations
from tests.ops.finite_differences import assert_gradients
from tfpyramid import layers, ops

SAMPLINGS = ["warp", "lookup"]

both = pytest.mark.parametrize("sampling", SAMPLINGS)


def inputs(*shape, scale=2.0, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    maps = [rng.standard_normal([*shape, channels]) for _ in range(2)]
    return [*maps, scale * rng.standard_normal([*shape, 2])]


def costs(first, second, flow, max_displacement=1, sampling="lookup", **options):
    return ops.cost_volume(first, second, max_displacement, flow=flow, sampling=sampling, **options)


@both
@pytest.mark.parametrize(
    "size, search",
    [
        ((5, 4), {"max_displacement": 2}),
        ((3, 7), {"max_displacement": 5, "step": 2, "kernel_size": 3}),
        ((1, 1), {"max_displacement": 3}),  # Displacements larger than the image.
        ((2, 1), {"max_displacement": 0, "kernel_size": 3}),
    ],
    ids=str,
)
def test_costs_are_those_of_the_equation(sampling, size, search):
    for scale in (2.0, 30.0):  # Most of the larger flows leave the image.
        first, second, flow = inputs(2, *size, scale=scale)
        expected = references.cost_volume(first, second, flow=flow, sampling=sampling, **search)
        np.testing.assert_allclose(costs(first, second, flow, sampling=sampling, **search), expected, atol=1e-12)


@both
@pytest.mark.parametrize("search", [{}, {"max_displacement": 4, "step": 2, "kernel_size": 3}], ids=str)
def test_gradients_are_finite_differences(sampling, search):
    assert_gradients(lambda *x: costs(*x, sampling=sampling, **search), inputs(2, 4, 5))


@pytest.mark.slow
def test_costs_have_second_derivatives():
    def derivative(*arguments):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            y = tf.reduce_sum(costs(*arguments) ** 3)
        return tf.concat(tape.gradient(y, arguments), -1)

    assert_gradients(derivative, inputs(1, 2, 3, channels=2))


def test_for_a_constant_flow_both_are_the_same_inside_the_image():
    first, second, _ = inputs(1, 9, 10)
    flow = np.broadcast_to([0.3, -1.6], [1, 9, 10, 2])
    warped, looked_up = (costs(first, second, flow, sampling=sampling) for sampling in SAMPLINGS)
    np.testing.assert_allclose(warped[:, 1:-1, 1:-1], looked_up[:, 1:-1, 1:-1], atol=1e-12)


def test_a_flow_of_zero_is_no_flow():
    first, second, flow = inputs(1, 4, 5, scale=0.0)
    for sampling in SAMPLINGS:
        np.testing.assert_allclose(
            costs(first, second, flow, sampling=sampling), ops.cost_volume(first, second, 1), atol=1e-12
        )


def moving_object():
    """Return two images of an object that moves 4 pixels to the right over a still background, and the true flow."""
    rng = np.random.default_rng(3)
    first, thing = rng.choice([-1.0, 1.0], [1, 9, 16, 32]), np.s_[:, 3:6, 4:7]
    second = first.copy()
    second[:, 3:6, 8:11] = first[thing]
    flow = np.zeros([1, 9, 16, 2])
    flow[thing] = [4.0, 0.0]
    return first, second, flow


def test_at_a_border_between_motions_lookup_finds_what_a_warp_loses():
    first, second, flow = moving_object()
    # The true displacement of this pixel of the object's edge is one pixel to the left of where its flow points.
    flow[0, 4, 4] = [5.0, 0.0]
    left = 3 * 1 + 0  # (dy, dx) = (0, -1)
    warped, looked_up = (np.array(costs(first, second, flow, sampling=s))[0, 4, 4] for s in SAMPLINGS)
    np.testing.assert_allclose(looked_up[left], 1)
    # The warp reads the pixel to the left with the flow of the background there, which is zero.
    np.testing.assert_allclose(warped[left], np.mean(first[0, 4, 4] * second[0, 4, 3]))
    assert np.argmax(looked_up) == left != np.argmax(warped)


def test_a_cost_of_lookup_has_a_gradient_at_its_own_flow_alone():
    first, second, flow = (tf.constant(x) for x in moving_object())
    pixel = np.zeros([9, 16], bool)
    pixel[4, 4] = True  # On the left edge of the object.
    reached = {}
    for sampling in SAMPLINGS:
        with tf.GradientTape() as tape:
            tape.watch(flow)
            y = tf.reduce_sum(costs(first, second, flow + 0.25, sampling=sampling)[0, 4, 4])
        reached[sampling] = np.any(tape.gradient(y, flow)[0] != 0, axis=-1)
    np.testing.assert_array_equal(reached["lookup"], pixel)
    window = np.zeros_like(pixel)
    window[3:6, 3:6] = True  # It includes pixels of the background, whose flow the object has no right to change.
    np.testing.assert_array_equal(reached["warp"], window)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_nan_in_the_flow_stays_where_it_belongs(value):
    first, second, flow = (tf.constant(x) for x in inputs(1, 5, 6))
    broken = np.array(flow)
    broken[0, 2, 3, 1] = value
    broken = tf.constant(broken)
    for sampling in SAMPLINGS:
        clean = costs(first, second, flow, sampling=sampling)
        with tf.GradientTape() as tape:
            tape.watch([first, second, broken])
            y = costs(first, second, broken, sampling=sampling)
        of_first, of_second, of_flow = tape.gradient(y, [first, second, broken], tf.ones_like(y))
        changed = np.zeros([5, 6, 9], bool)
        if sampling == "lookup":
            changed[2, 3] = True
        else:
            for k in range(9):
                changed[2 - k // 3 + 1, 3 - k % 3 + 1, k] = True
        np.testing.assert_allclose(np.array(y)[0][~changed], np.array(clean)[0][~changed], atol=1e-12)
        # A position at infinity is outside, where the second map is zero.
        assert (np.isnan(y[0][changed]) if np.isnan(value) else np.array(y)[0][changed] == 0).all()
        if np.isinf(value):
            assert all(np.isfinite(each).all() for each in (of_first, of_second, of_flow))
        elif sampling == "lookup":
            nan = np.zeros([5, 6], bool)
            nan[2, 3] = True
            np.testing.assert_array_equal(np.isnan(of_first[0]).any(axis=-1), nan)
            np.testing.assert_array_equal(np.isnan(of_flow[0]).any(axis=-1), nan)
            assert np.isfinite(of_second).all()


@pytest.mark.parametrize("channels", [3, 16])
@pytest.mark.parametrize("border", ["constant", "edge"])
def test_a_nan_in_the_flow_of_a_warp_leaves_the_gradient_of_the_images_finite(channels, border):
    images, _, flow = inputs(1, 5, 6, channels=channels)
    broken = flow.copy()
    broken[0, 2, 3] = np.nan
    gradients = []
    for given in (flow, broken):
        x = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = ops.warp(x, given, border=border)
        upstream = np.ones_like(images)
        upstream[0, 2, 3] = given is broken  # The clean warp has no gradient from this pixel.
        gradients.append(tape.gradient(y, x, tf.constant(upstream)))
    np.testing.assert_allclose(gradients[1], gradients[0], atol=1e-12)


def test_a_nan_in_the_second_map_reaches_only_the_costs_that_read_it():
    first, second, flow = inputs(1, 5, 6, scale=0.0)
    second[0, 2, 3, 1] = np.nan
    y = np.isnan(costs(first, second, flow))[0]  # At whole positions, the next pixel has the weight 0.
    expected = np.zeros([5, 6, 9], bool)
    for k in range(9):
        expected[2 - k // 3 + 1, 3 - k % 3 + 1, k] = True
    np.testing.assert_array_equal(y, expected)


def test_gradients_of_costs_that_do_not_count_ignore_a_nan():
    first, second, flow = (tf.constant(x) for x in inputs(1, 5, 6))
    second = tf.where(tf.range(6)[None, None, :, None] == 3, tf.constant(np.nan, tf.float64), second)
    with tf.GradientTape() as tape:
        tape.watch([first, second])
        y = costs(first, second, flow)
    counts = ~np.isnan(y)
    assert 0 < counts.mean() < 1
    of_first, of_second = tape.gradient(y, [first, second], tf.constant(counts, tf.float64))
    assert np.isfinite(of_first).all() and np.isfinite(of_second).all()


@both
def test_an_empty_batch_has_no_costs(sampling):
    empty = [tf.zeros([0, 4, 5, n]) for n in (3, 3, 2)]
    with tf.GradientTape() as tape:
        tape.watch(empty)
        y = costs(*empty, sampling=sampling)
    assert y.shape == (0, 4, 5, 9)
    assert [g.shape for g in tape.gradient(y, empty)] == [x.shape for x in empty]


@both
@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_costs_of_half_precision_are_summed_in_float32(sampling, dtype):
    first, second, flow = inputs(1, 6, 6, channels=64)
    first, second = (tf.cast(x, dtype) for x in (first, second))
    wide = [tf.cast(x, tf.float32) for x in (first, second, flow)]
    if sampling == "warp":
        wide[1] = tf.cast(ops.warp(second, wide[2]), tf.float32)  # The warp is rounded to the dtype of the images.
        exact = ops.cost_volume(*wide[:2], 1)
    else:
        exact = costs(*wide)
    found = costs(first, second, tf.cast(flow, tf.float32), sampling=sampling)
    np.testing.assert_array_equal(tf.cast(found, tf.float32), tf.cast(tf.cast(exact, dtype), tf.float32))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_policy_does_not_round_the_flow(policy):
    first = np.ones([1, 1, 9, 1], "f")
    second = np.full([1, 1, 9, 1], 1.0, "f")
    second[0, 0, 3] = np.nan
    flow = np.zeros([1, 1, 9, 2], "f")
    flow[..., 0] = 2.0001  # In half precision this is 2, and the next pixel would not be read.
    for sampling in SAMPLINGS:
        y = layers.CostVolume(0, sampling=sampling, dtype=policy)([first, second, flow])
        assert y.dtype == policy.split("_")[1]
        np.testing.assert_array_equal(np.isnan(tf.cast(y, tf.float32))[0, 0, :, 0], np.isin(np.arange(9), [0, 1]))


@pytest.mark.slow
@both
def test_of_unknown_sides_compiled_and_mapped_they_are_the_same(sampling):
    arguments = [tf.constant(x) for x in inputs(2, 5, 4)]

    def gradients(*arguments):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            y = costs(*arguments, sampling=sampling)
        return [y, *tape.gradient(y, arguments, tf.cos(y))]

    expected = gradients(*arguments)
    signature = [tf.TensorSpec([None, None, None, n], tf.float64) for n in (3, 3, 2)]

    def sample(x):
        return [y[0] for y in gradients(*(part[None] for part in x))]

    found = {
        "unknown sides": tf.function(gradients, input_signature=signature)(*arguments),
        "compiled": tf.function(gradients, jit_compile=True)(*arguments),
        "vectorized_map": tf.vectorized_map(sample, arguments),
        "map_fn": tf.map_fn(sample, arguments, fn_output_signature=[tf.float64] * 4),
        "cond": tf.function(
            lambda: tf.cond(expected[0][0, 0, 0, 0] < 9, lambda: gradients(*arguments), lambda: expected)
        )(),
    }
    for way, results in found.items():
        for y, wanted in zip(results, expected, strict=True):
            np.testing.assert_allclose(y, wanted, atol=1e-12, err_msg=way)


@pytest.mark.slow
@pytest.mark.parametrize("sampling, most", [("warp", 950), ("lookup", 1150)])
def test_costs_with_their_gradient_are_few_operations(sampling, most):
    def gradients(*arguments):
        volume = costs(*arguments, max_displacement=4, sampling=sampling)
        return volume, tf.gradients(volume, arguments)

    counts = []
    for sides in ((6, 7), (None, None)):
        counts.append(count_operations(gradients, *(tf.TensorSpec([1, *sides, n]) for n in (32, 32, 2))))
    assert max(counts) <= most, counts


@pytest.mark.parametrize("border", ["constant", "edge", "wrap"])
def test_the_mask_of_a_warp_is_1_where_it_reads_the_image(border):
    x, _, flow = inputs(2, 5, 7, scale=3.0)
    y, mask = ops.warp(np.float32(x), flow, border=border, return_mask=True)
    np.testing.assert_array_equal(y, ops.warp(np.float32(x), flow, border=border))
    assert mask.dtype == tf.float32
    np.testing.assert_array_equal(mask, references.inside(flow))
    assert 0 < np.mean(mask) < 1


def test_the_mask_includes_the_outer_pixels_and_no_nan():
    flow = np.zeros([1, 2, 3, 2], np.float32)
    flow[0, 0, 0] = [2.0, 1.0]
    flow[0, 0, 1] = [1.001, 0.0]
    flow[0, 1, 0] = [0.0, -1.001]
    flow[0, 1, 1] = [np.nan, 0.0]
    _, mask = ops.warp(tf.zeros([1, 2, 3, 1], tf.float16), flow, return_mask=True)
    assert mask.dtype == tf.float16
    np.testing.assert_array_equal(mask[0, ..., 0], [[1, 0, 1], [0, 0, 1]])


def test_the_mask_has_no_gradient():
    x, _, flow = (tf.constant(each) for each in inputs(1, 4, 5))
    with tf.GradientTape() as tape:
        tape.watch([x, flow])
        _, mask = ops.warp(x, flow, return_mask=True)
    assert tape.gradient(mask, [x, flow]) == [None, None]
