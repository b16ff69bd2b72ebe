"""The generalized intersection over union of boxes."""

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tests.ops.finite_differences import assert_gradients
from tfpyramid import ops
from tfpyramid.ops import boxes as box_ops


def random_boxes(*shape, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 20, (*shape, 2))
    return np.concatenate([low, low + rng.uniform(1, 20, (*shape, 2))], axis=-1)


FIRST, SECOND = random_boxes(6, 50), random_boxes(50, seed=1)


def test_it_is_the_reference():
    found = ops.generalized_iou(FIRST, SECOND)
    assert found.dtype == tf.float64
    np.testing.assert_allclose(found, references.generalized_iou(FIRST, SECOND), rtol=1e-12, atol=1e-12)
    assert (found.numpy() < 0).any() and (found.numpy() > 0.3).any()


def test_its_gradient_is_that_of_finite_differences():
    assert_gradients(ops.generalized_iou, [FIRST, SECOND])


def test_it_is_symmetric_and_has_no_unit():
    np.testing.assert_allclose(ops.generalized_iou(FIRST, SECOND), ops.generalized_iou(SECOND, FIRST), atol=1e-12)
    np.testing.assert_allclose(
        ops.generalized_iou(1e-3 * FIRST, 1e-3 * SECOND), ops.generalized_iou(FIRST, SECOND), atol=1e-12
    )
    np.testing.assert_allclose(ops.generalized_iou(FIRST, FIRST), np.ones([6, 50]), rtol=1e-12)


@pytest.mark.parametrize(
    "first, second, value",
    [
        ([1, 1, 1, 1], [1, 1, 1, 1], 0),  # Two points at one place.
        ([1, 1, 1, 1], [0, 0, 2, 2], 0),  # A point in a box.
        ([0, 0, 0, 0], [0, 0, 2, 2], 0),
        ([0, 0, 0, 2], [2, 0, 2, 2], -1),  # Two lines, with a hull of 4.
        ([2, 2, 0, 0], [0, 0, 2, 2], 0),  # A maximum below its minimum: no area.
    ],
)
def test_boxes_without_area_have_finite_values_and_gradients(first, second, value):
    first, second = tf.constant([first], tf.float32), tf.constant([second], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch([first, second])
        y = ops.generalized_iou(first, second)
    np.testing.assert_allclose(y, [value], atol=1e-6)
    assert all(np.isfinite(g).all() for g in tape.gradient(y, [first, second]))


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_holds_the_areas_of_large_images(dtype):
    first, second = (tf.cast(100 * x, dtype) for x in (FIRST, SECOND))  # Areas up to 4e6.
    found = ops.generalized_iou(first, second)
    assert found.dtype == dtype
    wide = ops.generalized_iou(tf.cast(first, tf.float32), tf.cast(second, tf.float32))
    np.testing.assert_array_equal(found, tf.cast(wide, dtype))


def test_nan_stays_in_its_pair():
    first = FIRST.copy()
    first[2, 7, 1] = np.nan
    found = np.isnan(ops.generalized_iou(first, SECOND))
    assert found[2, 7] and found.sum() == 1


@pytest.mark.parametrize("jit_compile", [False, True])
def test_it_runs_in_a_graph_of_unknown_sizes(jit_compile):
    spec = [tf.TensorSpec([None, None, 4], tf.float64), tf.TensorSpec([None, 4], tf.float64)]
    graph = tf.function(ops.generalized_iou, input_signature=spec, jit_compile=jit_compile, autograph=False)
    np.testing.assert_allclose(graph(FIRST, SECOND), ops.generalized_iou(FIRST, SECOND), rtol=1e-12, atol=1e-12)
    assert graph(FIRST[:0], SECOND).shape == (0, 50)


@pytest.mark.parametrize(
    "first, second, rule",
    [
        ([[0, 0, 1, 1]], SECOND, "`first` must be floating point.* Received: first of dtype int32"),
        (FIRST[..., :3], SECOND, "`first` must have a last axis of 4: .y_min, .* Received: first of shape"),
        (FIRST, 3.0, r"`second` must have a last axis of 4: .* Received: second of shape \(\)"),
        (
            FIRST,
            np.float32(SECOND),
            "`second` must have the dtype of `first`. Received: first of dtype float64, second",
        ),
        (FIRST, SECOND[:3], "`second` must have axes that can be broadcast .* Received: first of shape"),
    ],
)
def test_other_tensors_are_errors(first, second, rule):
    with pytest.raises(ValueError, match=rule):
        ops.generalized_iou(first, second)


def test_boxes_are_clipped_to_the_image():
    boxes = [[[-5.0, 3.0, 7.0, 90.0], [-9.0, -9.0, -2.0, -2.0], [30.0, 2.0, 40.0, 9.0]]]
    found = box_ops.clipped(tf.constant(boxes), (20, tf.constant(50)))
    np.testing.assert_array_equal(found, [[[0, 3, 7, 50], [0, 0, 0, 0], [20, 2, 20, 9]]])
    np.testing.assert_array_equal(box_ops.area(found), [[7 * 47, 0, 0]])
