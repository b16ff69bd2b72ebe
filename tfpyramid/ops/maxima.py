"""The positions of the maxima of a map."""

import math
from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.ops import straight_through
from tfpyramid.ops._operation import operation, shared
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.shapes import dimensions


@operation
def soft_argmax(maps: tf.Tensor, temperature: float | tf.Tensor = 1.0, *, hard: bool = False) -> tf.Tensor:
    """Return where maps are largest: the mean position of their pixels, weighted by a softmax.

    Equation:
        `y = sum_p softmax(maps / T)[p] ((p_y + 1/2) / height, (p_x + 1/2) / width)` for each channel, with the softmax
        over all pixels p and the temperature T.
        With `hard=True`, forward: the position of the largest value, the first of equal ones; backward: the gradient of
        the equation.

    Convention:
        Positions are (y, x) as fractions of the image: (0, 0) is the top left corner of the first pixel, and (1, 1) the
        bottom right corner of the last. The soft result is never on the border: between two equal maxima it is the
        middle. A lower temperature brings it closer to the largest value.

    Args:
        maps: [batch, height, width, n], floating point; sides of at least 1, known or not.
        temperature: number or scalar tensor from 1e-30 to 1e30; a tensor is clipped to this range.
        hard: return the position of the largest value, with a straight-through gradient.

    Returns:
        [batch, n, 2], float64 for float64 maps and else float32: 16 bits are too few for positions in a large image. It
        is NaN for a map with a NaN.

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Finn, Tan, Duan, Darrell, Levine and Abbeel, Deep Spatial Autoencoders for Visuomotor Learning, 2016.
    """
    maps = _checks.images(maps, "maps")
    weights = pixel_weights(maps, temperature)
    batch, count, height, width = dimensions(weights)
    rows, columns = ((tf.range(n, dtype=weights.dtype) + 0.5) / tf.cast(n, weights.dtype) for n in (height, width))
    centers = tf.reshape(tf.stack(tf.meshgrid(rows, columns, indexing="ij"), -1), [height * width, 2])
    soft = tf.reshape(tf.reshape(weights, [batch * count, height * width]) @ centers, [batch, count, 2])
    if not _checks.flag("hard", hard):
        return soft
    largest = tf.argmax(tf.reshape(_by_map(maps), [batch, count, height * width]), -1)
    nearest = tf.where(tf.math.is_nan(soft), soft, tf.gather(centers, largest))
    return straight_through.value_of(tf.stop_gradient(nearest), soft)


@operation
def local_maxima(maps: tf.Tensor, count: int = 1, *, separation: int = 5) -> tuple[tf.Tensor, tf.Tensor]:
    """Return where a map has its largest local maxima, and its values there.

    Equation:
        Pixel p is a local maximum if `map[p] >= map[q]` for each pixel q of the window of `separation` rows and columns
        around p. The result is the centers of the `count` largest, `((p_y + 1/2) / height, (p_x + 1/2) / width)`, and
        the values `map[p]`, largest first.

    Convention:
        Positions are (y, x) as fractions of the image: (0, 0) is the top left corner of the first pixel, and (1, 1) the
        bottom right corner of the last.
        Equal values are in the order of rows. Neighbouring pixels with the same value may both be local maxima. If a
        map has fewer local maxima than `count`, its largest other pixels follow. If it has fewer pixels than `count`,
        the first position is repeated, with the value -3.4e38, the lowest of float32: a softmax of the values gives the
        repetitions the weight 0.
        Positions have no gradient. The gradient of a value goes to its pixel, and that of a repetition nowhere.

    Args:
        maps: [batch, height, width, 1], floating point; sides of at least 1, known or not.
        count: number of maxima, from 1 to 1024.
        separation: odd number of rows and columns of the window, from 1 to 1023. With 1 every pixel is a maximum.

    Returns:
        Positions [batch, count, 2] and values [batch, count], float64 for float64 maps and else float32: 16 bits are
        too few for positions in a large image. Both are NaN for a map with a NaN.

    Raises:
        ValueError: if an argument breaks a rule above.
    """
    maps = _checks.images(maps, "maps")
    check_map(maps.shape)
    count = check_count("count", count, "the local maxima of a map")
    return _local_maxima(maps, count, check_separation(separation))


