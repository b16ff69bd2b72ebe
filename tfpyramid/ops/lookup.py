"""Costs looked up where a flow points: each pixel reads its own window of another feature map."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfpyramid.ops import custom_gradients, devices, portable, sparse
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
    starts, columns = (
        tf.reshape(each, [-1, places.size]) for each in (flat(framed, rows, tf.zeros([], tf.int64)), columns)
    )
    pixels = tf.reshape(framed, [-1, channels])

    windows = _Windows(starts, columns, dimension(pixels, 0))
    products = custom_gradients.call(windows.products, tf.reshape(x / channels, [-1, channels]), pixels)
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


class _Windows:
    """The gradients of the sum, over points p, rows i, columns j of their windows and channels c, of
    `x[p, c] y[starts[p, i] + columns[p, j], c] weights[p, i, j]`. The gradients of each are the other two.

    All take one row of a window after the other, because the values of whole windows would fill the memory.

    Args:
        starts: int64 [points, rows], the index in y of the first pixel of each row.
        columns: int64 [points, columns].
        pixels: number of pixels of y. The first must be zeros.
    """

    def __init__(self, starts: tf.Tensor, columns: tf.Tensor, pixels: int | tf.Tensor) -> None:
        # TFLite has no `tf.unstack` of int64.
        self._rows = [tf.expand_dims(starts[:, k], 1) + columns for k in range(starts.shape[1])]
        self._pixels = pixels
        # Sparse matrices have at least one row and fewer than 2^31 columns. A size that is unknown is an int32.
        self._is_matrix = dimension(starts, 0) > 0 if tf.is_tensor(pixels) or pixels < 2**31 else False

    def products(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """Return the gradient of `weights`, [points, rows, columns]."""

        @tf.custom_gradient
        def products(x: tf.Tensor, y: tf.Tensor) -> tuple:
            parts: list[tf.Tensor] = []
            for index in self._rows:
                with tf.control_dependencies(parts[-1:]):
                    parts.append(tf.linalg.matvec(tf.gather(y, index), x))
            return tf.stack(parts, 1), lambda weights: (self.read(y, weights), self.spread(x, weights))

        return products(x, y)

    def read(self, y: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Return the gradient of x: the weighted sums of the pixels of each window, without those of weight 0."""

        @tf.custom_gradient
        def read(y: tf.Tensor, weights: tf.Tensor) -> tuple:
            def by_matrix(index: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
                return sparse.multiply(tf.transpose(row), tf.transpose(_nonzero(index, row)), y)

            def by_gather(index: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
                return tf.linalg.matvec(tf.gather(y, _nonzero(index, row)), row, transpose_a=True)

            x = self._sum(weights, by_matrix, by_gather)
            return x, lambda x: (self.spread(x, weights), self.products(x, y))

        return read(y, weights)

    def spread(self, x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Return the gradient of y: x of each point, weighted and added to the pixels of its window."""

        @tf.custom_gradient
        def spread(x: tf.Tensor, weights: tf.Tensor) -> tuple:
            def by_matrix(index: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
                columns = tf.transpose(_nonzero(index, row))
                return sparse.multiply_transposed(tf.transpose(row), columns, x, self._pixels)

            def by_sums(index: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
                terms = portable.multiply_no_nan(tf.expand_dims(x, 1), tf.expand_dims(row, 2))
                return tf.math.unsorted_segment_sum(terms, index, self._pixels)

            y = self._sum(weights, by_matrix, by_sums)
            return y, lambda y: (self.read(y, weights), self.products(x, y))

        return spread(x, weights)

    def _sum(self, weights: tf.Tensor, by_matrix: Callable, otherwise: Callable) -> tf.Tensor:
        """Return the sum of a function of the indices and the weights of each row."""

        def total(term: Callable) -> tf.Tensor:
            y: Any = None
            for index, row in zip(self._rows, tf.unstack(weights, axis=1)):
                with tf.control_dependencies([] if y is None else [y]):
                    part = term(index, row)
                    y = part if y is None else y + part
            return y

        if portable.in_slices():
            return total(otherwise)
        return devices.choose(lambda: total(by_matrix), lambda: total(otherwise), self._is_matrix)


def _nonzero(index: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
    """Return the index, that of the first pixel, which is 0, instead of those of weight 0: 0 times NaN would be NaN."""
    return tf.where(tf.equal(row, 0), tf.zeros_like(index), index)
