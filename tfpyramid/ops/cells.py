"""The cells between four pixels, read whole, for few channels and many points.

A read of memory that is not in a cache takes longer than the arithmetic on what it brings. So the four pixels about each
cell are laid side by side first, and a point costs one read instead of four. What is read comes channel by channel: there
a weight of each point multiplies values that lie as it lies.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfpyramid.ops import borders


def frame(images: tf.Tensor, border: str) -> tuple[tf.Tensor, int]:
    """Return images with a neighbour beyond each pixel that a cell may begin at, and how far pixel 0 has moved."""
    if border == "constant":
        return tf.pad(images, [[0, 0], [1, 2], [1, 2], [0, 0]]), 1
    # Only "wrap" reads what is beyond the last pixel with a weight that is not 0.
    rule = "wrap" if border == "wrap" else "edge"
    return borders.extend(borders.extend(images, 1, 0, 1, rule), 2, 0, 1, rule), 0


def read(images: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> list[tf.Tensor]:
    """Return the pixels (i, j), (i, j + 1), (i + 1, j) and (i + 1, j + 1).

    The gradient adds in the dtype of the images, and has gradients of all orders.

    Args:
        images: [batch, height, width, channels], sides of at least 2, channels known.
        rows: i, int32 [batch, points]. What is beyond the cells of an image reads one of that image.
        columns: j, likewise.

    Returns:
        Four tensors [channels, batch * points].
    """
    count, height, width, _ = tf.unstack(tf.shape(images) - [0, 1, 1, 0])
    cells = tf.clip_by_value(rows * width + columns, 0, height * width - 1)
    cells = tf.reshape(cells + (tf.range(count) * (height * width))[:, None], [-1])
    return list(_call(_read, images, cells))


@tf.custom_gradient
def _read(images: tf.Tensor, cells: tf.Tensor) -> tuple:
    upper, lower = images[:, :-1], images[:, 1:]
    table = tf.concat([upper[:, :, :-1], upper[:, :, 1:], lower[:, :, :-1], lower[:, :, 1:]], -1)
    channels = images.shape[3]
    found = tf.transpose(tf.gather(tf.reshape(table, [-1, 4 * channels]), cells))
    shape = tf.shape(images)

    def grad(*upstream: tf.Tensor) -> tuple:
        return _call(_spread, *upstream, cells, shape), None

    return tuple(tf.unstack(tf.reshape(found, [4, channels, tf.size(cells)]))), grad


@tf.custom_gradient
def _spread(*arguments: tf.Tensor) -> tuple:
    """Return images of a shape, with four values added to the pixels of each cell: the transpose of `_read`."""
    *values, cells, shape = arguments
    width, size = shape[2], tf.reduce_prod(shape[:3])
    first = cells + cells // (width - 1)
    # An image has a row more than it has rows of cells.
    first += cells // ((width - 1) * (shape[1] - 1)) * width
    places = [first, first + 1, first + width, first + width + 1]
    planes = [
        tf.add_n([_sums(part, place, size) for part, place in zip(channel, places)])
        for channel in zip(*(tf.unstack(value) for value in values))
    ]

    def grad(upstream: tf.Tensor) -> tuple:
        return *_call(_read, upstream, cells), None, None

    return tf.reshape(tf.stack(planes, -1) if len(planes) == 1 else tf.transpose(tf.stack(planes)), shape), grad


def _sums(values: tf.Tensor, places: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Return a vector of a size with the values added at their places."""
    # The histogram is several times faster, but only a CPU has one with weights.
    return tf.cond(
        tf.equal(tf.raw_ops.DeviceIndex(device_names=["CPU"]), 0),
        lambda: tf.raw_ops.Bincount(arr=places, size=size, weights=values),
        lambda: tf.math.unsorted_segment_sum(values, places, size),
    )


def _call(function: Callable, *arguments: tf.Tensor) -> Sequence[tf.Tensor] | tf.Tensor:
    """Call a function with a custom gradient such that a graph keeps that gradient: in branches, and when saved."""
    return (function if tf.executing_eagerly() else tf.function(function, autograph=False))(*arguments)