@shared
def _local_maxima(maps: tf.Tensor, count: int, separation: int) -> tuple[tf.Tensor, tf.Tensor]:
    maps = tf.cast(maps, working_dtype(maps.dtype))
    return read(maps, *largest(maps, count, separation))


def check_map(shape: Any) -> None:
    """Raise `ValueError` unless a shape is that of maps with one channel."""
    if _checks.image_shape("maps", shape)[3] != 1:
        raise ValueError(f"`maps` must have one channel, [batch, height, width, 1]. Received: maps of shape {shape}")


def check_count(name: str, value: object, meaning: str) -> int:
    """Return a number of places in a map."""
    return _checks.integer(name, value, 1, meaning, maximum=_checks.LARGEST)


def check_separation(value: object) -> int:
    """Return the side of the window of a local maximum."""
    meaning = "the rows and columns of the window of a local maximum"
    result = _checks.integer("separation", value, 1, meaning, maximum=_checks.LARGEST)
    if result % 2 == 0:
        raise ValueError(f"`separation` must be odd, {meaning}. {_checks.received('separation', value)}")
    return result


def largest(maps: tf.Tensor, count: int, separation: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return which pixels of maps `local_maxima` takes, as indices [batch, count], and which are no repetitions.

    The maps are float32 or float64.
    """
    batch, height, width, _ = dimensions(maps)
    pixels = height * width
    lowest = tf.constant(maps.dtype.min, maps.dtype)
    # Only pixels that are not in a list are lower than this.
    x = tf.maximum(tf.where(tf.math.is_nan(maps), lowest, maps), lowest)
    near = x
    for window in ((separation, 1), (1, separation)):
        near = tf.nn.max_pool2d(near, window, 1, "SAME")
    is_maximum = tf.reshape(x >= near, [batch, pixels])
    x = tf.reshape(x, [batch, pixels])
    places = []
    for is_listed in (is_maximum, ~is_maximum):
        listed = tf.where(is_listed, x, tf.constant(-math.inf, x.dtype))
        if tf.is_tensor(pixels) or pixels < count:
            listed = tf.pad(listed, [[0, 0], [0, count - 1]], constant_values=-math.inf)
        places.append(tf.math.top_k(listed, count).indices)
    rank = tf.range(count)[None]
    # A GPU has no sum of int32.
    maxima = tf.cast(tf.reduce_sum(tf.cast(is_maximum, x.dtype), 1, keepdims=True), tf.int32)
    index = _of_row(tf.concat(places, 1), tf.where(rank < maxima, rank, count + rank - maxima))
    found = tf.broadcast_to(rank < pixels, [batch, count])
    return tf.where(found, index, index[:, :1]), found


def read(maps: tf.Tensor, index: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the centers of pixels of maps, as fractions, and the values there, the lowest ones where not `found`."""
    batch, height, width, _ = dimensions(maps)
    columns = tf.cast(width, index.dtype)
    row = index // columns
    centers = [
        (tf.cast(place, maps.dtype) + 0.5) / tf.cast(side, maps.dtype)
        for place, side in ((row, height), (index - row * columns, width))
    ]
    values = _of_row(tf.reshape(maps, [batch, height * width]), index)
    values = tf.where(found, values, tf.constant(tf.float32.min, maps.dtype))
    unknown = tf.reduce_any(tf.math.is_nan(maps), [1, 2])
    nan = tf.constant(math.nan, maps.dtype)
    return tf.where(tf.expand_dims(unknown, -1), nan, tf.stack(centers, -1)), tf.where(unknown, nan, values)


def _of_row(x: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Return x[b, index[b]] for each sample b."""
    return tf.gather(x, index, batch_dims=1)


def pixel_weights(maps: tf.Tensor, temperature: float | tf.Tensor) -> tf.Tensor:
    """Return the softmax of maps [batch, height, width, n] over their pixels, [batch, n, height, width]."""
    maps = tf.cast(_by_map(maps), working_dtype(maps.dtype))
    batch, count, height, width = dimensions(maps)
    flat = straight_through.softmax(tf.reshape(maps, [batch, count, height * width]), temperature)
    return tf.reshape(flat, [batch, count, height, width])


def _by_map(maps: tf.Tensor) -> tf.Tensor:
    return tf.transpose(maps, [0, 3, 1, 2])
