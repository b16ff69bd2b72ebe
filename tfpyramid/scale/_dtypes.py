"""The dtypes that levels of an image are computed in and stored in."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfpyramid import _checks

# From here on float64 leaves whole numbers out.
_WHOLE = 2.0**53


class ImageError(ValueError):
    """The values of an image break a rule, so the same call cannot succeed later."""


def working_dtype(image: Any) -> np.dtype:
    """Return the dtype that levels of an image are computed in: float64 if float32 cannot hold its numbers."""
    return np.dtype(np.float32 if np.can_cast(image.dtype, np.float32) else np.float64)


def stored(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return values in the dtype of a level; whole numbers are rounded half up and clipped to their range."""
    if values.dtype == dtype or dtype.kind == "f":
        return values.astype(dtype, copy=False)
    if dtype.kind == "b":
        return values >= 0.5
    if values.dtype.kind == "f":
        values = np.floor(values + 0.5)
    return np.clip(values, *(getattr(np.iinfo(dtype), end) for end in ("min", "max"))).astype(dtype)


def native(dtype: Any) -> np.dtype:
    """Return a dtype in the order of bytes of this machine."""
    return np.dtype(dtype).newbyteorder("=")


def tile_dtype(image: Any, dtype: Any) -> np.dtype:
    """Return the dtype of tiles: that of the image, or the one that is asked for."""
    try:
        result = native(image.dtype if dtype is None else dtype)
    except (TypeError, ValueError):
        result = None
    if result is None or result.kind not in "buif":
        rule = "`dtype` must be a dtype of numbers, or None for the image's."
        raise ValueError(f"{rule} {_checks.received('dtype', dtype)}")
    return result


def check_whole(image: Any, window: np.ndarray) -> None:
    """Raise if a window of an image holds whole numbers that are rounded when they are computed with."""
    if image.dtype.kind in "iu" and image.dtype.itemsize == 8:
        largest = max(float(window.max()), -float(window.min()))
        if largest >= _WHOLE:
            raise ImageError(
                "`image` must hold whole numbers of less than 2**53, unless they are labels "
                '(write_ome_zarr(kind="labels"), kernel=[1.0]), since float64 has no others to average. '
                f"Received: image of dtype {image.dtype}, which holds {largest:.0f}"
            )
