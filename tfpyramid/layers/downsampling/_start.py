"""Initial values of learned kernels: the classic filter, on the input channels that each filter starts on."""

import numpy as np

from tfpyramid import _checks
from tfpyramid.ops.kernels import prefilter_sigma
from tfpyramid.ops.taps import binomial, gaussian


def gaussian_plane(size: int, strides: int) -> np.ndarray:
    """Return taps [size, size] with the sum 1: the binomial filter at (5, 2), otherwise a Gaussian for the stride."""
    taps = binomial(5) if (size, strides) == (5, 2) else gaussian(prefilter_sigma(strides), size)
    return np.outer(taps, taps)


def logarithm(weights: np.ndarray) -> np.ndarray:
    """Return the logits whose softmax is `weights`; they are finite even for a weight that underflows to 0."""
    return np.log(np.maximum(weights, np.finfo(np.float64).tiny))


def channel_map(channels: int, filters: int) -> np.ndarray:
    """Return weights [channels, filters] with columns of sum 1: filter f reads channel f modulo the channels.

    With fewer filters than channels it reads the mean of the channels that are equal to f modulo the filters.
    """
    reads = np.zeros([channels, filters])
    for k in range(max(channels, filters)):
        reads[k % channels, k % filters] = 1
    return reads / reads.sum(axis=0)


def dense_start(plane: np.ndarray, channels: int, filters: int) -> np.ndarray:
    """Return a kernel [*plane.shape, channels, filters]: the plane on the channels that each filter reads."""
    _checks.weight_shape("kernel", (*plane.shape, channels, filters))
    return np.multiply.outer(plane, channel_map(channels, filters))
