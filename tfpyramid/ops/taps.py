"""Taps of one-dimensional filters, as NumPy arrays of sum 1."""

import numpy as np

from tfpyramid import _checks
from tfpyramid.ops._operation import operation

_MAX_TAPS = 2**14


@operation
def binomial(size: int) -> np.ndarray:
    """Return binomial taps, a good approximation of a Gaussian: [1 4 6 4 1] / 16 for size 5. float64 [size], sum 1.

    Equation: `w[k] = C(size - 1, k) / 2^(size - 1)`.

    Raises:
        ValueError: if `size` is not an integer from 1 to 16384.

    References:
        Burt and Adelson, The Laplacian Pyramid as a Compact Image Code, 1983, section II.A (a = 0.375).
    """
    size = _tap_count(size)
    # Compute with integers, because a float cannot hold large counts. Python rounds only the quotients.
    count, total, taps = 1, 2 ** (size - 1), []
    for k in range(1, size + 1):
        taps.append(count / total)
        count = count * (size - k) // k
    return np.array(taps)


@operation
def gaussian(sigma: float, size: int | None = None) -> np.ndarray:
    """Return sampled Gaussian taps of standard deviation `sigma` samples: float64 [size], sum 1.

    Equation: `w[k] = exp(-(k - c)^2 / (2 sigma^2)) / sum`, with `c = (size - 1) / 2`.

    Args:
        sigma: standard deviation in samples, from 1e-30 to 1e30, and at most 2047 if `size` is None.
        size: number of taps; by default the Gaussian is cut at four standard deviations, `2 int(4 sigma + 0.5) + 1`,
            as SciPy and scikit-image cut it.

    Raises:
        ValueError: if `sigma` is out of its range, or the number of taps is not an integer from 1 to 16384.
    """
    sigma = _checks.number("sigma", sigma, above=0)
    if size is None:
        _checks.at_most("sigma", sigma, (_MAX_TAPS - 1) // 8, "if `size` is None")
        size = 2 * int(4 * sigma + 0.5) + 1
    size = _tap_count(size)
    offsets = np.arange(size) - (size - 1) / 2
    # Divide by the tap nearest to the centre, which becomes 1: with an even number of taps, all might underflow.
    squares = np.square(offsets) - np.square(offsets).min()
    taps = np.exp(-0.5 * squares / sigma / sigma)
    return taps / taps.sum()


@operation
def box(size: int) -> np.ndarray:
    """Return `size` equal taps: float64 [size], sum 1.

    Raises:
        ValueError: if `size` is not an integer from 1 to 16384.
    """
    size = _tap_count(size)
    return np.full(size, 1 / size)


def _tap_count(size: object) -> int:
    return _checks.integer("size", size, 1, "the number of taps", maximum=_MAX_TAPS)
