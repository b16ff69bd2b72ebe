"""Kernels of pyramids, and functions of one line of samples."""

import math

import numpy as np
import scipy.ndimage

BINOMIAL = np.array([1, 4, 6, 4, 1]) / 16


def taps_of(kernel, scale_factor):
    """Return the taps a kernel argument stands for."""
    if kernel is None:
        kernel = "binomial" if scale_factor == 2 else "gaussian"
    if not isinstance(kernel, str):
        return np.asarray(kernel, np.float64) / np.sum(kernel)
    if kernel == "binomial":
        return BINOMIAL
    if kernel == "gaussian":
        sigma = 2 * scale_factor / 6
        impulse = np.zeros(2 * math.ceil(5 * sigma) + 3)
        impulse[len(impulse) // 2] = 1
        return np.trim_zeros(scipy.ndimage.gaussian_filter1d(impulse, sigma, mode="constant", truncate=4.0))
    return np.full(2 if kernel == "bilinear" else math.ceil(scale_factor), 1.0) / (
        2 if kernel == "bilinear" else math.ceil(scale_factor)
    )


def along(function, x, axis):
    """Apply a function of one line of samples to every line of an axis, none of them included."""
    if x.size == 0:
        length = len(function(np.zeros(x.shape[axis])))
        return np.zeros([*x.shape[:axis], length, *x.shape[axis + 1 :]])
    return np.apply_along_axis(function, axis, x)


def phase_of(kernel, scale_factor):
    """Return the centroid of the taps, from the one at (K - 1) // 2."""
    taps = taps_of(kernel, scale_factor)
    return sum(k * tap for k, tap in enumerate(taps)) - (len(taps) - 1) // 2
