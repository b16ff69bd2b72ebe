"""Magnification by an integer as one convolution.

Reads take more operations, and their gradients several times as long.
"""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfpyramid.ops import axes, batches, portable
from tfpyramid.ops.dtypes import working_dtype

# A convolution of fewer channels, or by larger steps, is slower than reads.
_FEW = 8
_LARGEST_STEP = {"bilinear": 8, "nearest": 2}

# Offsets up to this size count as at most half a sample, for which "nearest" takes the first sample. Positions are
# fractions with denominators below 2^16, so a smaller excess can only be rounding.
MIDDLE = 0.5 + 2**-17


def by_integer(
    x: tf.Tensor, step: int, size: Sequence[int | tf.Tensor], phases: Sequence[float], interpolation: str
) -> tf.Tensor | None:
    """Return `resize_by` for a factor of `step`, or None if it is not one convolution of known sides."""
    known = None not in x.shape[1:] and not any(map(tf.is_tensor, size))
    if not known or not 1 < step <= _LARGEST_STEP[interpolation] or x.shape[3] < _FEW or portable.in_slices():
        return None
    nearest = interpolation == "nearest"
    margins = [_margins(*axis, step, nearest) for axis in zip(x.shape[1:3], size, phases)]
    if max(map(max, margins)) > 1:  # Padding repeats the first and the last sample once.
        return None
    (top, rows), (left, columns) = (_taps(step, phase, nearest) for phase in phases)
    starts = [before * step - first for (before, _), first in zip(margins, (top, left))]
    work = working_dtype(x.dtype)  # The CPU has no gradient of a bfloat16 depthwise convolution.
    kernel = np.outer(rows, columns).astype(work.as_numpy_dtype)

    def magnified(x: tf.Tensor) -> tf.Tensor:
        padded = tf.pad(x, [[0, 0], *margins, [0, 0]], "SYMMETRIC")
        sides = [(n - 1) * step + taps for n, taps in zip(padded.shape[1:3], kernel.shape[:2])]
        y = axes.transposed(padded, kernel, step, [*sides, x.shape[3]])
        return tf.slice(y, [0, *starts, 0], [-1, *size, -1])

    return tf.cast(batches.call(magnified, tf.cast(x, work)), x.dtype)


def _taps(step: int, phase: float, nearest: bool) -> tuple[int, np.ndarray]:
    """Return the first output that reads input sample 0, and the weights of this and the following outputs."""
    outputs = math.floor(phase) + np.arange(-step, step + 2)
    offsets = (outputs - phase) / step
    weights = np.ceil(offsets - MIDDLE) == 0 if nearest else np.maximum(1 - np.abs(offsets), 0)
    return int(outputs[weights > 0][0]), weights[weights > 0]


def _margins(samples: int, size: int, phase: float, step: int, nearest: bool) -> list[int]:
    """Return how many samples beyond the first and the last one the outputs read."""
    first, last = (-phase) / step, (size - 1 - phase) / step
    lowest = math.ceil(first - MIDDLE) if nearest else math.floor(first)
    highest = math.ceil(last - MIDDLE) if nearest else math.ceil(last)
    return [max(-lowest, 0), max(highest - samples + 1, 0)]
