"""The arrays and the metadata of an OME-Zarr store."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tfpyramid.ops.kernels import phase_after

# Those of the specification, section "axes".
UNITS = (
    *("yoctometer", "zeptometer", "attometer", "femtometer", "picometer", "nanometer", "micrometer", "millimeter"),
    *("centimeter", "decimeter", "meter", "hectometer", "kilometer", "megameter", "gigameter", "terameter"),
    *("petameter", "exameter", "zettameter", "yottameter", "angstrom", "inch", "foot", "yard", "mile", "parsec"),
)


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
        self._folder = folder / name
        # An interrupted call may have left half of it. The chunks stay.
        (self._folder / "zarr.json").unlink(missing_ok=True)
        self._array = zarr.create_array(
            str(self._folder),
            shape=(*channels, height, width),
            chunks=(*channels, min(tile_size, height), min(tile_size, width)),
            dtype=dtype,
            # A reader raises an error for a damaged chunk, instead of returning other numbers.
            compressors=[zarr.codecs.ZstdCodec(level=0), zarr.codecs.Crc32cCodec()],
            dimension_names=["c", "y", "x"][-len(shape) :],
            zarr_format=3,
        )

    def chunk(self, rows: range, columns: range) -> Path:
        """Return the file of the chunk that a tile is, which does not exist if all of it is 0."""
        corner = [0] * (len(self.shape) - 2) + [rows.start, columns.start]
        place = tuple(start // side for start, side in zip(corner, self._array.chunks))
        return self._folder / self._array.metadata.encode_chunk_key(place)

    def __getitem__(self, places: tuple[slice, slice]) -> np.ndarray:
        try:
            return np.moveaxis(self._array[(..., *places)], 0, -1) if len(self.shape) == 3 else self._array[places]
        except ValueError as error:  # The checksum of a chunk.
            raise OSError(errno.EIO, f"A chunk was damaged after it was written: {error}", str(self._folder)) from error

    def __setitem__(self, places: tuple[slice, slice], values: np.ndarray) -> None:
        self._array[(..., *places)] = np.moveaxis(values, -1, 0) if len(self.shape) == 3 else values


def transformations(
    num_levels: int, channel: bool, scale_factor: int, phase: float, pixel_size: float
) -> list[list[dict[str, Any]]]:
    """Return where the samples of each level are, as OME-Zarr says it.

    The phase is where sample 0 of a level sits, in samples of the level before it.
    """
    found = []
    for k in range(num_levels):
        step, first = pixel_size * scale_factor**k, pixel_size * phase_after(phase, scale_factor, k)
        # The format applies the scale first, so the translation is a length: of sample 0, in the unit.
        places: list[dict[str, Any]] = [{"type": "scale", "scale": [1.0] * channel + [step] * 2}]
        if phase:
            places.append({"type": "translation", "translation": [0.0] * channel + [first] * 2})
        found.append(places)
    return found


def write_metadata(
    folder: Path, levels: Sequence[Level], name: str, places: Sequence[Sequence[dict[str, Any]]], unit: str | None
) -> None:
    """Write what makes a viewer of OME-Zarr see one image in arrays of several sizes."""
    zarr, writer = peers()
    axes: list[dict[str, Any]] = [{"name": "c", "type": "channel"}] if levels[0].shape[2:] else []
    axes += [{"name": axis, "type": "space", **({"unit": unit} if unit else {})} for axis in "yx"]
    datasets = [{"path": level.name, "coordinateTransformations": each} for level, each in zip(levels, places)]
    # An interrupted call may have left half of it.
    (folder / "zarr.json").unlink(missing_ok=True)
    writer.write_multiscales_metadata(zarr.create_group(str(folder), zarr_format=3), datasets, axes=axes, name=name)
