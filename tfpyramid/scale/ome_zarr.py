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
from tfpyramid.scale._finished import Finished
from tfpyramid.scale._store import UNITS, Level, peers, transformations, write_metadata
from tfpyramid.scale._unfinished import Unfinished, check_path

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
    """Write the pyramid of an image that need not fit in memory as OME-Zarr, which viewers and libraries read.

    The store is written tile by tile in a folder next to `path`, `.NAME.unfinished`, and renamed to `path` when all of
    it is on the disk, so `path` never holds a part of a pyramid. After an interruption, a full disk or a power failure,
    call with the same arguments to resume: finished tiles are verified by checksums, and damaged ones are written once
    more. One process at a time can write to `path`; a file system without locks cannot enforce this.

    Equation:
        That of `ops.gaussian_pyramid`, or with `laplacian` of `ops.laplacian_pyramid`.

    Convention:
        Array k of the store is level k, [height, width] or, of an image with channels, [channels, height, width], which
        is the order of axes in OME-Zarr. A tile is one chunk, compressed with zstd and followed by its checksum
        (crc32c). A tile of zeros has no file.
        All arrays have one dtype, as readers require: that of the image, rounded as in `pyr_down_tiles`, or for
        residuals float32 (float64 of images whose numbers float32 cannot hold). Integers are not scaled.
        Sample i of level k sits at `i s^k + d (s^k - 1) / (s - 1)` of the image, with s the factor and d the phase of
        the kernel, `ops.phase(kernel, s)`. The metadata say so, times `pixel_size`: a scale, and, where d is not 0, as
        for "box" at factor 2, a translation.

    Args:
        image: as in `pyr_down_tiles`. It must not change until the store is whole; a resumed call compares 25 places.
        path: the folder to make. It must not exist, and the folder that it is in must.
        num_levels: length of the pyramid, from 1 to 64; None means until the shorter side is 1.
        kind: "image", or "labels" for numbers of objects, of which there is no mean: each level takes every
            scale_factor-th row and column of the one before, exactly, for all integers.
        laplacian: write the residuals, and last the low-pass.
        scale_factor: a whole number from 2 to 256.
        kernel: prefilter taps, as in `ops.pyr_down`, but no tensor; None for labels.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".
        tile_size: rows and columns of a chunk of the store, and of what is computed at once.
        pixel_size: distance of two pixels of the image, in `unit`.
        unit: a unit of length that OME-Zarr lists, such as "micrometer" or "meter"; None leaves it out.
        verbose: show a progress bar.

    Returns:
        `path`.

    Raises:
        ValueError: an argument breaks a rule above; an interrupted call was made with other arguments; or an image, not
            labels, holds whole numbers of 2**53 or more.
        FileExistsError: `path` exists, or appears while the store is written, or `.NAME.unfinished` was not made by
            this function for this user.
        BlockingIOError: another process is writing to `path`.
        OSError: a file cannot be written, for example because the disk is full.
        ImportError: ome-zarr is not installed.

    References:
        Moore et al., OME-Zarr: a cloud-optimized bioimaging file format with international community support, 2023;
        the specification OME-NGFF 0.5, sections "axes" and "multiscales".
    """
    peers()
    path = check_path(path)
    if _checks.is_tensor(kernel):
        raise ValueError(f"`kernel` must be a name or a vector of numbers. {_checks.received('kernel', kernel)}")
    tile_size = _checks.integer("tile_size", tile_size, 1, "the rows and columns of a chunk")
    pixel_size = _checks.number("pixel_size", pixel_size, above=0)
    laplacian, verbose = _checks.flag("laplacian", laplacian), _checks.flag("verbose", verbose)
    unit = None if unit is None else _checks.one_of("unit", unit, (None, *UNITS))
    if _checks.one_of("kind", kind, _KINDS) == "labels":
        kernel = _check_labels(kernel, laplacian)
    tiles.check_image(image)
    dtype = _dtypes.working_dtype(image) if laplacian else _dtypes.native(image.dtype)
    scale_factor = tiles.check_factor(scale_factor)
    tiles.down(image, scale_factor, kernel, border, dtype)  # Checks the others.
    shapes = _shapes(tuple(map(int, image.shape)), num_levels, scale_factor)
    phase = kernels.phase(kernel, scale_factor)
    places = transformations(len(shapes), len(shapes[0]) == 3, scale_factor, phase, pixel_size)
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
    with Unfinished(path, arguments) as unfinished:
        new = functools.partial(Level, tile_size=tile_size)
        levels, parts = _plan(image, shapes, unfinished, new, (scale_factor, kernel, border, dtype), laplacian)
        try:
            _fill(unfinished.finished, parts, tile_size, verbose)
        except _dtypes.ImageError:
            unfinished.discard()
            raise
        write_metadata(unfinished.store, levels, path.name, places, unit)
        unfinished.publish()
    return path


