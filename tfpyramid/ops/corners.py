"""Reads of the four pixels around each point, one by one: for many channels, or few points."""

from collections.abc import Sequence

import tensorflow as tf

from tfpyramid.ops import portable
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.shapes import dimensions

Pair = Sequence[tf.Tensor]


class Corners:
    """The pixels (i, j), (i, j + 1), (i + 1, j) and (i + 1, j + 1) of images, in their working dtype.

    Args:
        images: [batch, height, width, channels].
        rows: i, int32 [batch, ...]. Indices beyond an image are moved inside by the border rule, which is "edge" unless
            it is "wrap"; with "constant" their weight is 0.
        columns: j, likewise.
        border: the border rule.
    """

    channel_axis = -1

    def __init__(self, images: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor, border: str) -> None:
        self._shape, self._work = tf.shape(images), working_dtype(images.dtype)
        _, height, width, channels = dimensions(images)
        sides = [_neighbours(low, n, border) for low, n in ((rows, height), (columns, width))]
        self._index = [flat(images, row, column) for row in sides[0] for column in sides[1]]
        # 1 or 0 for both neighbours on each axis: whether they lie inside the image.
        self._inside: list[Pair] | None = None
        if border == "constant":
            self._inside = [
                [
                    tf.expand_dims(tf.cast(tf.equal(low + step, index), self._work), -1)
                    for step, index in enumerate(pair)
                ]
                for low, pair in zip((rows, columns), sides)
            ]
        pixels = tf.reshape(images, [-1, channels])
        self.values = [tf.cast(tf.gather(pixels, index), self._work) for index in self._index]

    def parts(self, fraction: tf.Tensor, axis: int) -> list[tf.Tensor]:
        """Return the weights of both neighbours on an axis."""
        fraction = tf.expand_dims(fraction, -1)  # TFLite cannot convert `[..., None]`.
        parts = [1 - fraction, fraction]
        return [part * each for part, each in zip(parts, self._inside[axis])] if self._inside else parts

    def expand(self, weights: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Return weights in the shape of the values: a product of equal shapes is faster than one that broadcasts."""
        return [tf.broadcast_to(weight, tf.shape(value)) for weight, value in zip(weights, self.values)]

    def derivative(self, low: Pair, high: Pair, across: Pair, axis: int) -> tf.Tensor:
        """Return the derivative along an axis, from `dots` of its neighbours and the weights on the other axis."""
        if self._inside:
            low, high = (
                [portable.multiply_no_nan(x, inside) for x in pair]
                for pair, inside in zip((low, high), self._inside[axis])
            )
        return difference(low, high, across)

    def lay_out(self, y: tf.Tensor) -> tf.Tensor:
        """Return [batch, ..., channels] in the order of the values: as it is."""
        return y

    restore = lay_out

    def spread(self, upstream: tf.Tensor, weights: Sequence[tf.Tensor]) -> tf.Tensor:
        """Return images, with the weighted upstream gradient of each point added to its four pixels."""
        count = tf.reduce_prod(self._shape[:3])
        parts = [
            tf.math.unsorted_segment_sum(portable.multiply_no_nan(upstream, weight), index, count)
            for weight, index in zip(weights, self._index)
        ]
        return tf.reshape(tf.add_n(parts), self._shape)


def weighted(values: Sequence[tf.Tensor], weights: Sequence[tf.Tensor]) -> tf.Tensor:
    """Return the sum of values, each times its weight. It ignores a value of weight 0: 0 times NaN would be NaN."""
    return tf.add_n([portable.multiply_no_nan(value, weight) for value, weight in zip(values, weights)])


def dots(values: Sequence[tf.Tensor], upstream: tf.Tensor, axis: int) -> list[tf.Tensor]:
    """Return the sum over the channels of each value times the upstream gradient: the gradient of its weight."""
    return [tf.reduce_sum(portable.multiply_no_nan(value, upstream), axis, keepdims=True) for value in values]


def difference(low: Pair, high: Pair, across: Pair) -> tf.Tensor:
    """Return the weighted sum of the differences of two pairs."""
    return weighted([second - first for first, second in zip(low, high)], across)


def flat(images: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Return the indices of pixels [batch, ...] in images reshaped to [pixels, channels]."""
    batch, height, width, _ = dimensions(images)
    # A batch may have more pixels than int32 can hold.
    width = tf.cast(width, tf.int64)
    index = tf.cast(rows, tf.int64) * width + tf.cast(columns, tf.int64)
    if isinstance(batch, int) and batch == 1:
        return index
    samples = tf.range(tf.cast(batch, tf.int64)) * (tf.cast(height, tf.int64) * width)
    return index + tf.reshape(samples, [-1] + [1] * (index.shape.rank - 1))


def _neighbours(low: tf.Tensor, size: int | tf.Tensor, border: str) -> Pair:
    """Return the indices low and low + 1, moved inside the image."""
    if border == "wrap":
        return [portable.remainder(index, size) for index in (low, low + 1)]
    return [tf.clip_by_value(index, 0, size - 1) for index in (low, low + 1)]
