"""Pyramids: one step down, one step up, and whole pyramids."""

import math

import numpy as np

from tests.references.kernels import along, phase_of, taps_of
from tests.references.sizes import fraction, level_side


def down_line(line, taps, scale_factor, border, moved=0.0):
    """Blur one line of samples at every position, then read it at multiples of the factor, or `moved` from there."""
    left, beyond = (len(taps) - 1) // 2, math.ceil(abs(moved)) + 1
    padded = np.pad(line, (left + beyond, len(taps) - left + beyond), mode=border)
    blurred = np.correlate(padded, taps, "valid")
    positions = np.arange(level_side(len(line), scale_factor)) * float(fraction(scale_factor)) + moved
    return np.interp(positions, np.arange(len(blurred)) - beyond, blurred)


def pyr_down(x, scale_factor=2.0, kernel=None, border="reflect", moved=0.0):
    taps = taps_of(kernel, scale_factor)
    for axis in (1, 2):
        x = along(lambda line: down_line(line, taps, scale_factor, border, moved), x, axis)
    return x


def window_maxima(x, axis, pool_size, inside):
    """Return the maxima along one axis; those of a rectangle are the maxima of its rows, then of its columns."""
    before = (pool_size - 1) // 2

    def maxima(line):
        padded = np.pad(line, (before, pool_size - 1 - before), constant_values=-np.inf)
        found = np.lib.stride_tricks.sliding_window_view(padded, pool_size).max(axis=1)
        return found[before : before + len(line) - pool_size + 1] if inside else found

    return along(maxima, x, axis)


def window_centre(size, pool_size, stride, padding):
    """Return where the first window of Keras's pooling has its centre, the left one of two samples."""
    missing = (math.ceil(size / stride) - 1) * stride + pool_size - size
    added = max(missing, 0) // 2 if padding == "same" else 0
    return (pool_size - 1) // 2 - added


def blurred_samples(x, axis, first, count, stride, kernel_size, border):
    """Return `count` samples along one axis of binomially blurred images, from `first` on, a stride apart."""
    taps, left = np.atleast_1d((np.poly1d([0.5, 0.5]) ** (kernel_size - 1)).coeffs), (kernel_size - 1) // 2

    def samples(line):
        padded = np.pad(line, (left, kernel_size - 1 - left), mode=border)
        return np.correlate(padded, taps, "valid")[first::stride][:count]

    return along(samples, x, axis)


def coarse_sample(line, i, size, scale_factor, border):
    """Return sample i of a coarse line, inside it or outside, where the fine axis of `size` samples is folded."""
    if 0 <= i < len(line):
        return line[i]
    if border == "constant":
        return 0.0
    fine = i * scale_factor
    if border == "wrap":
        fine = fine % size
    else:
        reach = int(abs(fine)) + size + 2
        folded = np.pad(np.arange(size), (reach, reach), mode=border)
        fine = np.interp(fine, np.arange(-reach, size + reach), folded)
    return np.interp(fine / scale_factor, np.arange(len(line)), line)


def up_line(line, size, taps, scale_factor, border):
    """Sum over the inputs near each output, with the linear interpolation that brings the DC gain to 1."""
    scale_factor = float(fraction(scale_factor))
    left = (len(taps) - 1) // 2
    offsets = np.arange(-left - 1, len(taps) - left + 1)
    padded = np.concatenate([[0], taps, [0]])
    result = []
    for j in range(size):
        inputs = np.arange(
            math.floor((j - len(taps)) / scale_factor) - 1, math.ceil((j + len(taps)) / scale_factor) + 2
        )
        spread = scale_factor * np.interp(j - scale_factor * inputs, offsets, padded, left=0, right=0)
        hat = np.maximum(0, 1 - np.abs(j / scale_factor - inputs))
        values = np.array([coarse_sample(line, i, size, scale_factor, border) for i in inputs])
        result.append(np.sum((spread + (1 - spread.sum()) * hat) * values))
    return np.array(result)


def pyr_up(x, output_size, scale_factor=2.0, kernel=None, border="reflect"):
    taps = taps_of(kernel, scale_factor)
    for axis, size in zip((1, 2), output_size):
        x = along(lambda line: up_line(line, size, taps, scale_factor, border), x, axis)
    return x


def finer_positions(count, scale_factor, phase, steps):
    """Return where the samples of a level lie in one that is coarser by some steps."""
    offset = sum(phase * scale_factor**k for k in range(steps))
    return (np.arange(count) - offset) / float(fraction(scale_factor**steps))


def gaussian_pyramid(x, num_levels, upsampled_levels=0, **step):
    levels = [x]
    for j in range(1, upsampled_levels + 1):
        finer = x
        for axis in (1, 2):
            # The largest side of which that of the level below is the next.
            side = max(n for n in range(9 * x.shape[axis]) if level_side(n, **step) == levels[0].shape[axis])
            offset = phase_of(step.get("kernel"), step["scale_factor"])
            positions = finer_positions(side, step["scale_factor"], offset, j)
            finer = along(lambda line: np.interp(positions, np.arange(line.shape[0]), line), finer, axis)
        levels.insert(0, finer)
    while len(levels) < num_levels if num_levels else min(levels[-1].shape[1:3]) > 1:
        levels.append(pyr_down(levels[-1], **step))
    return levels


def laplacian_pyramid(x, num_levels, **step):
    levels = gaussian_pyramid(x, num_levels, **step)
    return [a - pyr_up(b, a.shape[1:3], **step) for a, b in zip(levels, levels[1:])] + levels[-1:]


def reconstruct(levels, **step):
    x = levels[-1]
    for residual in levels[-2::-1]:
        x = residual + pyr_up(x, residual.shape[1:3], **step)
    return x
