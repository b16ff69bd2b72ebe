"""How well two images agree under every small displacement."""

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.ops.convolution import working_dtype
from tfpyramid.ops.resample import sides


def cost_volume(first: tf.Tensor, second: tf.Tensor, max_displacement: int = 4) -> tf.Tensor:
    """Correlate each pixel of an image with the pixels of another about the same place.

    Convention:
        Displacements run row by row, from (-d, -d) to (d, d) in (y, x), d being `max_displacement`: channel
        `(dy + d) (2 d + 1) + dx + d` is that of (dy, dx). Beyond its border the second image is zero.

    Equation:
        `y[i, j, (dy, dx)] = mean_c first[i, j, c] second[i + dy, j + dx, c]`.

    Args:
        first: [batch, height, width, channels], floating point; sides of at least 1, known or not. float16 and bfloat16
            are summed in float32 and rounded once.
        second: of the same shape and dtype.
        max_displacement: d, at least 0.

    Returns:
        [batch, height, width, (2 d + 1)^2] of the same dtype.

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Sun, Yang, Liu and Kautz, PWC-Net: CNNs for Optical Flow Using Pyramid, Warping, and Cost Volume, 2018,
        section 3, "cost volume layer".
    """
    first, second = _checks.images(first, "first"), _checks.images(second, "second")
    reach = _checks.integer("max_displacement", max_displacement, 0, "the pixels that a displacement is at most")
    if first.dtype != second.dtype or not first.shape.is_compatible_with(second.shape):
        raise ValueError(
            "`first` and `second` must agree in shape and dtype. Received: "
            f"first of shape {first.shape}, {first.dtype.name}; second of shape {second.shape}, {second.dtype.name}"
        )
    work = working_dtype(first.dtype)
    x, (height, width) = tf.cast(first, work), sides(first)
    beyond = tf.pad(tf.cast(second, work), [[0, 0], [reach, reach], [reach, reach], [0, 0]])
    # A product of matrices would correlate each pixel with whole rows, of which a few pixels are asked for.
    channels = [
        tf.reduce_mean(x * beyond[:, down : down + height, across : across + width], -1)
        for down in range(2 * reach + 1)
        for across in range(2 * reach + 1)
    ]
    return tf.cast(tf.stack(channels, -1), first.dtype)
