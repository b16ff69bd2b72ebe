"""write_ome_zarr."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tfpyramid import _checks
from tfpyramid._compat import keras
from tfpyramid._sizes import level_sizes
from tfpyramid.ops import kernels
from tfpyramid.ops.pyramid import level_count
from tfpyramid.scale import _dtypes, _windows, tiles
from tfpyramid.scale._chunk_log import ChunkLog
from tfpyramid.scale._store import UNITS, Level, import_zarr, transformations, write_metadata
from tfpyramid.scale._unfinished_store import UnfinishedStore, check_absent

_KINDS = ("image", "labels")


def write_ome_zarr(
    image: Any,
    path: str | Path,
    num_levels: int | None = None,
    *,
    kind: str = "image",
    laplacian: bool = False,
    scale_factor: int = 2,
    kernel: kernels.Kernel = None,
    border: str = "reflect",
    tile_size: int = 1024,
    pixel_size: float = 1.0,
    unit: str | None = None,
    verbose: bool = False,
) -> Path:
    """Write the pyramid of an image as OME-Zarr, which viewers and libraries read; the image need not fit in memory.

    The store is written tile by tile to a folder next to `path`, `.NAME.unfinished`, and renamed to `path` when all of
    it is on the disk, so `path` never holds a part of a pyramid. After an interruption, a full disk or a power failure,
    call with the same arguments to resume: finished tiles are verified by checksums, and damaged ones are written
    again. One process at a time can write to `path`; a file system without locks cannot enforce this.

    Equation:
        The equation of `ops.gaussian_pyramid`; with `laplacian`, that of `ops.laplacian_pyramid`.

    Convention:
        Array k of the store is level k: [height, width], or [channels, height, width] for an image with channels,
        which is the order of axes in OME-Zarr. A tile is one chunk, compressed with zstd and followed by its checksum
        (crc32c). A tile of zeros has no file.
        All arrays have one dtype, as readers require. It is the dtype of the image, rounded as in `pyr_down_tiles`;
        for residuals it is float32, or float64 if float32 cannot hold the image's numbers. Integers are not scaled.
        Sample i of level k is at `i s^k + d (s^k - 1) / (s - 1)` in the image, where s is the factor and d is the phase
        of the kernel, `ops.phase(kernel, s)`. The metadata hold these positions times `pixel_size`, as a scale and, if
        d is not 0, a translation. For example, d is 0.5 for "box" at factor 2.

    Args:
        image: as in `pyr_down_tiles`. It must not change until the store is finished; a resumed call compares a
            checksum of 25 small windows.
        path: the folder to make, on a disk of this machine. It must not exist; missing parents are made.
        num_levels: length of the pyramid, from 1 to 64; None means until the shorter side is 1.
        kind: "image", or "labels" for numbers of objects, which cannot be averaged: each level takes every
            scale_factor-th row and column of the level before it, exactly, for all integers.
        laplacian: write the residuals, and last the low-pass.
        scale_factor: an integer from 2 to 256.
        kernel: prefilter taps, as in `ops.pyr_down`, but not a tensor; None for labels.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".
        tile_size: rows and columns of a chunk of the store, which is also computed at once.
        pixel_size: distance between two pixels of the image, in `unit`.
        unit: a unit of length that OME-Zarr lists, such as "micrometer" or "meter"; None leaves it out.
        verbose: show a progress bar.

    Returns:
        `path`.

    Raises:
        ValueError: an argument breaks a rule above; an interrupted call had other arguments; or an image that is not
            labels holds integers of 2**53 or more.
        FileExistsError: `path` exists, or appears while the store is written; or something else than this function,
            or another user, made `.NAME.unfinished`.
        BlockingIOError: another process is writing to `path`.
        OSError: a file cannot be written, for example because the disk is full.
        ImportError: ome-zarr is not installed.

    References:
        Moore et al., OME-Zarr: a cloud-optimized bioimaging file format with international community support, 2023;
        the specification OME-NGFF 0.5, sections "axes" and "multiscales".
    """
    import_zarr()
    path = _checks.local_path("path", path)
    check_absent(path)
    if _checks.is_tensor(kernel):
        raise ValueError(
            f"`kernel` must be a name or a vector of numbers, not a tensor. {_checks.received('kernel', kernel)}"
        )
    tile_size = _checks.integer("tile_size", tile_size, 1, "the rows and columns of a chunk")
    pixel_size = _checks.number("pixel_size", pixel_size, above=0)
    laplacian, verbose = _checks.flag("laplacian", laplacian), _checks.flag("verbose", verbose)
    unit = None if unit is None else _checks.one_of("unit", unit, (None, *UNITS))
    if _checks.one_of("kind", kind, _KINDS) == "labels":
        kernel = _check_labels(kernel, laplacian)
    tiles.check_image(image)
    dtype = _dtypes.working_dtype(image) if laplacian else _dtypes.native(image.dtype)
    scale_factor = tiles.check_factor(scale_factor)
    tiles.down(image, scale_factor, kernel, border, dtype)  # Checks `kernel` and `border`.
    shapes = _shapes(tuple(map(int, image.shape)), num_levels, scale_factor)
    phase = kernels.phase(kernel, scale_factor)
    positions = transformations(len(shapes), len(shapes[0]) == 3, scale_factor, phase, pixel_size)
    arguments = {
        "num_levels": len(shapes),
        "laplacian": laplacian,
        "scale_factor": scale_factor,
        "kernel": kernel if kernel is None or isinstance(kernel, str) else np.asarray(kernel).tolist(),
        "border": border,
        "tile_size": tile_size,
        "image": f"{np.dtype(image.dtype).name} {shapes[0]}, checksum {_checksum(image)}",
        "dtype of the levels": dtype.name,
    }
    with UnfinishedStore(path, arguments) as unfinished:
        new_level = functools.partial(Level, tile_size=tile_size)
        levels, parts = _plan(image, shapes, unfinished, new_level, (scale_factor, kernel, border, dtype), laplacian)
        try:
            _write_tiles(unfinished.chunk_log, parts, tile_size, verbose)
        except _dtypes.ImageError:  # The same call would fail again, so there is nothing to resume.
            unfinished.discard()
            raise
        write_metadata(unfinished.store, levels, path.name, positions, unit)
        unfinished.publish()
    return path


def _check_labels(kernel: kernels.Kernel, laplacian: bool) -> kernels.Kernel:
    """Return the one-tap kernel, which copies labels; raise if the caller gives a kernel or asks for residuals."""
    if kernel is not None:
        raise ValueError(
            f"`kernel` must be None for labels, which cannot be averaged. {_checks.received('kernel', kernel)}"
        )
    if laplacian:
        raise ValueError("`laplacian` must be False for labels, which cannot be subtracted. Received: laplacian=True")
    return [1.0]


def _shapes(shape: tuple[int, ...], num_levels: int | None, scale_factor: int) -> list[tuple[int, ...]]:
    """Return the shapes of the levels of an image, finest first."""
    shapes = [shape]
    for _ in range(level_count((1, *shape[:2], 1), num_levels, scale_factor) - 1):
        shapes.append((*level_sizes(shapes[-1][:2], scale_factor), *shape[2:]))
    return shapes


def _plan(
    image: Any,
    shapes: Sequence[tuple[int, ...]],
    unfinished: UnfinishedStore,
    new_level: Callable[..., Level],
    step: tuple[int, kernels.Kernel, str, np.dtype],
    laplacian: bool,
) -> tuple[list[Level], list[tuple[Level, tiles.Parts]]]:
    """Return the levels of the store, and the arrays to write in order, each with its tiles."""
    dtype, last = step[-1], len(shapes) - 1
    with_residuals = laplacian and last > 0
    images, parts = [image], []
    for k in range(1, last + 1):
        # Gaussian levels from which residuals are computed do not belong to the store, except the low-pass.
        folder = unfinished.intermediate if with_residuals and k < last else unfinished.store
        coarse = new_level(folder, str(k), shapes[k], dtype)
        parts.append((coarse, tiles.down(images[-1], *step)))
        images.append(coarse)
    if not with_residuals:
        finest = new_level(unfinished.store, "0", shapes[0], dtype)
        return [finest, *images[1:]], [(finest, _copy(image, dtype)), *parts]
    residuals = []
    for k, (fine, coarse) in enumerate(zip(images, images[1:])):
        residuals.append(new_level(unfinished.store, str(k), shapes[k], dtype))
        parts.append((residuals[k], _difference(fine, tiles.up(coarse, fine.shape[:2], *step))))
    return [*residuals, images[-1]], parts


def _write_tiles(
    chunk_log: ChunkLog, parts: Sequence[tuple[Level, tiles.Parts]], tile_size: int, verbose: bool
) -> None:
    """Write the tiles that are not yet on the disk, level by level."""
    grids = [list(part.grid(tile_size)) for _, part in parts]
    bar = keras.utils.Progbar(sum(map(len, grids)), unit_name="tile", verbose=int(verbose))

    def write(level: Level, part: tiles.Parts, rows: range, columns: range) -> Path | None:
        chunk = level.chunk(rows, columns)
        if chunk_log.is_intact(chunk):
            return None
        tile = part.tile(rows, columns, tile_size)
        level[tile.rows, tile.columns] = tile.values
        return chunk

    # One worker computes while the other compresses and writes; this thread waits for the disk.
    with ThreadPoolExecutor(2) as pool:
        for (level, part), grid in zip(parts, grids):
            for chunk in pool.map(functools.partial(write, level, part), *zip(*grid)):
                if chunk:
                    chunk_log.add(chunk)
                bar.add(1)


def _copy(image: Any, dtype: np.dtype) -> tiles.Parts:
    return tiles.Parts(image.shape[:2], lambda rows, columns: _part(image, rows, columns).astype(dtype, copy=False))


def _difference(fine: Any, magnified: tiles.Parts) -> tiles.Parts:
    def make(rows: range, columns: range) -> np.ndarray:
        part, prediction = _part(fine, rows, columns), magnified.make(rows, columns)
        return part - prediction[: part.shape[0], : part.shape[1]]

    return tiles.Parts(magnified.sizes, make)


def _part(image: Any, rows: range, columns: range) -> np.ndarray:
    return _windows.part(image, slice(rows.start, rows.stop), slice(columns.start, columns.stop))


def _checksum(image: Any) -> int:
    """Return a checksum of 25 windows of at most 16 x 16 pixels, which tells most images of one shape apart."""
    row_ranges, column_ranges = ([(n * k // 5, min(n * k // 5 + 16, n)) for k in range(5)] for n in image.shape[:2])
    parts = (_windows.part(image, slice(*rows), slice(*columns)) for rows in row_ranges for columns in column_ranges)
    return functools.reduce(lambda sum, part: zlib.crc32(part.tobytes(), sum), parts, 0)
