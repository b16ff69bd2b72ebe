"""Sampling by cells, for many points of few channels, and by rows: equal, and equally differentiable."""

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tests.ops.finite_differences import assert_gradients
from tfpyramid import ops
from tfpyramid.ops import borders, sampling

# Points, channels, and which way that is for the images below.
WAYS = {"cells": (40, 2), "rows": (40, 9), "rows of sparse points": (4, 2)}
SIDES = [(7, 6), (6, 7), (1, 5), (1, 1)]


def case(way, sides=(7, 6), batch=2, seed=0):
    """Return images and points that are sampled that way; whole positions, and positions beyond, among them."""
    count, channels = WAYS[way]
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1, 2, size=[batch, count, 2]) * sides
    points[:, :3] = np.round(points[:, :3])
    return rng.standard_normal([batch, *sides, channels]), points


@pytest.mark.parametrize("way", WAYS)
def test_the_number_of_points_and_channels_is_the_way(way):
    images, points = case(way)
    assert sampling._is_dense(tf.TensorShape(images.shape), tf.TensorShape(points.shape[:-1])) == (way == "cells")
    assert not sampling._is_dense(tf.TensorShape([2, None, 6, 2]), tf.TensorShape(points.shape[:-1]))
    assert not sampling._is_dense(tf.TensorShape(images.shape), tf.TensorShape([2, None]))


@pytest.mark.parametrize("border", borders.NAMES)
@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("way", WAYS)
def test_samples_are_those_of_the_reference(way, sides, border):
    images, points = case(way, sides)
    y = ops.bilinear_sample(images, points, border=border)
    np.testing.assert_allclose(y, references.bilinear_sample(images, points, border), atol=1e-12)


@pytest.mark.parametrize("border", borders.NAMES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.slow
def test_gradients_of_both_orders_are_finite_differences(way, border):
    images, points = case(way)
    points = points[:, 3:]

    def gradients(images, points):
        with tf.GradientTape() as tape:
            tape.watch([images, points])
            objective = tf.reduce_sum(ops.bilinear_sample(images, points, border=border) ** 3)
        return tf.concat([tf.reshape(each, [-1]) for each in tape.gradient(objective, [images, points])], 0)

    assert_gradients(lambda x, p: ops.bilinear_sample(x, p, border=border), [images, points])
    assert_gradients(gradients, [images, points])


def value_and_gradients(sample, images, points):
    with tf.GradientTape() as tape:
        tape.watch([images, points])
        y = sample(images, points)
        objective = tf.reduce_sum(y**2)
    return y, *(tf.convert_to_tensor(each) for each in tape.gradient(objective, [images, points]))


def in_cond(images, points):
    return tf.cond(images[0, 0, 0, 0] < 1e9, lambda: ops.bilinear_sample(images, points), lambda: images[:, 0, :1] * 0)


def in_map(images, points):
    return tf.map_fn(
        lambda pair: ops.bilinear_sample(pair[0][None], pair[1][None])[0],
        (images, points),
        fn_output_signature=tf.TensorSpec(points.shape[1:-1] + images.shape[3:], images.dtype),
    )


def in_loop(images, points):
    empty = tf.zeros([0, *points.shape[1:-1], images.shape[3]], images.dtype)
    _, y = tf.while_loop(
        lambda k, y: k < len(points),
        lambda k, y: (k + 1, tf.concat([y, ops.bilinear_sample(images[k : k + 1], points[k : k + 1])], 0)),
        (0, empty),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, *empty.shape[1:]])),
    )
    return y


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wrap", [ops.bilinear_sample, in_cond, in_map, in_loop])
def test_a_graph_has_the_same_values_and_gradients(wrap, way):
    images, points = (tf.constant(each) for each in case(way))
    expected = value_and_gradients(ops.bilinear_sample, images, points)
    actual = tf.function(lambda x, p: value_and_gradients(wrap, x, p))(images, points)
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("border", ["constant", "wrap"])
@pytest.mark.parametrize("way", WAYS)
def test_xla_has_the_same_values_and_gradients(way, border):
    def run(images, points):
        return value_and_gradients(lambda x, p: ops.bilinear_sample(x, p, border=border), images, points)

    images, points = (tf.constant(each) for each in case(way))
    for a, b in zip(
        tf.function(run, jit_compile=True, autograph=False)(images, points), run(images, points), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-10)


