"""The dtypes that levels of an image are computed in and stored in."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfpyramid import _checks

# float64 does not represent all integers of this magnitude and more.
_INEXACT = 2.0**53


class ImageError(ValueError):
    """The values of an image break a rule, so the same call would fail again."""


def working_dtype(image: Any) -> np.dtype:
    """Return the dtype that levels of an image are computed in: float64 if float32 cannot hold its numbers."""
    return np.dtype(np.float32 if np.can_cast(image.dtype, np.float32) else np.float64)


def stored(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Convert values to the dtype of a level; for an integer dtype, round half up and clip to its range."""
    if values.dtype == dtype or dtype.kind == "f":
        return values.astype(dtype, copy=False)
    if dtype.kind == "b":
        return values >= 0.5
    if values.dtype.kind == "f":
        values = np.floor(values + 0.5)
    return np.clip(values, *(getattr(np.iinfo(dtype), end) for end in ("min", "max"))).astype(dtype)


def native(dtype: Any) -> np.dtype:
    """Return a dtype in the byte order of this machine."""
    return np.dtype(dtype).newbyteorder("=")


def tile_dtype(image: Any, dtype: Any) -> np.dtype:
    """Return `dtype` as the dtype of tiles; None means the dtype of the image."""
    try:
        result = native(image.dtype if dtype is None else dtype)
    except (TypeError, ValueError):
        result = None
    if result is None or result.kind not in "buif":
        rule = "`dtype` must be a boolean, integer or floating dtype, or None for the dtype of the image."
        raise ValueError(f"{rule} {_checks.received('dtype', dtype)}")
    return result


def check_whole(image: Any, window: np.ndarray) -> None:
    """Raise if a window of an image holds integers that float64, in which they are averaged, would round."""
    if image.dtype.kind in "iu" and image.dtype.itemsize == 8:
        largest = max(float(window.max()), -float(window.min()))
        if largest >= _INEXACT:
            raise ImageError(
                "`image` must hold integers below 2**53, because averages are computed in float64. For labels, which "
                'are not averaged, use write_ome_zarr(kind="labels") or kernel=[1.0]. '
                f"Received: image of dtype {image.dtype}, which holds {largest:.0f}"
            )
