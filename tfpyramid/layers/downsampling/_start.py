"""Initial values of learned kernels: the classic filter, on the input channels that each filter starts on."""

import numpy as np

from tfpyramid import _checks
from tfpyramid._sizes import per_axis
from tfpyramid.ops.kernels import prefilter_sigma
from tfpyramid.ops.taps import binomial, gaussian


def gaussian_plane(size: int | tuple[int, int], strides: int | tuple[int, int]) -> np.ndarray:
    """Return taps [rows, columns] with the sum 1, the product of those of each axis."""
    rows, columns = map(classic_taps, per_axis(size), per_axis(strides))
    return np.outer(rows, columns)


def classic_taps(size: int, stride: float) -> np.ndarray:
    """Return the taps of an axis: binomial at (5, 2), otherwise a Gaussian for the stride; no blur at a stride of 1."""
    if (size, stride) == (5, 2):
        return binomial(5)
    # So narrow a Gaussian is the tap in the middle, or the two taps around it.
    return gaussian(prefilter_sigma(stride) if stride > 1 else 1e-3, size)


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