@pytest.mark.parametrize("way", WAYS)
def test_a_saved_model_has_the_same_values_and_gradients(way, tmp_path):
    images, points = (tf.constant(each) for each in case(way))
    module = tf.Module()
    signature = [tf.TensorSpec([None, *each.shape[1:]], each.dtype) for each in (images, points)]
    module.sample = tf.function(ops.bilinear_sample, input_signature=signature, autograph=False)
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    expected = value_and_gradients(ops.bilinear_sample, images, points)
    for a, b in zip(value_and_gradients(loaded.sample, images, points), expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)
    empty = value_and_gradients(loaded.sample, images[:0], points[:0])
    assert [each.shape[0] for each in empty] == [0, 0, 0]


@pytest.mark.parametrize("way", WAYS)
def test_where_no_form_is_for_the_cpu_the_values_and_gradients_are_the_same(monkeypatch, way):
    images, points = (tf.constant(each) for each in case(way))
    expected = value_and_gradients(ops.bilinear_sample, images, points)
    monkeypatch.setattr(tf.raw_ops, "DeviceIndex", lambda device_names: tf.constant(1))
    monkeypatch.setattr(tf.raw_ops, "Bincount", None)
    monkeypatch.setattr(tf.raw_ops, "MapDefun", None)
    for a, b in zip(value_and_gradients(ops.bilinear_sample, images, points), expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("border", borders.NAMES)
@pytest.mark.parametrize("way", WAYS)
def test_a_point_that_is_not_a_number_is_that_of_its_image_alone(way, border):
    images, points = case(way)
    points[0, 1], points[0, 2, 1] = np.nan, np.nan
    y, to_images, to_points = value_and_gradients(
        lambda x, p: ops.bilinear_sample(x, p, border=border), tf.constant(images), tf.constant(points)
    )
    np.testing.assert_array_equal(np.isnan(y[0, :4]).all(-1), [False, True, True, False])
    assert not np.isnan(y[1]).any() and not np.isnan(to_images[1]).any() and not np.isnan(to_points[1]).any()


@pytest.mark.parametrize("way", WAYS)
def test_a_position_that_rounds_to_the_period_is_the_first_pixel(way):
    images, points = case(way)
    points[:, :3] = [[-1e-9, -1e-9], [-1e-9, 2.0], [3.0, -1e-9]]
    y = ops.bilinear_sample(np.float32(images), np.float32(points), border="wrap")
    expected = [images[:, 0, 0], images[:, 0, 2], images[:, 3, 0]]
    np.testing.assert_allclose(y[:, :3], np.stack(expected, 1), atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_infinite_or_not_a_number_is_read_only_with_a_weight(way):
    images, points = case(way)
    images[:, 2, 3], images[:, 4, 1] = np.nan, np.inf
    points[:, :4] = [[2, 2], [1, 3], [4, 1], [3.5, 0.5]]
    y = ops.bilinear_sample(images, points)[:, :4]
    np.testing.assert_array_equal(np.isfinite(y), np.broadcast_to([[[True], [True], [False], [False]]], y.shape))
    assert np.isposinf(y[:, 2:]).all()


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
@pytest.mark.parametrize("way", WAYS)
def test_half_precision_is_read_at_full_precision_and_rounded_once(way, dtype):
    images, points = case(way)
    images, points = tf.cast(images, dtype), tf.constant(points, tf.float32)
    y, to_images, to_points = value_and_gradients(ops.bilinear_sample, images, points)
    assert (y.dtype, to_images.dtype, to_points.dtype) == (dtype, dtype, tf.float32)
    np.testing.assert_array_equal(y, tf.cast(ops.bilinear_sample(tf.cast(images, tf.float32), points), dtype))


def test_by_cells_gradients_of_half_precision_are_summed_in_full():
    # 300 ones are 256 in bfloat16, one by one.
    points = tf.fill([1, 300, 2], 1.0)
    images = tf.zeros([1, 4, 4, 1], tf.bfloat16)
    with tf.GradientTape() as tape:
        tape.watch(images)
        y = ops.bilinear_sample(images, points)
    assert tape.gradient(y, images)[0, 1, 1, 0] == 300
