"""Windows of an image that need not be in memory, and what is there beyond its border."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfpyramid.ops import borders
from tfpyramid.scale._dtypes import ImageError


class Axis(NamedTuple):
    """An axis of an image, and how it goes on beyond its ends: see `borders.extend`.

    Attributes:
        size: its samples.
        border: the rule.
        spacing: distance of two samples, in samples of the finer axis that the rule is for.
        length: samples of that finer axis.
    """

    size: int
    border: str
    spacing: int
    length: int


def read(image: Any, rows: range, columns: range, axes: Sequence[Axis]) -> np.ndarray:
    """Return the window [rows, columns, ...] of an image; places beyond the border are legal.

    Nothing of the image is read but the window, and the places that those beyond the border stand for.
    """
    vertical, horizontal = axes

    def band(within: slice) -> np.ndarray:
        return _along(1, lambda across: part(image, within, across), columns, horizontal)

    return _along(0, band, rows, vertical)


def part(image: Any, rows: slice, columns: slice) -> np.ndarray:
    """Return a part of an image, as an array in memory. The part begins in the image and is cut off at its end.

    Raises:
        ImageError: values of it are masked.
        ValueError: the image returns something else than numbers of that shape.
    """
    rows, columns = (slice(places.start, min(places.stop, size)) for places, size in zip((rows, columns), image.shape))
    values, place = image[rows, columns], f"image[{rows.start}:{rows.stop}, {columns.start}:{columns.stop}]"
    if np.ma.is_masked(values):
        raise ImageError(
            "`image` must have no masked values, since masks are not averaged: fill them first, for example with "
            f"image.filled(0). Received: masked values in {place}"
        )
    array = np.asarray(values)
    expected = (rows.stop - rows.start, columns.stop - columns.start, *image.shape[2:])
    if array.shape != expected or array.dtype.kind not in "buif":
        raise ValueError(
            f"`image` must return an array of numbers of shape {expected} for {place}. "
            f"Received: {type(values).__name__} of shape {array.shape}, dtype {array.dtype}"
        )
    return array


def _along(number: int, get: Callable[[slice], np.ndarray], places: range, axis: Axis) -> np.ndarray:
    """Return what is at `places` of the axis with this number; `get` returns neighbours that are in the image."""
    first, last = places.start, places.stop
    inside = min(max(first, 0), axis.size), max(min(last, axis.size), 0)
    parts = []
    if first < inside[0]:
        parts.append(_outside(number, get, np.arange(first, min(last, 0)), axis))
    if inside[0] < inside[1]:
        parts.append(get(slice(*inside)))
    if inside[1] < last:
        parts.append(_outside(number, get, np.arange(max(first, axis.size), last), axis))
    return parts[0] if len(parts) == 1 else np.concatenate(parts, number)


def _outside(number: int, get: Callable[[slice], np.ndarray], places: np.ndarray, axis: Axis) -> np.ndarray:
    if axis.border == "constant":
        return np.repeat(np.zeros_like(get(slice(0, 1))), places.size, number)
    folded = borders.fold(places.astype(np.float64) * axis.spacing, axis.length, axis.border) / axis.spacing
    folded = np.clip(folded, 0, axis.size - 1)
    low, high = (rounded.astype(int) for rounded in (np.floor(folded), np.ceil(folded)))
    first = int(low.min())
    part = get(slice(first, int(high.max()) + 1))
    below, above = (part.take(index - first, number) for index in (low, high))
    if np.array_equal(low, high):
        return below
    # Whole numbers are interpolated as floating ones: a share of them would be cut to 0.
    dtype = np.result_type(part.dtype, np.float32)
    share = (folded - low).astype(dtype).reshape([-1 if k == number else 1 for k in range(part.ndim)])
    # Not below * (1 - share) + above * share throughout: 0 times NaN is NaN.
    return np.where(share == 0, below, below * (1 - share) + above * share)
