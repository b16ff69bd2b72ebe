"""`ops.foveated_pyramid`: equal to a read of the whole pyramid, at a cost that does not grow with the image."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tests.graph_size import count_operations
from tests.ops.finite_differences import assert_gradients
from tfpyramid import ops
from tfpyramid.ops import borders

PLACES = np.array([[[0.5, 0.5], [0.0, 0.0], [1.0, 1.0], [0.31, 0.97]], [[-0.2, 0.4], [1.3, -0.6], [4.7, -9.1], [0, 1]]])


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def by_levels(images, fixations, size, num_levels, scale_factor=2.0, kernel=None, border="reflect"):
    """Compute the whole pyramid, and read it at the points of the equation."""
    levels = ops.gaussian_pyramid(images, num_levels, scale_factor=scale_factor, kernel=kernel, border=border)
    steps = np.arange(size) - (size - 1) / 2
    crops = []
    for k, level in enumerate(levels):
        shift = ops.phase(kernel, scale_factor) * sum(scale_factor**j for j in range(k))
        first = (fixations * np.array(images.shape[1:3]) - 0.5 - shift) / scale_factor**k
        points = first[..., None, None, :] + np.stack(np.meshgrid(steps, steps, indexing="ij"), -1)
        crops.append(ops.bilinear_sample(level, points, border=border))
    return crops


def assert_equal(actual, expected, atol=1e-6):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=atol)


@pytest.mark.parametrize("border", borders.NAMES)
@pytest.mark.parametrize("kernel", [None, "box", [1.0, 2.0, 0.5, 3.0]])
@pytest.mark.parametrize("size, num_levels, sides", [(3, 4, (230, 241)), (4, 2, (97, 40)), (5, 3, (7, 400))])
def test_crops_are_those_of_the_whole_pyramid(border, kernel, size, num_levels, sides):
    images = np.float32(normal(2, *sides, 1))
    actual = ops.foveated_pyramid(images, PLACES, size, num_levels, kernel=kernel, border=border)
    assert [tuple(crop.shape) for crop in actual] == [(2, 4, size, size, 1)] * num_levels
    assert_equal(actual, by_levels(images, PLACES, size, num_levels, kernel=kernel, border=border))


@pytest.mark.parametrize("scale_factor", [3.0, 1.5])
def test_other_factors(scale_factor):
    images = normal(2, 120, 131, 2)
    actual = ops.foveated_pyramid(images, PLACES, 3, 3, scale_factor=scale_factor)
    assert_equal(actual, by_levels(images, PLACES, 3, 3, scale_factor))


def test_crops_equal_the_numpy_reference():
    images, places = normal(2, 40, 61, 2), PLACES[:, 0]
    actual = ops.foveated_pyramid(images, places, 3, 3, kernel="box", border="symmetric")
    assert_equal(actual, references.foveated_pyramid(images, places, 3, 3, kernel="box", border="symmetric"))


@pytest.mark.parametrize("sides", [(1, 1), (2, 9), (90, 3), (130, 121)])
def test_sides_may_be_unknown_and_smaller_than_a_crop(sides):
    specifications = [tf.TensorSpec([None, None, None, 1]), tf.TensorSpec([None, None, 2])]
    crops = tf.function(lambda x, f: ops.foveated_pyramid(x, f, 5, 3), specifications, autograph=False)
    images, places = np.float32(normal(2, *sides, 1)), np.float32(PLACES[:, :3])
    assert_equal(crops(images, places), by_levels(images, places, 5, 3))
    assert_equal(ops.foveated_pyramid(images, places, 5, 3), by_levels(images, places, 5, 3))


def test_a_level_has_a_sample_however_many_levels_there_are():
    images = normal(1, 5, 6, 1)
    crops = ops.foveated_pyramid(images, [[0.4, 0.6]], 3, 30)
    assert_equal(crops, by_levels(images, np.array([[0.4, 0.6]]), 3, 30))
    np.testing.assert_allclose(crops[-1], np.full([1, 3, 3, 1], crops[-1][0, 1, 1, 0]))


def test_several_fixations_are_read_as_each_alone():
    images = normal(2, 230, 131, 2)
    together = ops.foveated_pyramid(images, PLACES, 3, 3)
    for n in range(4):
        assert_equal([crop[:, n] for crop in together], ops.foveated_pyramid(images, PLACES[:, n], 3, 3), 1e-12)


def largest_tensors(*functions):
    """Return the number of elements of the tensors of the graph of functions of images of 256 by 256 pixels."""
    for function in functions:
        images = tf.TensorSpec([1, 256, 256, 1])
        graph = tf.function(function, [images, tf.TensorSpec([1, 2, 2])], autograph=False).get_concrete_function().graph
        graphs = [graph, *(f.graph for f in getattr(graph, "_functions", {}).values() if hasattr(f, "graph"))]
        used = [y for g in graphs for op in g.get_operations() for y in op.outputs if y.consumers()]
        outputs = [(y.op.type, y.shape.num_elements()) for y in used]
        yield [kind for kind, size in outputs if size and size >= 256**2 and kind != "Placeholder"]


def test_no_copy_of_an_image_is_made_and_its_gradient_is_one_tensor():
    def gradient(x, f):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.concat(ops.foveated_pyramid(x, f, 4, 3), 0)
        return tape.gradient(y, x)

    forward, backward = largest_tensors(lambda x, f: ops.foveated_pyramid(x, f, 4, 3), gradient)
    # These change the shape, or pass a tensor on. A sum in place takes the memory of its input.
    free = {"Reshape", "Identity", "TensorScatterAdd", "PartitionedCall", "StatefulPartitionedCall", "IdentityN"}
    assert set(forward) <= free and "TensorScatterAdd" not in forward
    assert [kind for kind in backward if kind not in free] == ["Fill"]


@pytest.mark.parametrize("num_levels, most", [(1, 420), (3, 800)])
def test_a_step_has_few_nodes(num_levels, most):
    def step(x, f):
        with tf.GradientTape() as tape:
            tape.watch([x, f])
            y = ops.foveated_pyramid(x, f, 16, num_levels)
        return tape.gradient(y, [x, f])

    assert count_operations(step, tf.TensorSpec([2, 512, 512, 3]), tf.TensorSpec([2, 2])) <= most


@pytest.mark.parametrize("border", borders.NAMES)
@pytest.mark.parametrize("sides", [(8, 9), (27, 31)])
def test_gradients_are_finite_differences(border, sides):
    places = np.array([[0.53, 0.41], [-0.07, 1.11]])
    assert_gradients(
        lambda x, f: tf.concat(ops.foveated_pyramid(x, f, 2, 2, border=border), 0), [normal(2, *sides, 1), places]
    )


def test_at_a_sample_the_derivative_by_the_fixation_is_the_right_hand_one():
    images = tf.constant(np.array([0.0, 1, 3, 7, 15]).reshape(1, 1, 5, 1))
    places = tf.constant([[0.5, 2.5 / 5]], tf.float64)  # The pixel of value 3.
    with tf.GradientTape() as tape:
        tape.watch(places)
        (crop,) = ops.foveated_pyramid(images, places, 1, 1)
    assert float(tf.squeeze(crop)) == 3
    np.testing.assert_allclose(tape.gradient(crop, places), [[0, 5 * (7 - 3)]])


@pytest.mark.parametrize("sides", [(9, 11), pytest.param((120, 131), marks=pytest.mark.slow)])
def test_hard_crops_are_samples_with_the_gradient_of_the_soft_ones(sides):
    images, places = tf.constant(normal(2, *sides, 2)), tf.constant(PLACES)
    upstream = [tf.constant(normal(2, 4, 3, 3, 2))] * 2
    gradients = []
    for hard in (False, True):
        with tf.GradientTape() as tape:
            tape.watch([images, places])
            crops = ops.foveated_pyramid(images, places, 3, 2, hard=hard)
        gradients.append(tape.gradient(crops, [images, places], upstream))
    for a, b in zip(*gradients):
        np.testing.assert_array_equal(a, b)
    expected = references.foveated_pyramid(images.numpy(), PLACES, 3, 2, estimate=references.hard)
    np.testing.assert_array_equal(crops[0], expected[0])  # To the bit: they are pixels.
    assert_equal(crops, expected, 1e-12)


def test_of_two_equally_near_samples_the_first_is_read():
    images = np.arange(6.0).reshape(1, 1, 6, 1)
    (crop,) = ops.foveated_pyramid(images, [[0.5, 0.5]], 2, 1, hard=True)
    np.testing.assert_array_equal(crop[0, 0, :, 0], [2, 3])
    (crop,) = ops.foveated_pyramid(images, [[0.5, 0.5]], 1, 1, hard=True)
    assert crop[0, 0, 0, 0] == 2


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("sides", [(9, 11), (60, 61)])
def test_a_fixation_of_nan_gives_nan_and_no_gradient(hard, sides):
    images = tf.constant(normal(2, *sides, 1))
    places = np.array([[[0.4, 0.6], [np.nan, 0.2]], [[0.1, np.nan], [0.3, 0.3]]])
    broken = np.isnan(places).any(axis=-1)
    with tf.GradientTape() as tape:
        tape.watch(images)
        crops = ops.foveated_pyramid(images, places, 2, 2, hard=hard)
    for crop in crops:
        np.testing.assert_array_equal(np.isnan(crop), np.broadcast_to(broken[..., None, None, None], crop.shape))
    whole = np.where(broken[..., None], 0.5, places)
    with tf.GradientTape() as other:
        other.watch(images)
        expected = ops.foveated_pyramid(images, whole, 2, 2, hard=hard)
    keep = [tf.constant(np.broadcast_to(~broken[..., None, None, None], crop.shape) * 1.0) for crop in crops]
    np.testing.assert_allclose(tape.gradient(crops, images), other.gradient(expected, images, keep), atol=1e-12)


def test_positions_of_any_size_do_not_crash():
    images = np.float32(normal(1, 50, 61, 1))
    for place, border in itertools.product([1e9, -1e30, np.inf], borders.NAMES):
        for crop in ops.foveated_pyramid(images, np.float32([[place, 0.5]]), 3, 2, border=border):
            assert np.isfinite(crop).all()
    (crop,) = ops.foveated_pyramid(images, [[-np.inf, np.inf]], 3, 1, border="edge")
    np.testing.assert_array_equal(crop, np.full([1, 3, 3, 1], images[0, 0, -1, 0]))


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_is_rounded_once_for_each_level(dtype):
    images, places = tf.cast(normal(2, 60, 61, 2), dtype), np.float32(PLACES[:, 0])
    actual = ops.foveated_pyramid(images, places, 3, 2)
    assert all(crop.dtype == dtype for crop in actual)
    expected = by_levels(images, places, 3, 2)
    np.testing.assert_allclose(*(tf.cast(y[1], tf.float32) for y in (actual, expected)), atol=2e-2)
    # Only the images are rounded. A fixation in half precision is read as it is.
    np.testing.assert_array_equal(ops.foveated_pyramid(images, tf.cast(places, tf.float64), 3, 2)[0], actual[0])
    assert ops.foveated_pyramid(images, tf.cast(places, dtype), 3, 2)[0].dtype == dtype


@pytest.mark.parametrize("sides", [(9, 11), (60, 61)])
def test_an_empty_batch_and_a_mapped_function(sides):
    def crops(x, f):
        return tf.concat(ops.foveated_pyramid(x, f, 2, 2), -1)

    images, places = tf.constant(normal(3, *sides, 1)), tf.constant(normal(3, 2, 2))
    with tf.GradientTape() as tape:
        tape.watch(images)
        empty = crops(images[:0], places[:0])
    assert empty.shape == (0, 2, 2, 2, 2)
    np.testing.assert_array_equal(tape.gradient(empty, images), tf.zeros_like(images))
    assert crops(images[:0], tf.zeros([0, 3, 2], tf.float64)).shape == (0, 3, 2, 2, 2)
    expected = crops(images, places)
    for mapped in (tf.map_fn, tf.vectorized_map):
        actual = mapped(
            lambda each: crops(each[0][None], each[1][None])[0],
            (images, places),
            **({"fn_output_signature": tf.float64} if mapped is tf.map_fn else {}),
        )
        np.testing.assert_allclose(actual, expected, atol=1e-12)


def test_the_second_derivative():
    images, places = normal(1, 27, 30, 1), np.array([[0.53, 0.41]])

    def slope(x, f):
        with tf.GradientTape() as tape:
            tape.watch([x, f])
            y = tf.add_n([tf.reduce_sum(crop**3) for crop in ops.foveated_pyramid(x, f, 2, 2)])
        along_x, along_f = tape.gradient(y, [x, f])
        return tf.concat([tf.reshape(along_x, [-1])[300:500], tf.reshape(along_f, [-1])], 0)

    assert_gradients(slope, [images, places])


@pytest.mark.slow
@pytest.mark.parametrize("unknown", [False, True])
def test_the_gradient_works_in_a_loop_and_under_xla(unknown):
    images, places = tf.constant(normal(2, 60, 61, 1)), tf.constant(PLACES[:, 0])
    shape = [None, None, None, 1] if unknown else images.shape

    def gradient(x, f):
        with tf.GradientTape() as tape:
            tape.watch([x, f])
            y = tf.constant(0.0, x.dtype)
            for _ in tf.range(2):
                y += tf.add_n([tf.reduce_sum(crop**2) for crop in ops.foveated_pyramid(x, f, 2, 3)])
        return tape.gradient(y, [x, f])

    signature = [tf.TensorSpec(shape, tf.float64), tf.TensorSpec([None, 2], tf.float64)]
    expected = gradient(images, places)
    for options in ({}, {"jit_compile": True}):
        for a, b in zip(tf.function(gradient, signature, **options)(images, places), expected):
            np.testing.assert_allclose(a, b, atol=1e-9)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"size": 0}, "`size` must be an integer of at least 1"),
        ({"size": 1025}, "`size` must be at most 1024"),
        ({"num_levels": 0}, "`num_levels` must be an integer of at least 1"),
        ({"num_levels": None}, "`num_levels` must be an integer"),
        ({"scale_factor": 1.0}, "`scale_factor` must be .* greater than 1"),
        (
            {"fixations": np.zeros([2, 3])},
            r"`fixations` must be \[batch, 2\], .* Received: fixations of shape \(2, 3\)",
        ),
        ({"fixations": np.zeros([2])}, r"`fixations` must be \[batch, 2\]"),
        ({"fixations": np.zeros([3, 2])}, "`images` and `fixations` must have the same batch size"),
        ({"fixations": np.zeros([2, 2], int)}, "`fixations` must be floating point"),
        ({"hard": 1}, "`hard` must be True or False"),
        ({"border": "zero"}, "`border` must be one of"),
    ],
)
def test_a_bad_argument_is_named(change, message):
    arguments = {"images": np.zeros([2, 8, 8, 1]), "fixations": np.zeros([2, 2]), "size": 2, "num_levels": 2, **change}
    with pytest.raises(ValueError, match=message):
        ops.foveated_pyramid(**arguments)
