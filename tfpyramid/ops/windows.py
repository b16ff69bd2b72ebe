"""Weighted means over windows, with separate weights for each output."""

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._sizes import level_sizes
from tfpyramid.ops import batches, borders, convolution
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
    images, weights = batches.assert_equal(rule, [images, weights], dimensions(weights)[:3], needed)
    work = working_dtype(images.dtype)
    x = convolution.extend(tf.cast(images, work), [window] * 2, strides, border)
    y = combine(x, tf.cast(weights, work), strides)
    y.set_shape([*weights.shape[:3], images.shape[3]])
    return tf.cast(y, images.dtype)


def combine(x: tf.Tensor, weights: tf.Tensor, strides: int, *, margin: int = 0) -> tf.Tensor:
    """Return `window_mean` of images that are extended for the window, and by `margin` more samples on every side.

    Blocks of strides by strides pixels divide the images. The outputs that read one pixel of a block read all pixels of
    its `_phases`, so a small matrix product for each block computes what the block adds to them. It needs no more
    memory than the images. A copy of the window of each output would need (window / strides)^2 as much.
    """
    window = round(weights.shape[3] ** 0.5)
    span = -(-window // strides)  # Blocks that a window reaches into, on each axis.
    channels, padding = x.shape[3], span * strides - window
    w = tf.reshape(weights, [-1, window, window])
    if margin:
        # The gradient of `tf.slice` is a padding; that of an index expression takes ten times as long.
        x = tf.slice(x, [0, margin, margin, 0], [-1, *(n - 2 * margin for n in sides(x)), -1])
    if padding:
        w = tf.pad(w, [[0, 0], *[[0, padding]] * 2])
        x = tf.pad(x, [[0, 0], *[[0, padding]] * 2, [0, 0]])
    batch, *size, _ = dimensions(weights)
    height, width = (n + span - 1 for n in size)
    x = tf.transpose(tf.reshape(x, [batch, height, strides, width, strides * channels]), [0, 1, 3, 2, 4])
    w = tf.transpose(tf.reshape(w, [-1, span, strides, span, strides]), [1, 3, 0, 2, 4])
    x = tf.reshape(x, [batch, height, width, strides, strides, channels])
    parts = []
    for top, bottom, rows in _phases(window, strides):
        for left, right, columns in _phases(window, strides):
            height, width = size[0] + rows - 1, size[1] + columns - 1
            pixels = (bottom - top) * (right - left)
            read, taps = x, w
            if padding:
                read = tf.slice(x, [0, 0, 0, top, left, 0], [-1, height, width, bottom - top, right - left, -1])
                taps = tf.slice(w, [0, 0, 0, top, left], [rows, columns, -1, bottom - top, right - left])
            read = tf.reshape(read, [batch, height, width, pixels, channels])
            taps = tf.reshape(taps, [rows * columns, batch, *size, pixels])
            parts += _sums(read, taps, rows, columns)
    return tf.add_n(parts)


def _phases(window: int, strides: int) -> list[tuple[int, int, int]]:
    """Return ranges of the samples of a block, along one axis, with the number of outputs that read each sample."""
    whole, rest = divmod(window, strides)
    ranges = [(0, rest, whole + 1), (rest, strides, whole)]
    return [(first, last, outputs) for first, last, outputs in ranges if first < last and outputs]


def _sums(x: tf.Tensor, taps: tf.Tensor, rows: int, columns: int) -> list[tf.Tensor]:
    """Return the terms of each output's sum, one for each block that it reads.

    Args:
        x: [batch, height + rows - 1, width + columns - 1, pixels, channels], blocks of pixels.
        taps: [rows * columns, batch, height, width, pixels], the weights of a block of pixels for each output.
        rows: number of blocks that an output reads, down.
        columns: likewise, to the right.
    """
    offsets = [(i, j) for i in range(rows) for j in range(columns)]

    # Each is the transpose of the other.
    @tf.custom_gradient
    def to_blocks(*parts: tf.Tensor) -> tuple:
        moved = [
            tf.pad(part, [[0, 0], [i, rows - 1 - i], [j, columns - 1 - j], [0, 0]])
            for part, (i, j) in zip(parts, offsets)
        ]
        return tf.concat(moved, 3), to_outputs

    @tf.custom_gradient
    def to_outputs(blocks: tf.Tensor) -> tuple:
        _, height, width, depth = dimensions(blocks)
        height, width, depth = height - rows + 1, width - columns + 1, depth // len(offsets)
        parts = [
            blocks[:, i : i + height, j : j + width, k * depth : (k + 1) * depth] for k, (i, j) in enumerate(offsets)
        ]
        return parts, to_blocks

    *shape, pixels, channels = dimensions(x)
    # One batch axis: TensorFlow multiplies small matrices on several axes in twice the time.
    moved = tf.reshape(to_blocks(*tf.unstack(taps)), [-1, len(offsets), pixels])
    y = tf.matmul(moved, tf.reshape(x, [-1, pixels, channels]))
    return to_outputs(tf.reshape(y, [*shape, len(offsets) * channels]))
