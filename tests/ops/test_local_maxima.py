"""`ops.local_maxima`: which pixels of a map it takes, in which order, and what their values do."""

import math

import numpy as np
import pytest
import skimage.feature
import tensorflow as tf

from tests import references
from tests.graph_size import count_operations
from tests.ops.finite_differences import assert_gradients
from tfpyramid import ops


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def of_rows(rows):
    """Return one map as a batch."""
    return np.float32(rows)[None, ..., None]


def pixels(positions, maps):
    """Return the row and the column of each position, which must be the center of a pixel."""
    places = np.asarray(positions, np.float64) * maps.shape[1:3] - 0.5
    np.testing.assert_allclose(places, np.round(places), atol=1e-4)
    return np.round(places).astype(int)


@pytest.mark.parametrize("separation", [1, 3, 5, 1023])
@pytest.mark.parametrize("shape", [(3, 9, 8, 1), (2, 1, 7, 1), (2, 6, 1, 1), (0, 4, 3, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize("count", [1, 4, 30])
def test_maxima_are_those_of_the_reference(shape, separation, count):
    maps = normal(*shape)
    actual = ops.local_maxima(maps, count, separation=separation)
    for y, expected in zip(actual, references.local_maxima(maps, count, separation), strict=True):
        assert y.dtype == tf.float64
        np.testing.assert_allclose(y, expected, rtol=1e-12)


@pytest.mark.parametrize("separation", [3, 5, 9])
def test_maxima_are_those_of_scikit_image(separation):
    maps = normal(1, 40, 33, 1)
    expected = skimage.feature.peak_local_max(
        maps[0, ..., 0], min_distance=separation // 2, exclude_border=False, threshold_abs=-math.inf
    )
    positions, values = ops.local_maxima(maps, len(expected), separation=separation)
    assert len(expected) > 10
    np.testing.assert_array_equal(pixels(positions, maps)[0], expected)
    np.testing.assert_array_equal(values[0], maps[0, expected[:, 0], expected[:, 1], 0])
    # The next pixel is no local maximum, but larger than some of them.
    more, next_values = ops.local_maxima(maps, len(expected) + 1, separation=separation)
    assert list(pixels(more, maps)[0, -1]) not in expected.tolist()
    assert next_values[0, -1] > values[0, -1]


def test_a_neighbour_of_a_maximum_comes_after_a_smaller_maximum():
    maps = of_rows([[9, 8, 0, 0, 0, 5, 0]])
    positions, values = ops.local_maxima(maps, 3)
    assert values.numpy().tolist() == [[9, 5, 8]]
    np.testing.assert_allclose(positions[0], [[0.5, 0.5 / 7], [0.5, 5.5 / 7], [0.5, 1.5 / 7]], rtol=1e-6)
    assert ops.local_maxima(maps, 3, separation=1)[1].numpy().tolist() == [[9, 8, 5]]


def test_equal_values_are_in_the_order_of_rows_and_each_pixel_is_taken_once():
    for maps in (np.zeros([1, 3, 4, 1], "f"), np.full([1, 3, 4, 1], -np.inf), np.full([1, 3, 4, 1], np.inf)):
        for separation in (1, 3, 9):
            places = pixels(ops.local_maxima(maps, 12, separation=separation)[0], maps)
            np.testing.assert_array_equal(places[0], list(np.ndindex(3, 4)))


def test_infinite_values_are_in_order():
    # Both zeros at the end have a larger neighbour. The first -inf has none.
    maps = of_rows([[-np.inf, -np.inf, np.inf, 0, 0]])
    positions, values = ops.local_maxima(maps, 5, separation=3)
    assert pixels(positions, maps)[0, :, 1].tolist() == [2, 4, 0, 3, 1]
    assert values.numpy().tolist() == [[np.inf, 0, -np.inf, 0, -np.inf]]


def test_a_map_with_too_few_pixels_repeats_its_first_position_with_the_weight_0():
    maps = tf.constant(of_rows([[1, 4], [3, 2]]))
    with tf.GradientTape() as tape:
        tape.watch(maps)
        positions, values = ops.local_maxima(maps, 7)
        weights = tf.nn.softmax(values)
        y = tf.reduce_sum(tf.nn.log_softmax(values)[:, :4] * [1.0, -2.0, 3.0, 5.0])
    np.testing.assert_array_equal(pixels(positions, maps)[0], [[0, 1], [1, 0], [1, 1], [0, 0], *[[0, 1]] * 3])
    np.testing.assert_array_equal(weights[0, 4:], np.zeros(3))
    assert np.isfinite(values).all()
    # The gradient by v is u - 7 softmax(v); pixels are in the order of rows.
    shares = np.exp([1, 4, 3, 2]) / np.sum(np.exp([1, 4, 3, 2]))
    np.testing.assert_allclose(np.ravel(tape.gradient(y, maps)), np.array([5, 1, -2, 3]) - 7 * shares, rtol=1e-5)


def test_the_gradient_of_a_value_goes_to_its_pixel_and_positions_have_none():
    maps = normal(2, 5, 4, 1)
    assert_gradients(lambda x: ops.local_maxima(x, 3, separation=3)[1] ** 2, [maps])
    x = tf.constant(maps)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        positions, values = ops.local_maxima(x, 3)
    assert tape.gradient(positions, x) is None
    expected = np.zeros_like(maps)
    for b, places in enumerate(pixels(positions, maps)):
        expected[b, places[:, 0], places[:, 1], 0] = [1, 2, 3]
    np.testing.assert_array_equal(tape.gradient(values, x, np.array([[1.0, 2, 3]] * 2)), expected)


def test_nan_reaches_its_own_map():
    maps = normal(3, 4, 5, 1)
    maps[1, 2, 3] = np.nan
    for y in ops.local_maxima(maps, 2):
        np.testing.assert_array_equal(np.isnan(y).reshape(3, -1).all(1), [False, True, False])
        np.testing.assert_array_equal(np.isnan(y).reshape(3, -1).any(1), [False, True, False])


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_positions_of_half_precision_maps_are_float32(dtype):
    maps = tf.one_hot([[1001]], 2048, dtype=dtype, axis=1)[..., None]
    positions, values = ops.local_maxima(maps)
    assert positions.dtype == values.dtype == tf.float32
    np.testing.assert_array_equal(positions, [[[1001.5 / 2048, 0.5]]])


@pytest.mark.parametrize("maps", [normal(2, 7, 5, 1), normal(1, 2, 2, 1), np.zeros([2, 3, 4, 1])])
def test_graphs_of_unknown_sides_and_of_xla_take_the_same_pixels(maps):
    maps = np.float32(maps)
    spec = [tf.TensorSpec([None, None, None, 1])]
    for compiled in (False, True):
        run = tf.function(lambda x: ops.local_maxima(x, 6), spec, autograph=False, jit_compile=compiled)
        for y, expected in zip(run(maps), ops.local_maxima(maps, 6), strict=True):
            np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_the_number_of_operations_is_bounded():
    for shape, bound in (([2, 9, 8, 1], 90), ([None, None, None, 1], 100)):
        assert count_operations(lambda x: ops.local_maxima(x, 4), tf.TensorSpec(shape)) <= bound


@pytest.mark.parametrize(
    "maps, arguments, rule",
    [
        (np.zeros([2, 3, 3]), {}, "`maps` must have 4 axes"),
        (np.zeros([2, 3, 3, 2]), {}, r"`maps` must have one channel, .* Received: maps of shape \(2, 3, 3, 2\)"),
        (np.zeros([2, 0, 3, 1]), {}, "`maps` must have a height and a width of at least 1"),
        (np.zeros([2, 3, 3, 1], int), {}, "`maps` must be floating point"),
        (np.zeros([2, 3, 3, 1]), {"count": 0}, "`count` must be an integer of at least 1.* Received: count=0"),
        (np.zeros([2, 3, 3, 1]), {"count": 1025}, "`count` must be at most 1024.* Received: count=1025"),
        (np.zeros([2, 3, 3, 1]), {"separation": 4}, "`separation` must be odd.* Received: separation=4"),
        (np.zeros([2, 3, 3, 1]), {"separation": -1}, "`separation` must be an integer of at least 1"),
        (np.zeros([2, 3, 3, 1]), {"separation": 1025}, "`separation` must be at most 1024"),
    ],
)
def test_a_bad_argument_is_named(maps, arguments, rule):
    with pytest.raises(ValueError, match=rule):
        ops.local_maxima(maps, **arguments)
