"""Where the learned kernels start: at the classic filter, on the channels each output hears."""

import numpy as np

from tfpyramid import _checks
from tfpyramid.ops.kernels import prefilter_sigma
from tfpyramid.ops.taps import binomial, gaussian


def gaussian_plane(size: int, strides: int) -> np.ndarray:
    """Return [size, size], of sum 1: the binomial of the Gaussian pyramid at (5, 2), else a Gaussian for the stride."""
    taps = binomial(5) if (size, strides) == (5, 2) else gaussian(prefilter_sigma(strides), size)
    return np.outer(taps, taps)


def logarithm(shares: np.ndarray) -> np.ndarray:
    """Return the logarithms that a softmax starts from; a share that underflows to 0 has a finite one too."""
    return np.log(np.maximum(shares, np.finfo(np.float64).tiny))


def channel_map(channels: int, filters: int) -> np.ndarray:
    """Return [channels, filters], columns of sum 1: filter f hears channel f modulo the channels.

    With fewer filters than channels it hears the mean of the channels that are equal to f modulo the filters.
    """
    hears = np.zeros([channels, filters])
    for k in range(max(channels, filters)):
        hears[k % channels, k % filters] = 1
    return hears / hears.sum(axis=0)


def dense_start(plane: np.ndarray, channels: int, filters: int) -> np.ndarray:
    """Return [*plane.shape, channels, filters]: the plane on the channels each filter hears."""
    _checks.weight_shape("kernel", (*plane.shape, channels, filters))
    return np.multiply.outer(plane, channel_map(channels, filters))
