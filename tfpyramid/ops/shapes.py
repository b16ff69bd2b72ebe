"""Sizes of the axes of a tensor: Python integers if they are known, else scalar tensors."""

from collections.abc import Sequence

import tensorflow as tf


def dimensions(x: tf.Tensor) -> list[int | tf.Tensor]:
    """Return the sizes of all axes, each an int if it is known and else a scalar int32 tensor."""
    known = x.shape.as_list()
    if None not in known:
        return known
    return [dynamic if n is None else n for n, dynamic in zip(known, tf.unstack(tf.shape(x)))]


def dimension(x: tf.Tensor, axis: int) -> int | tf.Tensor:
    """Return the size of one axis, an int if it is known and else a scalar int32 tensor."""
    return dimensions(x)[axis] if x.shape[axis] is None else x.shape[axis]


def sides(images: tf.Tensor) -> tuple[int | tf.Tensor, int | tf.Tensor]:
    """Return (height, width), each an int if it is known and else a scalar int32 tensor."""
    if None not in images.shape[1:3]:
        return images.shape[1], images.shape[2]
    _, height, width, _ = dimensions(images)
    return height, width


def reshape(x: tf.Tensor, shape: Sequence[int | tf.Tensor]) -> tf.Tensor:
    """Return `tf.reshape`, which finds a single unknown size itself: that takes fewer operations."""
    if sum(map(tf.is_tensor, shape)) == 1:
        shape = [-1 if tf.is_tensor(n) else n for n in shape]
    return tf.reshape(x, shape)
