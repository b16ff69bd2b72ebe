"""The cells between four pixels, for few channels and many points.

A read of memory that is not in a cache takes longer than the arithmetic on what it brings. So the images are laid out
such that two neighbours of a row are read at once, whichever is the first. What is read comes channel by channel: there
the weight of a point multiplies values that lie as the weights lie.
"""

from collections.abc import Callable

import tensorflow as tf

from tfpyramid.ops import borders, custom_gradients


def frame(images: tf.Tensor, border: str) -> tuple[tf.Tensor, int]:
    """Return images of known sides with a neighbour beyond each pixel that a cell may begin at, for `read`.

    Returns:
        The images, of an even width, and the row and column at which their first pixel is now.
    """
    width = images.shape[2]
    if border == "constant":
        return tf.pad(images, [[0, 0], [1, 2], [1, 3 - width % 2], [0, 0]]), 1
    # Only "wrap" reads what is beyond the last pixel with a weight that is not 0.
    rule = "wrap" if border == "wrap" else "edge"
    return borders.extend(borders.extend(images, 1, 0, 1, rule), 2, 0, 2 - width % 2, rule), 0


def read(images: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> list[tf.Tensor]:
    """Return the pixels (i, j), (i, j + 1), (i + 1, j) and (i + 1, j + 1).

    The gradient adds in the dtype of the images, and has gradients of all orders.

    Args:
        images: [batch, height, width, channels], sides of at least 2, the width even, channels known; fewer than
            2^31 pixels.
        rows: i, int32 [batch, points]. What is beyond the cells of an image reads one of that image.
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
    # Twice, the second time an odd number of pixels later: in one of the two, any two neighbours are a row of pairs.
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
    """Return images of a shape, with four values added to four pixels of it each: the transpose of `_read`."""
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

    # The histogram is faster on large images, but only a CPU has one with weights.
    sums = tf.cond(_is_on_cpu(), lambda: planes(histogram), lambda: planes(segments))

    def grad(upstream: tf.Tensor) -> tuple:
        return *custom_gradients.call(_read, upstream, first), None, None

    return tf.reshape(tf.transpose(sums), shape), grad


def _is_on_cpu() -> tf.Tensor:
    """Return whether a CPU runs the graph, a scalar that is one for all rows of `tf.vectorized_map` and of Jacobians.

    They ask each row for the index of its device, and would divide a batch between the branches of `tf.cond` by it. The
    size of a tensor is the same for all rows, so the index passes through one.
    """
    index = tf.raw_ops.DeviceIndex(device_names=["CPU"])
    return tf.equal(tf.shape(tf.zeros([index]))[0], 0)
