"""Convolutions, a window at a time."""

import math

import numpy as np


def windows(x, rows, columns):
    """Return [batch, i, j, channels, rows, columns]: the window of x that begins at each i, j where all of it is."""
    return np.lib.stride_tricks.sliding_window_view(x, (rows, columns), axis=(1, 2))


def correlate(x, kernel):
    """Return the valid correlation of [batch, h, w, channels] with [rows, columns, channels, filters]."""
    return np.einsum("bijcyx,yxcf->bijf", windows(x, *kernel.shape[:2]), kernel)


def extended(x, rows, columns, border):
    """Extend images so that a window of rows by columns lies about each sample."""
    pads = [(0, 0), ((rows - 1) // 2, rows // 2), ((columns - 1) // 2, columns // 2), (0, 0)]
    return np.pad(x, pads, mode=border)


def conv_down(x, kernel, strides, border):
    down, across = np.broadcast_to(strides, 2)
    return correlate(extended(x, *kernel.shape[:2], border), kernel)[:, ::down, ::across]


def depthwise_down(x, kernel, strides, border):
    patches = windows(extended(x, *kernel.shape[:2], border), *kernel.shape[:2])
    return np.einsum("bijcyx,yxc->bijc", patches, kernel[..., 0])[:, ::strides, ::strides]


def conv_same(x, kernel, bias=0.0):
    """Return what `keras.layers.Conv2D(padding="same")` computes."""
    return correlate(extended(x, *kernel.shape[:2], "constant"), kernel) + bias


def window_mean(x, weights, strides, border):
    size = round(weights.shape[3] ** 0.5)
    patches = windows(extended(x, size, size, border), size, size)[:, ::strides, ::strides]
    return np.einsum("bijcyx,bijyx->bijc", patches, weights.reshape([*weights.shape[:3], size, size]))


def strided_conv2d(x, kernel, strides, output_size=None):
    """Convolve an output and a tap at a time; complex strides lie in the cell of their real part."""
    (height, width), (rows, columns), strides = x.shape[1:3], kernel.shape[:2], np.asarray(strides)
    cells = np.real(strides)
    if output_size is None:
        output_size = [int((n - taps) / s) + 1 for n, taps, s in zip((height, width), (rows, columns), cells)]

    def pixel(i, j):
        return x[:, i, j] if 0 <= i < height and 0 <= j < width else np.zeros_like(x[:, 0, 0])

    y = np.zeros([len(x), *output_size, kernel.shape[3]], np.result_type(x, kernel, strides))
    for p, q, a, b in np.ndindex(*output_size, rows, columns):
        i, j = math.floor(p * cells[0]), math.floor(q * cells[1])
        f, g = p * strides[0] - i, q * strides[1] - j
        i, j = i + a, j + b
        upper = (1 - g) * pixel(i, j) + g * pixel(i, j + 1)
        lower = (1 - g) * pixel(i + 1, j) + g * pixel(i + 1, j + 1)
        y[:, p, q] += ((1 - f) * upper + f * lower) @ kernel[a, b]
    return y


def batch_norm(x, gamma, beta, mean, variance):
    """Return what `keras.layers.BatchNormalization` computes of images by the mean and the variance it is given."""
    return gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta
