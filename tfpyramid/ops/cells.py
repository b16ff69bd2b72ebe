"""Reads of the four pixels around each point, for few channels and many points.

Reading memory that is not in a cache takes longer than the arithmetic. So images are laid out such that one read
returns two neighbours of a row, whichever is the first. Results are ordered by channel, so that the weights of the
points multiply values in the same order.
"""

from collections.abc import Callable

import tensorflow as tf

from tfpyramid.ops import borders, custom_gradients, devices


def frame(images: tf.Tensor, border: str) -> tuple[tf.Tensor, int]:
    """Return images of known sides, extended for `read` by a neighbour of each pixel where a cell may begin.

    Returns:
        The images, with an even width, and the row and column that their first pixel has moved to.
    """
    width = images.shape[2]
    if border == "constant":
        return tf.pad(images, [[0, 0], [1, 2], [1, 3 - width % 2], [0, 0]]), 1
    # Only "wrap" gives pixels beyond the last one a weight other than 0.
    rule = "wrap" if border == "wrap" else "edge"
    return borders.extend(borders.extend(images, 1, 0, 1, rule), 2, 0, 2 - width % 2, rule), 0


def read(images: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> list[tf.Tensor]:
    """Return the pixels (i, j), (i, j + 1), (i + 1, j) and (i + 1, j + 1).

    The gradient is summed in the dtype of the images. Gradients of all orders are defined.

    Args:
        images: [batch, height, width, channels], sides of at least 2, the width even, channels known; fewer than
            2^31 pixels.
        rows: i, int32 [batch, points]. Indices beyond an image are clipped to it.
        columns: j, likewise.

    Returns:
        Four tensors [channels, batch * points].
    """
    shape = tf.shape(images)
    count, height, width = shape[0], shape[1], shape[2]
    first = tf.clip_by_value(rows * width + columns, 0, (height - 1) * width - 2)
    first = tf.reshape(first + (tf.range(count) * (height * width))[:, None], [-1])
    return list(custom_gradients.call(_read, images, first))


@tf.custom_gradient
def _read(images: tf.Tensor, first: tf.Tensor) -> tuple:
    shape, channels = tf.shape(images), images.shape[3]
    pixels = tf.reshape(images, [-1, channels])
    # Two copies, an odd number of pixels apart: in one of them, any two neighbours are a row of `pairs`.
    filler = tf.zeros([1 - tf.shape(pixels)[0] % 2, channels], pixels.dtype)
    later = tf.shape(pixels)[0] + tf.shape(filler)[0]
    pairs = tf.reshape(tf.concat([pixels, filler, pixels, filler], 0), [-1, 2 * channels])
    index = tf.bitwise.right_shift(first + tf.bitwise.bitwise_and(first, 1) * later, 1)
    values = []
    for row in (index, index + shape[2] // 2):
        found = tf.transpose(tf.gather(pairs, row))
        values += tf.unstack(tf.reshape(found, [2, channels, tf.size(first)]))

    def grad(*upstream: tf.Tensor) -> tuple:
        return custom_gradients.call(_spread, *upstream, first, shape), None

    return tuple(values), grad


@tf.custom_gradient
def _spread(*arguments: tf.Tensor) -> tuple:
    """Return images of `shape` with each point's four values added to its four pixels: the transpose of `_read`."""
    *values, first, shape = arguments
    width, size = shape[2], tf.reduce_prod(shape[:3])
    indices = [first, first + 1, first + width, first + width + 1]
    corners = list(zip(*(tf.unstack(value) for value in values)))

    def planes(add: Callable) -> tf.Tensor:
        return tf.stack([tf.add_n([add(part, index) for part, index in zip(corner, indices)]) for corner in corners])

    def histogram(part: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.Bincount(arr=index, size=size, weights=part)

    def segments(part: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        return tf.math.unsorted_segment_sum(part, index, size)

    # A histogram is faster on large images, but only the CPU supports one with weights.
    sums = devices.choose(lambda: planes(histogram), lambda: planes(segments))

    def grad(upstream: tf.Tensor) -> tuple:
        return *custom_gradients.call(_read, upstream, first), None, None

    return tf.reshape(tf.transpose(sums), shape), grad
