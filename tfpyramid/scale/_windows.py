"""Windows of an image that need not fit in memory; windows may extend beyond the border."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfpyramid.ops import borders
from tfpyramid.scale._dtypes import ImageError


class Axis(NamedTuple):
    """An axis of an image, and the border rule that extends it; see `borders.extend`.

    Attributes:
        size: the number of samples.
        border: the border rule.
        spacing: the distance between two samples, in samples of the finer axis to which the rule applies.
        length: the number of samples of that finer axis.
    """

    size: int
    border: str
    spacing: int
    length: int


def read(image: Any, rows: range, columns: range, axes: Sequence[Axis]) -> np.ndarray:
    """Return the window [rows, columns, ...] of an image; indices beyond the border are allowed.

    Only the window is read, and the samples that the border rule copies into it.
    """
    vertical, horizontal = axes

    def band(within: slice) -> np.ndarray:
        return _along(1, lambda across: part(image, within, across), columns, horizontal)

    return _along(0, band, rows, vertical)


def part(image: Any, rows: slice, columns: slice) -> np.ndarray:
    """Return a part of an image as an array in memory. The part starts in the image and is clipped at its end.

    Raises:
        ImageError: some values are masked.
        ValueError: the image does not return numbers of that shape.
    """
    rows, columns = (slice(each.start, min(each.stop, size)) for each, size in zip((rows, columns), image.shape))
    values, where = image[rows, columns], f"image[{rows.start}:{rows.stop}, {columns.start}:{columns.stop}]"
    if np.ma.is_masked(values):
        raise ImageError(
            "`image` must not have masked values, because masks would be ignored. Fill them first, for example with "
            f"image.filled(0). Received: masked values in {where}"
        )
    array = np.asarray(values)
    expected = (rows.stop - rows.start, columns.stop - columns.start, *image.shape[2:])
    if array.shape != expected or array.dtype.kind not in "buif":
        raise ValueError(
            f"`image` must return an array of numbers of shape {expected} for {where}. "
            f"Received: {type(values).__name__} of shape {array.shape}, dtype {array.dtype}"
        )
    return array


def _along(number: int, get: Callable[[slice], np.ndarray], indices: range, axis: Axis) -> np.ndarray:
    """Return the samples at `indices` of the axis with this number; `get` reads a slice that is in the image."""
    first, last = indices.start, indices.stop
    inside = min(max(first, 0), axis.size), max(min(last, axis.size), 0)
    parts = []
    if first < inside[0]:
        parts.append(_outside(number, get, np.arange(first, min(last, 0)), axis))
    if inside[0] < inside[1]:
        parts.append(get(slice(*inside)))
    if inside[1] < last:
        parts.append(_outside(number, get, np.arange(max(first, axis.size), last), axis))
    return parts[0] if len(parts) == 1 else np.concatenate(parts, number)


def _outside(number: int, get: Callable[[slice], np.ndarray], indices: np.ndarray, axis: Axis) -> np.ndarray:
    """Return the samples that the border rule puts at `indices`, which are beyond the ends of the axis."""
    if axis.border == "constant":
        return np.repeat(np.zeros_like(get(slice(0, 1))), indices.size, number)
    positions = borders.fold(indices.astype(np.float64) * axis.spacing, axis.length, axis.border) / axis.spacing
    positions = np.clip(positions, 0, axis.size - 1)
    lower, upper = (rounded.astype(int) for rounded in (np.floor(positions), np.ceil(positions)))
    first = int(lower.min())
    part = get(slice(first, int(upper.max()) + 1))
    below, above = (part.take(index - first, number) for index in (lower, upper))
    if np.array_equal(lower, upper):
        return below
    # Interpolate integers in floating point: the weights would be truncated to 0.
    dtype = np.result_type(part.dtype, np.float32)
    weight = (positions - lower).astype(dtype).reshape([-1 if k == number else 1 for k in range(part.ndim)])
    # Copy samples with weight 0 without the product, because 0 times NaN is NaN.
    return np.where(weight == 0, below, below * (1 - weight) + above * weight)
