"""Weighted means over windows, with separate weights for each output."""

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._sizes import level_sizes
from tfpyramid.ops import batches, borders, portable
from tfpyramid.ops._operation import operation
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.shapes import dimensions, sides

_RULE = "`weights` must be [batch, ceil(height / s), ceil(width / s), window^2], for `strides` s"


@operation
def window_mean(images: tf.Tensor, weights: tf.Tensor, strides: int = 2, *, border: str = "reflect") -> tf.Tensor:
    """Return a weighted sum of the window around each output, with separate weights for each output.

    Convention:
        Windows lie like the kernels of `conv_down`: the window of output i is centred at i * strides of the input, and
        an even window reaches one sample further right and down than left and up. A side of n becomes
        ceil(n / strides). All channels of an output use the same weights. Every pixel of the window is read, so NaN or
        infinity reaches the output through a weight of 0 too.

    Equation:
        `y[i, j, c] = sum_{a, b} weights[i, j, a window + b] x[strides i + a - r, strides j + b - r, c]`, with
        `r = (window - 1) // 2`, and x extended by the border rule.

    Args:
        images: [batch, height, width, channels], floating point; sides of at least 1, known or not.
        weights: [batch, ceil(height / strides), ceil(width / strides), window^2], of the same dtype, row by row.
        strides: from 1 to 1024.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".

    Returns:
        [batch, ceil(height / strides), ceil(width / strides), channels] of the same dtype.

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Kopf, Shamir and Peers, Content-Adaptive Image Downscaling, 2013, section 3 (kernels that follow the content).
    """
    images, weights = _checks.images(images), _checks.images(weights, "weights")
    strides = _checks.strides(strides)
    borders.check(border)
    window = round(weights.shape[3] ** 0.5)
    sizes = level_sizes(images.shape[1:3], strides)
    fits = weights.shape.is_compatible_with([images.shape[0], *sizes, window**2])
    if not fits or weights.dtype != images.dtype:
        raise ValueError(
            f"{_RULE}, and have the dtype of `images`, {images.dtype.name}. "
            f"Received: weights of shape {weights.shape}, {weights.dtype.name}; images of shape {images.shape}, "
            f"strides={strides}"
        )
    batch, *size, _ = dimensions(images)
    needed = [batch, *level_sizes(size, strides)]
    rule = f"{_RULE}. Received: three sizes of weights, then those needed,"
    (weights,) = batches.assert_equal(rule, [weights], dimensions(weights)[:3], needed)
    return combine(images, weights, strides, border)


def combine(images: tf.Tensor, weights: tf.Tensor, strides: int, border: str) -> tf.Tensor:
    """Return `window_mean` without checking the arguments."""
    window = round(weights.shape[3] ** 0.5)
    work = working_dtype(images.dtype)
    left = (window - 1) // 2
    size = level_sizes(sides(images), strides)
    x = tf.cast(images, work)
    for axis in (1, 2):
        x = borders.extend(x, axis, left, window - 1 - left, border)
    rows, columns = (strides * tf.range(m)[:, None] + tf.range(window) for m in size)
    # [batch, i, a, j, b, channels]. Strided views, one for each pixel of the window, would avoid this tensor in the
    # forward pass. But the gradient of the weights needs as much memory, and the backward pass is twice as slow.
    patches = tf.gather(tf.gather(x, rows, axis=1), columns, axis=3)
    kernels = tf.reshape(tf.cast(weights, work), [-1, *size, window, window])
    if portable.is_portable():  # TFLite converts the einsum to a matrix product with the wrong shapes.
        y = tf.reduce_sum(patches * tf.expand_dims(tf.transpose(kernels, [0, 1, 3, 2, 4]), 5), [2, 4])
    else:
        y = tf.einsum("niajbc,nijab->nijc", patches, kernels)
    y.set_shape([*weights.shape[:3], images.shape[3]])
    return tf.cast(y, images.dtype)
