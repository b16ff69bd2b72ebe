"""Convolutions with dense kernels."""

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.ops import borders


def conv_down(images: tf.Tensor, kernel: tf.Tensor, strides: int = 2, *, border: str = "reflect") -> tf.Tensor:
    """Convolve and decimate with a dense kernel: a strided convolution in the convention of `pyr_down`.

    Convention:
        Output sample i sits at i * strides of the input, and a side of n becomes ceil(n / strides). Kernels of even
        size reach one sample further right and down than left and up.

    Equation:
        `y[i, j, f] = sum_{a, b, c} kernel[a, b, c, f] x[strides i + a - r, strides j + b - r, c]`, with
        `r = (size - 1) // 2` of the kernel's rows and columns, and x extended by the border rule.

    Args:
        images: [batch, height, width, channels], floating point; sides of at least 1, known or not.
        kernel: [rows, columns, channels, filters], of the same dtype.
        strides: at least 1.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".

    Returns:
        [batch, ceil(height / strides), ceil(width / strides), filters] of the same dtype.

    Raises:
        ValueError: if an argument breaks a rule above.
    """
    images = _checks.images(images)
    strides = _checks.integer("strides", strides, 1, "the ratio of the sides of input and output")
    borders.check(border)
    kernel = tf.convert_to_tensor(kernel)
    if (
        kernel.shape.rank != 4
        or 0 in kernel.shape
        or kernel.shape[2] != images.shape[3]
        or kernel.dtype != images.dtype
    ):
        raise ValueError(
            "`kernel` must be [rows, columns, channels, filters], with the channels and the dtype of `images`, "
            f"{images.shape[3]} and {images.dtype.name}. "
            f"Received: kernel of shape {kernel.shape}, {kernel.dtype.name}"
        )
    x = images
    for axis, taps in zip((1, 2), kernel.shape[:2]):
        x = borders.extend(x, axis, (taps - 1) // 2, taps // 2, border)
    return conv2d(x, kernel, strides)


def conv2d(x: tf.Tensor, kernel: tf.Tensor, strides: int = 1, *, padding: str = "VALID") -> tf.Tensor:
    """Return `tf.nn.conv2d`, of an empty batch too: there TensorFlow's CPU kernel returns the shape of its input."""
    y = tf.nn.conv2d(x, kernel, strides, padding)
    shape = tf.shape(x)
    reach = [taps - 1 if padding == "VALID" else 0 for taps in kernel.shape[:2]]
    sides = [(shape[axis] - lost + strides - 1) // strides for axis, lost in zip((1, 2), reach)]
    sized = tf.reshape(y, [shape[0], *sides, kernel.shape[3]])
    sized.set_shape(y.shape if x.shape[0] != 0 else [0, None, None, None])
    return sized
