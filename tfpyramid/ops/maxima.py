"""The position of the maximum of a map, with a gradient."""

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.ops import straight_through
from tfpyramid.ops._operation import operation
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


def pixel_weights(maps: tf.Tensor, temperature: float | tf.Tensor) -> tf.Tensor:
    """Return the softmax of maps [batch, height, width, n] over their pixels, [batch, n, height, width]."""
    maps = tf.cast(_by_map(maps), working_dtype(maps.dtype))
    batch, count, height, width = dimensions(maps)
    flat = straight_through.softmax(tf.reshape(maps, [batch, count, height * width]), temperature)
    return tf.reshape(flat, [batch, count, height, width])


def _by_map(maps: tf.Tensor) -> tf.Tensor:
    return tf.transpose(maps, [0, 3, 1, 2])