def _check_labels(kernel: kernels.Kernel, laplacian: bool) -> kernels.Kernel:
    """Return the kernel that takes labels as they are; raise if another is asked for, or residuals."""
    if kernel is not None:
        raise ValueError(f"`kernel` must be None for labels, which have no mean. {_checks.received('kernel', kernel)}")
    if laplacian:
        raise ValueError("`laplacian` must be False for labels, which have no residual. Received: laplacian=True")
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
    unfinished: Unfinished,
    new: Callable[..., Level],
    step: tuple[int, kernels.Kernel, str, np.dtype],
    laplacian: bool,
) -> tuple[list[Level], list[tuple[Level, tiles.Parts]]]:
    """Return the levels of the store, and in order each array to write with the tiles to write in it."""
    dtype, last = step[-1], len(shapes) - 1
    with_residuals = laplacian and last > 0
    images, parts = [image], []
    for k in range(1, last + 1):
        # The Gaussian levels that only the residuals are computed from are no part of the store.
        folder = unfinished.aside if with_residuals and k < last else unfinished.store
        coarse = new(folder, str(k), shapes[k], dtype)
        parts.append((coarse, tiles.down(images[-1], *step)))
        images.append(coarse)
    if not with_residuals:
        finest = new(unfinished.store, "0", shapes[0], dtype)
        return [finest, *images[1:]], [(finest, _copy(image, dtype)), *parts]
    residuals = []
    for k, (fine, coarse) in enumerate(zip(images, images[1:])):
        residuals.append(new(unfinished.store, str(k), shapes[k], dtype))
        parts.append((residuals[k], _difference(fine, tiles.up(coarse, fine.shape[:2], *step))))
    return [*residuals, images[-1]], parts


def _fill(finished: Finished, parts: Sequence[tuple[Level, tiles.Parts]], tile_size: int, verbose: bool) -> None:
    """Write the tiles that are not yet on the disk, level by level."""
    grids = [list(part.grid(tile_size)) for _, part in parts]
    bar = keras.utils.Progbar(sum(map(len, grids)), unit_name="tile", verbose=int(verbose))

    def write(level: Level, part: tiles.Parts, rows: range, columns: range) -> Path | None:
        chunk = level.chunk(rows, columns)
        if finished.holds(chunk):
            return None
        tile = part.tile(rows, columns, tile_size)
        level[tile.rows, tile.columns] = tile.values
        return chunk

    # One thread computes while another compresses and writes, and this one waits for the disk.
    with ThreadPoolExecutor(2) as pool:
        for (level, part), places in zip(parts, grids):
            for chunk in pool.map(functools.partial(write, level, part), *zip(*places)):
                if chunk:
                    finished.add(chunk)
                bar.add(1)


def _copy(image: Any, dtype: np.dtype) -> tiles.Parts:
    return tiles.Parts(image.shape[:2], lambda rows, columns: _part(image, rows, columns).astype(dtype, copy=False))


def _difference(fine: Any, magnified: tiles.Parts) -> tiles.Parts:
    def make(rows: range, columns: range) -> np.ndarray:
        part, less = _part(fine, rows, columns), magnified.make(rows, columns)
        return part - less[: part.shape[0], : part.shape[1]]

    return tiles.Parts(magnified.sizes, make)


def _part(image: Any, rows: range, columns: range) -> np.ndarray:
    return _windows.part(image, slice(rows.start, rows.stop), slice(columns.start, columns.stop))


def _checksum(image: Any) -> int:
    """Return a number that another image of the same shape hardly has, without reading much of it."""
    height, width = image.shape[:2]
    places = [(n * k // 5, min(n * k // 5 + 16, n)) for n in (height, width) for k in range(5)]
    parts = (_windows.part(image, slice(*rows), slice(*columns)) for rows in places[:5] for columns in places[5:])
    return functools.reduce(lambda sum, part: zlib.crc32(part.tobytes(), sum), parts, 0)
