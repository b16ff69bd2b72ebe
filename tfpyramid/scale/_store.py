"""The arrays and the metadata of an OME-Zarr store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tfpyramid.ops.kernels import phase_after


def peers() -> tuple[ModuleType, ModuleType]:
    """Return zarr and the writer of ome-zarr, which are imported by the first who needs them."""
    try:
        import ome_zarr.writer
        import zarr
    except ImportError as error:
        raise ImportError(
            "write_ome_zarr writes with ome-zarr, which could not be imported: pip install 'tfpyramid[scale]'"
        ) from error
    return zarr, ome_zarr.writer


class Level:
    """An array [height, width] or [channels, height, width] of a store, as an image with the channels last."""

    def __init__(self, folder: Path, name: str, shape: Sequence[int], dtype: np.dtype, tile_size: int) -> None:
        zarr, _ = peers()
        height, width, *channels = shape
        self.name, self.shape, self.dtype = name, tuple(shape), dtype
        if (folder / name / "zarr.json").exists():
            self._array = zarr.open_array(str(folder / name), mode="r+")
        else:
            self._array = zarr.create_array(
                str(folder / name),
                shape=(*channels, height, width),
                chunks=(*channels, min(tile_size, height), min(tile_size, width)),
                dtype=dtype,
                dimension_names=["c", "y", "x"][-len(shape) :],
            )

    def __getitem__(self, places: tuple[slice, slice]) -> np.ndarray:
        return np.moveaxis(self._array[(..., *places)], 0, -1) if len(self.shape) == 3 else self._array[places]

    def __setitem__(self, places: tuple[slice, slice], values: np.ndarray) -> None:
        self._array[(..., *places)] = np.moveaxis(values, -1, 0) if len(self.shape) == 3 else values


def write_metadata(
    folder: Path,
    levels: Sequence[Level],
    name: str,
    scale_factor: int,
    phase: float,
    pixel_size: float,
    unit: str | None,
) -> None:
    """Write what makes a viewer of OME-Zarr see one image in arrays of several sizes.

    The phase is where sample 0 of a level sits, in samples of the level before it.
    """
    zarr, writer = peers()
    channel = levels[0].shape[2:]
    axes: list[dict[str, Any]] = [{"name": "c", "type": "channel"}] if channel else []
    axes += [{"name": axis, "type": "space", **({"unit": unit} if unit else {})} for axis in "yx"]
    datasets: list[dict[str, Any]] = []
    for k, level in enumerate(levels):
        # The format applies the scale first, so the translation is a length: of sample 0, in the unit.
        places = [{"type": "scale", "scale": [1.0] * len(channel) + [pixel_size * scale_factor**k] * 2}]
        if phase:
            first = pixel_size * phase_after(phase, scale_factor, k)
            places.append({"type": "translation", "translation": [0.0] * len(channel) + [first] * 2})
        datasets.append({"path": level.name, "coordinateTransformations": places})
    writer.write_multiscales_metadata(zarr.open_group(str(folder), mode="a"), datasets, axes=axes, name=name)
