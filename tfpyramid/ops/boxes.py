"""Boxes: (y_min, x_min, y_max, x_max) in pixels, with pixel i from i to i + 1."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.ops._operation import operation
from tfpyramid.ops.dtypes import working_dtype


@operation
def generalized_iou(first: Any, second: Any) -> tf.Tensor:
    """Return the generalized intersection over union (GIoU) of each pair of boxes.

    It is the intersection over union if the hull of both boxes is their union. If the boxes do not overlap, it still
    tells how far apart they are, and so it has a gradient.

    Equation:
        `giou = |a and b| / |a or b| - (|hull| - |a or b|) / |hull|`, where |.| is an area and the hull is the smallest
        box around both.

    Convention:
        A box is (y_min, x_min, y_max, x_max), as `tf.image` orders it. Any unit will do if all sides have the same. A
        box with y_max < y_min or x_max < x_min has no area. Two boxes without area have a first term of 0, and boxes
        with a hull without area have a second term of 0: values and gradients are finite.

    Args:
        first: boxes [..., 4], floating point.
        second: boxes [..., 4] of the same dtype. The axes before the last are broadcast.

    Returns:
        The GIoU of each pair, [...], greater than -1 and at most 1, in the same dtype. float16 and bfloat16 are
        computed in float32.

    Raises:
        ValueError: if an argument breaks a rule above.

    Example:
        >>> moved = [[0.0, 0.0, 2.0, 2.0], [0.0, 2.0, 2.0, 4.0], [0.0, 3.0, 2.0, 5.0]]
        >>> [round(float(each), 3) for each in generalized_iou([0.0, 0.0, 2.0, 2.0], moved)]
        [1.0, 0.0, -0.2]

    References:
        Rezatofighi, Tsoi, Gwak, Sadeghian, Reid and Savarese, Generalized Intersection over Union, 2019, algorithm 1.
    """
    first, second = check_boxes("first", first), check_boxes("second", second)
    if first.dtype != second.dtype:
        raise ValueError(
            "`second` must have the dtype of `first`. "
            f"Received: first of dtype {first.dtype.name}, second of dtype {second.dtype.name}"
        )
    try:
        tf.broadcast_static_shape(first.shape, second.shape)
    except ValueError:
        raise ValueError(
            "`second` must have axes that can be broadcast with those of `first`. "
            f"Received: first of shape {first.shape}, second of shape {second.shape}"
        ) from None
    dtype = first.dtype
    first, second = (tf.cast(boxes, working_dtype(dtype)) for boxes in (first, second))
    return tf.cast(giou(first, second), dtype)


def giou(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Return `generalized_iou` of tensors of one dtype, float32 or float64."""
    intersection = _area(tf.maximum(first[..., :2], second[..., :2]), tf.minimum(first[..., 2:], second[..., 2:]))
    union = area(first) + area(second) - intersection
    hull = _area(tf.minimum(first[..., :2], second[..., :2]), tf.maximum(first[..., 2:], second[..., 2:]))
    return tf.math.divide_no_nan(intersection, union) - tf.math.divide_no_nan(hull - union, hull)


def area(boxes: tf.Tensor) -> tf.Tensor:
    """Return the area of each box, [...]; 0 for one with a maximum below its minimum."""
    return _area(boxes[..., :2], boxes[..., 2:])


def _area(low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
    height, width = tf.unstack(tf.nn.relu(high - low), 2, axis=-1)
    return height * width


def clipped(boxes: tf.Tensor, size: tuple[Any, Any]) -> tf.Tensor:
    """Return the parts of boxes inside an image of `size` (height, width)."""
    ends = tf.cast(tf.stack([*size, *size]), boxes.dtype)
    return tf.maximum(tf.minimum(boxes, ends), 0)


def check_boxes(name: str, value: Any) -> tf.Tensor:
    """Return `value` as a floating tensor [..., 4]."""
    boxes = _checks.floating_tensor(name, value)
    if boxes.shape.rank == 0 or (boxes.shape.rank is not None and boxes.shape[-1] not in (4, None)):
        raise ValueError(
            f"`{name}` must have a last axis of 4: (y_min, x_min, y_max, x_max). "
            f"Received: {name} of shape {boxes.shape}"
        )
    return boxes
