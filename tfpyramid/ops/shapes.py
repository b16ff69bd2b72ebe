"""Sizes of the axes of a tensor: Python integers if they are known, else scalar tensors."""

import tensorflow as tf


def dimensions(x: tf.Tensor) -> list[int | tf.Tensor]:
    """Return the sizes of all axes, each an int if it is known and else a scalar int32 tensor."""
    known = x.shape.as_list()
    if None not in known:
        return known
    return [dynamic if n is None else n for n, dynamic in zip(known, tf.unstack(tf.shape(x)))]


def sides(images: tf.Tensor) -> tuple[int | tf.Tensor, int | tf.Tensor]:
    """Return (height, width), each an int if it is known and else a scalar int32 tensor."""
    _, height, width, _ = dimensions(images)
    return height, width
