"""The arrays and the metadata of an OME-Zarr store."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tfpyramid.ops.kernels import phase_after

# The units of length in the specification, section "axes".
UNITS = (
    *("yoctometer", "zeptometer", "attometer", "femtometer", "picometer", "nanometer", "micrometer", "millimeter"),
    *("centimeter", "decimeter", "meter", "hectometer", "kilometer", "megameter", "gigameter", "terameter"),
    *("petameter", "exameter", "zettameter", "yottameter", "angstrom", "inch", "foot", "yard", "mile", "parsec"),
)


def import_zarr() -> tuple[ModuleType, ModuleType]:
    """Return the modules `zarr` and `ome_zarr.writer`, which belong to an optional part of the package."""
    try:
        import ome_zarr.writer
        import zarr
    except ImportError as error:
        raise ImportError(
            "write_ome_zarr requires ome-zarr. Install it with: pip install 'tfpyramid[scale]'. "
            f"Received: {type(error).__name__}: {error}"
        ) from error
    return zarr, ome_zarr.writer


class Level:
    """An array of a store, [height, width] or [channels, height, width], that is indexed with the channels last."""

    def __init__(self, folder: Path, name: str, shape: Sequence[int], dtype: np.dtype, tile_size: int) -> None:
        zarr, _ = import_zarr()
        height, width, *channels = shape
        self.name, self.shape, self.dtype = name, tuple(shape), dtype
        self._folder = folder / name
        # An interrupted call may have left incomplete metadata. The chunks are kept.
        (self._folder / "zarr.json").unlink(missing_ok=True)
        self._array = zarr.create_array(
            str(self._folder),
            shape=(*channels, height, width),
            chunks=(*channels, min(tile_size, height), min(tile_size, width)),
            dtype=dtype,
            # With a checksum, readers raise an error for a damaged chunk instead of returning wrong numbers.
            compressors=[zarr.codecs.ZstdCodec(level=0), zarr.codecs.Crc32cCodec()],
            dimension_names=["c", "y", "x"][-len(shape) :],
            zarr_format=3,
        )

    def chunk(self, rows: range, columns: range) -> Path:
        """Return the file of the chunk that holds a tile. A chunk of zeros has no file."""
        corner = [0] * (len(self.shape) - 2) + [rows.start, columns.start]
        indices = tuple(start // side for start, side in zip(corner, self._array.chunks))
        return self._folder / self._array.metadata.encode_chunk_key(indices)

    def __getitem__(self, slices: tuple[slice, slice]) -> np.ndarray:
        try:
            return np.moveaxis(self._array[(..., *slices)], 0, -1) if len(self.shape) == 3 else self._array[slices]
        except ValueError as error:  # zarr raises it if the checksum of a chunk is wrong.
            raise OSError(errno.EIO, f"A chunk was damaged after it was written: {error}", str(self._folder)) from error

    def __setitem__(self, slices: tuple[slice, slice], values: np.ndarray) -> None:
        self._array[(..., *slices)] = np.moveaxis(values, -1, 0) if len(self.shape) == 3 else values


def transformations(
    num_levels: int, channel: bool, scale_factor: int, phase: float, pixel_size: float
) -> list[list[dict[str, Any]]]:
    """Return the positions of the samples of each level, as transformations of OME-Zarr.

    The phase is the position of sample 0 of a level, in samples of the level before it.
    """
    positions = []
    for k in range(num_levels):
        step, first = pixel_size * scale_factor**k, pixel_size * phase_after(phase, scale_factor, k)
        # The format applies the scale first, so the translation is the position of sample 0 in units of length.
        level: list[dict[str, Any]] = [{"type": "scale", "scale": [1.0] * channel + [step] * 2}]
        if phase:
            level.append({"type": "translation", "translation": [0.0] * channel + [first] * 2})
        positions.append(level)
    return positions


def write_metadata(
    folder: Path, levels: Sequence[Level], name: str, positions: Sequence[Sequence[dict[str, Any]]], unit: str | None
) -> None:
    """Write the metadata that tell viewers that the arrays are one image at several sizes."""
    zarr, writer = import_zarr()
    axes: list[dict[str, Any]] = [{"name": "c", "type": "channel"}] if levels[0].shape[2:] else []
    axes += [{"name": axis, "type": "space", **({"unit": unit} if unit else {})} for axis in "yx"]
    datasets = [{"path": level.name, "coordinateTransformations": each} for level, each in zip(levels, positions)]
    # An interrupted call may have left incomplete metadata.
    (folder / "zarr.json").unlink(missing_ok=True)
    writer.write_multiscales_metadata(zarr.create_group(str(folder), zarr_format=3), datasets, axes=axes, name=name)
