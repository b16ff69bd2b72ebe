"""Anchor-free detection: which point of a pyramid predicts which box, and how (Tian et al., FCOS, 2019, section 3).

Boxes are (y_min, x_min, y_max, x_max) in pixels of the image. Sample i of a level with stride s is at the middle of
pixel i s, which is at i s + 1/2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tfpyramid.ops import boxes as box_ops
from tfpyramid.ops.shapes import dimensions, sides

LARGEST_REACH = 2.0**10  # In strides; exp of a larger output would leave the images, and later float32.


class Points(NamedTuple):
    """The samples of all levels, finest level first.

    Attributes:
        places: position (y, x) of each in pixels, [n, 2].
        strides: stride of its level, [n].
        shortest: it predicts boxes with a side farther away than this, [n] ...
        farthest: ... but none farther away than this, [n].
    """

    places: tf.Tensor
    strides: tf.Tensor
    shortest: tf.Tensor
    farthest: tf.Tensor


class Targets(NamedTuple):
    """What each of n points should predict for each of b images.

    Attributes:
        classes: the class, [b, n]; -1 where there is no box.
        boxes: the box, [b, n, 4]; undefined, but finite, where there is none.
        centerness: 1 at the centre of the box, 0 at its edges and where there is none, [b, n].
    """

    classes: tf.Tensor
    boxes: tf.Tensor
    centerness: tf.Tensor


def points_of(levels: Sequence[tf.Tensor], strides: Sequence[int], reach: float = 8.0) -> Points:
    """Return the samples of levels [b, height, width, channels].

    A level predicts boxes with all sides at most `reach` strides away from the point, except those that the level
    before it predicts; the last level predicts all larger ones.
    """
    places: list[tf.Tensor] = []
    numbers: tuple[list[tf.Tensor], ...] = ([], [], [])
    for k, (level, stride) in enumerate(zip(levels, strides, strict=True)):
        height, width = sides(level)
        y, x = tf.meshgrid(_positions(height, stride), _positions(width, stride), indexing="ij")
        places.append(tf.reshape(tf.stack([y, x], axis=-1), [-1, 2]))
        shortest = reach * strides[k - 1] if k else 0.0
        farthest = reach * stride if k < len(strides) - 1 else float("inf")
        for found, number in zip(numbers, (float(stride), shortest, farthest)):
            found.append(tf.fill([height * width], tf.constant(number, tf.float32)))
    return Points(tf.concat(places, axis=0), *(tf.concat(found, axis=0) for found in numbers))


def _positions(count: int | tf.Tensor, stride: int) -> tf.Tensor:
    return tf.cast(tf.range(count) * stride, tf.float32) + 0.5


def joined(levels: Sequence[tf.Tensor]) -> tf.Tensor:
    """Return maps [b, height, width, channels] as one tensor [b, points, channels], in the order of `points_of`."""
    parts = []
    for level in levels:
        batch, height, width, channels = dimensions(level)
        parts.append(tf.reshape(level, [batch, height * width, channels]))
    return tf.concat(parts, axis=1)


def assigned(
    points: Points, boxes: tf.Tensor, classes: tf.Tensor, size: tuple[Any, Any], center_radius: float | None
) -> Targets:
    """Return the targets of each point.

    A point predicts a box if it lies inside, if the farthest side is within the range of its level, and if the centre
    is at most `center_radius` strides away on both axes; None means any distance. If there are several, it predicts
    the smallest.

    Args:
        points: the n samples of the levels.
        boxes: [b, m, 4], float32. They are clipped to the image; then those without area are ignored.
        classes: [b, m], int32; negative for padding.
        size: (height, width) of the images.
        center_radius: as above.
    """
    # One more, so that there is always one to choose.
    boxes = tf.pad(box_ops.clipped(boxes, size), [[0, 0], [0, 1], [0, 0]])
    classes = tf.pad(classes, [[0, 0], [0, 1]], constant_values=-1)
    areas = box_ops.area(boxes)[:, None, :]
    distances = to_distances(points.places[None, :, None, :], boxes[:, None])
    farthest = tf.reduce_max(distances, axis=-1)
    fits = (tf.reduce_min(distances, axis=-1) > 0) & (classes >= 0)[:, None, :]
    fits &= (farthest > points.shortest[:, None]) & (farthest <= points.farthest[:, None])
    if center_radius is not None:
        # Twice the distance from the centre is the difference of the distances to opposite sides.
        off_center = tf.reduce_max(tf.abs(distances[..., :2] - distances[..., 2:]), axis=-1)
        fits &= off_center <= 2 * center_radius * points.strides[:, None]
    areas = tf.where(fits, areas, float("inf"))
    chosen = tf.argmin(areas, axis=-1, output_type=tf.int32)
    found = tf.reduce_min(areas, axis=-1) < float("inf")
    boxes = tf.gather(boxes, chosen, batch_dims=1)
    centerness = center_ness(to_distances(points.places, boxes))
    return Targets(
        classes=tf.where(found, tf.gather(classes, chosen, batch_dims=1), -1),
        boxes=tf.where(found[..., None], boxes, 0.0),
        centerness=tf.where(found, centerness, 0.0),
    )


def to_distances(places: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
    """Return the distances (up, left, down, right) from points [..., 2] to the sides of boxes [..., 4]."""
    return tf.concat([places - boxes[..., :2], boxes[..., 2:] - places], axis=-1)


def to_boxes(places: tf.Tensor, distances: tf.Tensor) -> tf.Tensor:
    """Return the boxes [..., 4] with sides at distances [..., 4] from points [..., 2]; inverts `to_distances`."""
    return tf.concat([places - distances[..., :2], places + distances[..., 2:]], axis=-1)


def center_ness(distances: tf.Tensor) -> tf.Tensor:
    """Return the geometric mean of the ratios of opposite distances, [...]: 1 at the centre, 0 outside of the box."""
    near, far = (function(distances[..., :2], distances[..., 2:]) for function in (tf.minimum, tf.maximum))
    return tf.sqrt(tf.reduce_prod(tf.math.divide_no_nan(tf.nn.relu(near), far), axis=-1))


def detections(
    points: Points,
    logits: tf.Tensor,
    distances: tf.Tensor,
    centerness: tf.Tensor,
    size: tuple[Any, Any],
    *,
    max_detections: int,
    score_threshold: float,
    iou_threshold: float,
    max_candidates: int,
) -> dict[str, tf.Tensor]:
    """Return the best boxes of each image, without those that overlap a better one of the same class.

    The score of a class is the geometric mean of its probability and the centre-ness. Only the `max_candidates` points
    with the best scores are compared.

    Args:
        points: the n samples of the levels.
        logits: of the classes, [b, n, classes].
        distances: to the sides of the box, [b, n, 4].
        centerness: its logit, [b, n, 1].
        size: (height, width) of the images; boxes are clipped to it.
        max_detections: number of boxes to return.
        score_threshold: drop lower scores.
        iou_threshold: two boxes overlap if their intersection over union is above this.
        max_candidates: as above.
    """
    scores = tf.sqrt(tf.sigmoid(logits) * tf.sigmoid(centerness))
    boxes = box_ops.clipped(to_boxes(points.places, distances), size)
    count = tf.minimum(tf.shape(scores)[1], max_candidates)
    best = tf.math.top_k(tf.reduce_max(scores, axis=-1), count, sorted=False).indices
    boxes, scores = (tf.gather(x, best, batch_dims=1) for x in (boxes, scores))
    found, values, classes, counts = tf.image.combined_non_max_suppression(
        boxes[:, :, None, :],
        scores,
        max_output_size_per_class=max_detections,
        max_total_size=max_detections,
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
        clip_boxes=False,  # It would clip to 1.
    )
    used = tf.range(max_detections) < counts[:, None]
    # Boxes that are chosen by comparisons have no gradient, and TensorFlow defines none for the operation.
    found, values = tf.stop_gradient(found), tf.stop_gradient(values)
    return {
        "boxes": found,
        "scores": values,
        "classes": tf.where(used, tf.cast(classes, tf.int32), -1),
        "counts": counts,
    }
