"""Reads of the four pixels around each point, for few channels and many points.

Reading memory that is not in a cache takes longer than the arithmetic. So images are laid out such that one read
returns two neighbours of a row, whichever is the first. Values are ordered by channel, [channels, points], so that the
weights of the points multiply values in the same order.
"""

from collections.abc import Sequence

import tensorflow as tf

from tfpyramid.ops import borders, devices, portable
from tfpyramid.ops.corners import weighted, without_nan
from tfpyramid.ops.shapes import dimension, sides


def frame(images: tf.Tensor, border: str) -> tf.Tensor:
    """Return images, extended by a neighbour of each pixel where a cell may begin, to an even width."""
    width = dimension(images, 2)
    if border == "constant":
        framed = tf.pad(images, [[0, 0], [1, 2], [1, 3 - width % 2], [0, 0]])
    else:
        # Only "wrap" gives pixels beyond the last one a weight other than 0.
        rule = "wrap" if border == "wrap" else "edge"
        framed = borders.extend(images, 1, 0, 1, rule)
        if isinstance(width, int):
            return borders.extend(framed, 2, 0, 2 - width % 2, rule)
        framed = tf.pad(borders.extend(framed, 2, 0, 1, rule), [[0, 0], [0, 0], [0, 1 - width % 2], [0, 0]])
    framed.set_shape([images.shape[0], None, None, images.shape[3]])
    return framed


class Cells:
    """Samples at points, and their gradients, as in `corners.Corners`.

    Args:
        images: [batch, height, width, channels] from `frame`, in the working dtype; fewer than 2^31 pixels.
        lows: the row i and the column j of the first pixel, [batch, ...] each, whole floating numbers; at least -1, and
            at most the height and width that the images had before.
        fractions: the distances of each point from that pixel, likewise, in the working dtype.
        border: the border rule.
    """

    def __init__(
        self, images: tf.Tensor, lows: Sequence[tf.Tensor], fractions: Sequence[tf.Tensor], border: str
    ) -> None:
        self._shape, self._points = tf.shape(images), tf.shape(lows[0])
        self._channels, self._border = images.shape[3], border
        # GPUs have no arithmetic of int32.
        pixels = images.shape[:3].num_elements()
        exact = tf.float32 if pixels is not None and pixels + 2 <= 2**24 else tf.float64
        rows, columns = (tf.cast(low, exact) for low in lows)
        height, width = (tf.cast(n, exact) for n in sides(images))
        first = rows * width + columns
        if border == "constant":
            first += width + 1
        if images.shape[0] != 1:
            samples = tf.range(tf.cast(self._shape[0], exact)) * (height * width)
            first += tf.reshape(samples, [-1] + [1] * (rows.shape.rank - 1))
        # The index is NaN for a point that is. With "constant" the last two rows are zeros, and not of the image.
        nowhere = tf.cast((height - 2) * width, exact) if border == "constant" else tf.zeros([], exact)
        first = tf.where(first >= 0, first, nowhere)
        self._first = tf.reshape(first, [-1])
        self._values = _read(images, self._first)
        self._parts = [[1 - fraction, fraction] for fraction in (tf.reshape(each, [-1]) for each in fractions)]
        self._weights = [row * column for row in self._parts[0] for column in self._parts[1]]

    def read(self) -> tf.Tensor:
        """Return the samples, [batch, ..., channels]."""
        y = tf.transpose(weighted(self._values, self._weights))
        return tf.reshape(y, tf.concat([self._points, [self._channels]], 0))

    def gradients(self, upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return the gradients of the images, and of the rows and the columns of the points, in any shape."""
        upstream = tf.transpose(tf.reshape(upstream, [-1, self._channels]))
        a, b, c, d = _dots(self._values, upstream)
        down, right = self._parts
        slopes = weighted([c - a, d - b], right), weighted([b - a, d - c], down)
        weights = self._weights if self._border == "constant" else map(without_nan, self._weights)
        return _spread(upstream, *weights, self._first, self._shape), *slopes


def _dots(values: Sequence[tf.Tensor], upstream: tf.Tensor) -> list[tf.Tensor]:
    """Return the sum over the channels of each value times the upstream gradient: the gradient of its weight."""
    return [tf.reduce_sum(portable.multiply_no_nan(value, upstream), 0) for value in values]


def _read(images: tf.Tensor, first: tf.Tensor) -> list[tf.Tensor]:
    """Return the values of the four pixels of each cell, given the index of its first pixel, a whole number."""
    channels, shape = images.shape[3], tf.shape(images)
    pixels = tf.reshape(images, [-1, channels])
    # Two copies, an odd number of pixels apart: in one of them, any two neighbours are a row of `pairs`. The width is
    # even, and so is the number of pixels.
    filler = tf.zeros([1, channels], pixels.dtype)
    pairs = tf.reshape(tf.concat([pixels, filler, pixels, filler], 0), [-1, 2 * channels])
    half = first / 2
    pair = tf.floor(half)
    index = pair + (half - pair) * tf.cast(tf.reduce_prod(shape[:3]) + 2, first.dtype)
    values = []
    for row in (index, index + tf.cast(shape[2] // 2, first.dtype)):
        values += tf.unstack(tf.reshape(tf.transpose(tf.gather(pairs, tf.cast(row, tf.int32))), [2, channels, -1]))
    return values


@tf.custom_gradient
def _spread(upstream: tf.Tensor, *arguments: tf.Tensor) -> tuple:
    """Return the transpose of `_read` with weights. Gradients of all orders are defined."""
    *weights, first, shape = arguments
    joined = tf.stack(weights)
    parts = [tf.reshape(portable.multiply_no_nan(channel, joined), [-1]) for channel in tf.unstack(upstream)]
    size = tf.reduce_prod(shape[:3])

    def index(first: tf.Tensor) -> tf.Tensor:
        below = first + tf.cast(shape[2], first.dtype)
        return tf.concat([first, first + 1, below, below + 1], 0)

    def histograms() -> tf.Tensor:
        places = index(tf.cast(first, tf.int32))
        return tf.stack([tf.raw_ops.Bincount(arr=places, size=size, weights=part) for part in parts], 1)

    def segments() -> tf.Tensor:
        places = tf.cast(index(first), tf.int32)
        return tf.stack([tf.math.unsorted_segment_sum(part, places, size) for part in parts], 1)

    # A histogram is faster on large images, but only the CPU supports one with weights.
    sums = devices.choose(histograms, segments)

    def grad(images: tf.Tensor) -> tuple:
        values = _read(images, first)
        return weighted(values, weights), *_dots(values, upstream), None, None

    images = tf.reshape(sums, shape)
    images.set_shape([None, None, None, len(parts)])
    return images, grad
