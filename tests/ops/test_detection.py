"""Targets and detections of an anchor-free detector."""

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tfpyramid.ops import detection

IMAGE = (61, 90)
STRIDES = (4, 8, 16)
SIZES = [tuple(-(-side // stride) for side in IMAGE) for stride in STRIDES]
LEVELS = [tf.zeros([2, *size, 1]) for size in SIZES]


def scenes(seed=0):
    """Return boxes of 3 to 80 pixels, some partly or all outside, with padding."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(-10, 70, (2, 9, 2))
    boxes = np.concatenate([low, low + np.exp(rng.uniform(1, 4.4, (2, 9, 2)))], axis=-1).astype(np.float32)
    classes = rng.integers(-1, 5, (2, 9)).astype(np.int32)
    return boxes, classes


@pytest.mark.parametrize("reach, center_radius", [(8.0, None), (2.0, None), (2.0, 1.5), (3.0, 0.75)])
def test_targets_are_those_of_the_reference(reach, center_radius):
    boxes, classes = scenes()
    points = detection.points_of(LEVELS, STRIDES, reach)
    found = detection.assigned(points, boxes, classes, IMAGE, center_radius)
    counts = []
    for k in range(2):
        expected = references.fcos_targets(SIZES, STRIDES, boxes[k], classes[k], IMAGE, reach, center_radius)
        for actual, reference in zip(found, expected):
            np.testing.assert_allclose(actual[k], reference, atol=1e-5)
        counts.append((expected[0] >= 0).sum())
    assert min(counts) > 10


def test_decoded_targets_are_the_boxes():
    boxes, classes = scenes(1)
    points = detection.points_of(LEVELS, STRIDES)
    found = detection.assigned(points, boxes, classes, IMAGE, None)
    decoded = detection.to_boxes(points.places, detection.to_distances(points.places, found.boxes))
    assert (found.classes.numpy() >= 0).sum() > 50
    np.testing.assert_allclose(decoded, found.boxes, atol=1e-5)


def test_perfect_predictions_are_detected_as_the_boxes():
    boxes = np.float32([[[2, 3, 22, 31], [30, 40, 60, 88], [24, 8, 34, 18]], [[0, 0, 61, 90], [0] * 4, [0] * 4]])
    classes = np.int32([[1, 0, 1], [2, -1, -1]])
    points = detection.points_of(LEVELS, STRIDES)
    targets = detection.assigned(points, boxes, classes, IMAGE, 1.5)
    found = detection.detections(
        points,
        tf.where(tf.one_hot(targets.classes, 3) > 0, 9.0, -9.0),
        detection.to_distances(points.places, targets.boxes),
        tf.math.log(targets.centerness / (1 - targets.centerness + 1e-6) + 1e-9)[..., None],
        IMAGE,
        max_detections=5,
        score_threshold=0.3,
        iou_threshold=0.5,
        max_candidates=500,
    )
    np.testing.assert_array_equal(found["counts"], [3, 1])
    for k in range(2):
        expected = {(c, *b) for c, b in zip(classes[k].tolist(), boxes[k].tolist()) if c >= 0}
        count = int(found["counts"][k])
        rows = zip(found["classes"][k, :count].numpy().tolist(), found["boxes"][k, :count].numpy().round(3).tolist())
        assert {(c, *b) for c, b in rows} == expected
        np.testing.assert_array_equal(found["classes"][k, count:], -1)
        np.testing.assert_array_equal(found["boxes"][k, count:], 0)
        assert (np.diff(found["scores"][k]) <= 0).all() and (found["scores"][k, count:].numpy() == 0).all()


def test_few_candidates_keep_the_best():
    rng = np.random.default_rng(0)
    points = detection.points_of(LEVELS, STRIDES)
    n = len(points.places)
    arguments = [points, rng.normal(size=(2, n, 3)), rng.uniform(1, 9, (2, n, 4)), rng.normal(size=(2, n, 1))]
    arguments[1:] = [np.float32(a) for a in arguments[1:]]
    options = {"max_detections": 4, "score_threshold": 0.1, "iou_threshold": 0.5}
    many = detection.detections(*arguments, IMAGE, **options, max_candidates=10**6)
    few = detection.detections(*arguments, IMAGE, **options, max_candidates=40)
    for key, value in many.items():
        np.testing.assert_array_equal(few[key], value)
    one = detection.detections(*arguments, IMAGE, **options, max_candidates=1)
    np.testing.assert_array_equal(one["scores"][:, 0], many["scores"][:, 0])


@pytest.mark.parametrize("count", [0, 1, 3])
def test_an_image_without_boxes_has_no_targets(count):
    points = detection.points_of(LEVELS, STRIDES)
    boxes, classes = tf.zeros([2, count, 4]), tf.fill([2, count], -1)
    found = detection.assigned(points, boxes, classes, IMAGE, 1.5)
    np.testing.assert_array_equal(found.classes, np.full([2, len(points.places)], -1))
    np.testing.assert_array_equal(found.centerness, np.zeros([2, len(points.places)]))
    assert np.isfinite(found.boxes).all()


@pytest.mark.parametrize(
    "box", [[5, 5, 5, 20], [20, 20, 5, 5], [-9, -9, -1, -1], [70, 5, 90, 20], [np.nan] * 4, [5, 5, np.nan, 20]]
)
def test_a_box_without_area_in_the_image_is_ignored(box):
    points = detection.points_of(LEVELS, STRIDES)
    boxes = np.float32([[box, [10, 10, 40, 40]]])
    found = detection.assigned(points, boxes, np.int32([[0, 1]]), IMAGE, None)
    alone = detection.assigned(points, boxes[:, 1:], np.int32([[1]]), IMAGE, None)
    for actual, expected in zip(found, alone):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_targets_of_unknown_sizes_are_equal(jit_compile):
    boxes, classes = scenes()

    def run(first, second, boxes, classes, size):
        points = detection.points_of([first, second], STRIDES[:2])
        return detection.assigned(points, boxes, classes, tf.unstack(size), 1.5)

    specs = [tf.TensorSpec([None, None, None, 1])] * 2
    specs += [tf.TensorSpec([None, None, 4]), tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([2], tf.int32)]
    graph = tf.function(run, input_signature=specs, jit_compile=jit_compile, autograph=False)
    found = graph(*LEVELS[:2], boxes, classes, tf.constant(IMAGE))
    expected = detection.assigned(detection.points_of(LEVELS[:2], STRIDES[:2]), boxes, classes, IMAGE, 1.5)
    for actual, value in zip(found, expected):
        np.testing.assert_allclose(actual, value, atol=1e-6)
