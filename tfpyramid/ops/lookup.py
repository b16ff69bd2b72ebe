"""Costs looked up where a flow points: each pixel reads its own window of another feature map."""

import numpy as np
import tensorflow as tf

from tfpyramid.ops import custom_gradients, portable
from tfpyramid.ops.corners import flat
from tfpyramid.ops.shapes import dimension, dimensions


def costs(x: tf.Tensor, y: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor, count: int, step: int) -> tf.Tensor:
    """Return `sum_c x[p, c] y(centre[p] + d, c) / channels`, [batch, height, width, count^2].

    All displacements d of a pixel have the same fractions of a pixel, and an interpolation of products is the product
    of an interpolation. So this reads y at whole positions, multiplies, and interpolates the products, which have no
    channels.

    Args:
        x: [batch, height, width, channels], float32 or float64.
        y: the same shape and dtype.
        rows: the rows of the centres, p plus the flow, [batch, height, width], float32 or float64.
        columns: the columns of the centres, likewise.
        count: number of displacements in each direction.
        step: pixels between two displacements.
    """
    batch, height, width, channels = dimensions(x)
    steps = step * np.arange(-(count // 2), count // 2 + 1)
    places = np.union1d(steps, steps + 1)
    framed = tf.pad(y, [[0, 0], [1, 1], [1, 1], [0, 0]])
    rows, down = _cells(rows, height, places)
    columns, across = _cells(columns, width, places)
    products = _products(
        tf.reshape(x / channels, [-1, channels]),
        tf.reshape(framed, [-1, channels]),
        tf.reshape(flat(framed, rows, tf.zeros([], tf.int64)), [-1, places.size]),
        tf.reshape(columns, [-1, places.size]),
    )
    products = tf.reshape(products, [batch, height, width, places.size, places.size])
    # Neighbouring displacements share pixels only if they are a pixel apart.
    stride = 1 if step == 1 else 2
    volume = _interpolated(products, tf.cast(down, x.dtype), 3, stride, count)
    volume = _interpolated(volume, tf.cast(across, x.dtype), 4, stride, count)
    volume = tf.reshape(volume, [batch, height, width, count**2])
    volume.set_shape([*x.shape[:3], count**2])
    return volume


def _cells(position: tf.Tensor, size: int | tf.Tensor, places: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
    """Return where each pixel reads an axis, and by which fraction its centre exceeds a whole position.

    Args:
        position: the centres on the axis, [batch, height, width].
        size: number of pixels on the axis.
        places: the whole displacements to read, in ascending order.

    Returns:
        int64 [batch, height, width, places], in an axis with a pixel of zeros before the first and after the last; and
        the fraction, [batch, height, width].
    """
    # From these positions all reads are outside. Clip, so that distant positions do not overflow an index.
    first = tf.constant(-1.0 - places[-1], position.dtype)
    position = tf.minimum(tf.maximum(position, first), tf.cast(size - int(places[0]), position.dtype))
    low = tf.floor(position)
    fraction = position - low
    # A flow that is NaN reads zeros, so that the gradient of the second map does not become NaN where it has no part.
    low = tf.where(low >= first, low, first)
    index = tf.expand_dims(tf.cast(low, tf.int64), -1) + places
    return tf.clip_by_value(index, -1, tf.cast(size, tf.int64)) + 1, fraction


def _interpolated(x: tf.Tensor, fraction: tf.Tensor, axis: int, stride: int, count: int) -> tf.Tensor:
    """Return `count` linear interpolations between pairs of neighbours on an axis, the first of them `stride` apart."""
    fraction = tf.reshape(fraction, tf.concat([tf.shape(fraction), [1, 1]], 0))
    before = (slice(None),) * axis
    low, high = (x[(*before, slice(k, k + stride * (count - 1) + 1, stride))] for k in (0, 1))
    # A neighbour of weight 0 is not read, even if it is NaN.
    return portable.multiply_no_nan(low, 1 - fraction) + portable.multiply_no_nan(high, fraction)


def _products(x: tf.Tensor, y: tf.Tensor, starts: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Return `sum_c x[p, c] y[starts[p, i] + columns[p, j], c]`, [points, rows, columns].

    One row of reads at a time, because all of them would take `rows` times the memory.

    Args:
        x: [points, channels].
        y: [pixels, channels].
        starts: int64 [points, rows], the index of the first pixel of each row.
        columns: int64 [points, columns].
    """
    indices = [tf.expand_dims(starts[:, k], 1) + columns for k in range(starts.shape[1])]

    @tf.custom_gradient
    def products(x: tf.Tensor, y: tf.Tensor) -> tuple:
        parts: list[tf.Tensor] = []
        for index in indices:
            with tf.control_dependencies(parts[-1:]):
                parts.append(tf.linalg.matvec(tf.gather(y, index), x))

        def grad(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            to_x, to_y = tf.zeros_like(x), tf.zeros_like(y)
            for index, weights in zip(indices, tf.unstack(upstream, axis=1)):
                with tf.control_dependencies([to_x, to_y]):
                    to_x += tf.linalg.matvec(tf.gather(y, index), weights, transpose_a=True)
                    terms = tf.expand_dims(weights, 2) * tf.expand_dims(x, 1)
                    to_y += tf.math.unsorted_segment_sum(terms, index, dimension(y, 0))
            return to_x, to_y

        return tf.stack(parts, 1), grad

    return custom_gradients.call(products, x, y)
