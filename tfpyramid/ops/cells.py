"""Reads of the four pixels around each point, for few channels and many points.

Reading memory that is not in a cache takes longer than the arithmetic. So images are laid out such that one read
returns two neighbours of a row, whichever is the first. Values are ordered by channel, [channels, points], so that the
weights of the points multiply values in the same order.
"""

from collections.abc import Sequence

import tensorflow as tf

from tfpyramid.ops import borders, corners, devices, portable
from tfpyramid.ops.corners import Pair


def frame(images: tf.Tensor, border: str) -> tf.Tensor:
    """Return images of known sides, extended by a neighbour of each pixel where a cell may begin, to an even width."""
    width = images.shape[2]
    if border == "constant":
        return tf.pad(images, [[0, 0], [1, 2], [1, 3 - width % 2], [0, 0]])
    # Only "wrap" gives pixels beyond the last one a weight other than 0.
    rule = "wrap" if border == "wrap" else "edge"
    return borders.extend(borders.extend(images, 1, 0, 1, rule), 2, 0, 2 - width % 2, rule)


class Cells:
    """The pixels (i, j), (i, j + 1), (i + 1, j) and (i + 1, j + 1), as in `corners.Corners`.

    Args:
        images: [batch, height, width, channels] from `frame`; fewer than 2^31 pixels.
        rows: i, int32 [batch, ...]. Indices beyond an image are clipped to it.
        columns: j, likewise.
        border: the border rule.
    """

    channel_axis = 0

    def __init__(self, images: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor, border: str) -> None:
        _, height, width, self._channels = images.shape
        self._shape, self._points = tf.shape(images), tf.shape(rows)
        moved = width + 1 if border == "constant" else 0
        first = tf.clip_by_value(rows * width + columns + moved, 0, (height - 1) * width - 2)
        if images.shape[0] != 1:
            samples = tf.range(self._shape[0]) * (height * width)
            first += tf.reshape(samples, [-1] + [1] * (rows.shape.rank - 1))
        self._first = tf.reshape(first, [-1])
        self.values = _read(images, self._first)

    def parts(self, fraction: tf.Tensor, axis: int) -> list[tf.Tensor]:
        """Return the weights of both neighbours on an axis."""
        fraction = tf.reshape(fraction, [-1])
        return [1 - fraction, fraction]

    def expand(self, weights: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
        """Return weights that multiply the values: as they are."""
        return weights

    def derivative(self, low: Pair, high: Pair, across: Pair, axis: int) -> tf.Tensor:
        """Return the derivative along an axis, from `dots` of its neighbours and the weights on the other axis."""
        return corners.difference(low, high, across)

    def lay_out(self, y: tf.Tensor) -> tf.Tensor:
        """Return [batch, ..., channels] in the order of the values."""
        return tf.transpose(tf.reshape(y, [-1, self._channels]))

    def restore(self, y: tf.Tensor) -> tf.Tensor:
        """Return [batch, ..., channels] from the order of the values."""
        return tf.reshape(tf.transpose(y), tf.concat([self._points, [self._channels]], 0))

    def spread(self, upstream: tf.Tensor, weights: Sequence[tf.Tensor]) -> tf.Tensor:
        """Return images, with the weighted upstream gradient of each point added to its four pixels."""
        return _spread(upstream, *weights, self._first, self._shape)


def _read(images: tf.Tensor, first: tf.Tensor) -> list[tf.Tensor]:
    """Return the values of the four pixels of each cell, given the index of its first pixel."""
    channels, width = images.shape[3], tf.shape(images)[2]
    pixels = tf.reshape(images, [-1, channels])
    # Two copies, an odd number of pixels apart: in one of them, any two neighbours are a row of `pairs`. The width is
    # even, and so is the number of pixels.
    filler = tf.zeros([1, channels], pixels.dtype)
    later = tf.shape(pixels)[0] + 1
    pairs = tf.reshape(tf.concat([pixels, filler, pixels, filler], 0), [-1, 2 * channels])
    index = tf.bitwise.right_shift(first + tf.bitwise.bitwise_and(first, 1) * later, 1)
    values = []
    for row in (index, index + width // 2):
        values += tf.unstack(tf.reshape(tf.transpose(tf.gather(pairs, row)), [2, channels, -1]))
    return values


@tf.custom_gradient
def _spread(upstream: tf.Tensor, *arguments: tf.Tensor) -> tuple:
    """Return `Cells.spread`, the transpose of `_read` with weights. Gradients of all orders are defined."""
    *weights, first, shape = arguments
    index = tf.concat([first, first + 1, first + shape[2], first + (shape[2] + 1)], 0)
    joined = tf.stack(weights)
    parts = [tf.reshape(portable.multiply_no_nan(channel, joined), [-1]) for channel in tf.unstack(upstream)]
    size = tf.reduce_prod(shape[:3])

    def histograms() -> tf.Tensor:
        return tf.stack([tf.raw_ops.Bincount(arr=index, size=size, weights=part) for part in parts], 1)

    def segments() -> tf.Tensor:
        return tf.stack([tf.math.unsorted_segment_sum(part, index, size) for part in parts], 1)

    # A histogram is faster on large images, but only the CPU supports one with weights.
    sums = devices.choose(histograms, segments)

    def grad(images: tf.Tensor) -> tuple:
        values = _read(images, first)
        dots = corners.dots(values, upstream, 0)
        return corners.weighted(values, weights), *(tf.reshape(dot, [-1]) for dot in dots), None, None

    return tf.reshape(sums, shape), grad
