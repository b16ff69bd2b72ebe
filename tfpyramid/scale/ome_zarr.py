"""write_ome_zarr."""

from __future__ import annotations

import functools
import shutil
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tfpyramid import _checks
from tfpyramid._compat import keras
from tfpyramid._sizes import level_size
from tfpyramid.ops import kernels
from tfpyramid.ops.pyramid import level_count
from tfpyramid.scale import _dtypes, tiles
from tfpyramid.scale._store import Level, peers, write_metadata
from tfpyramid.scale._unfinished import Unfinished

_ASIDE = "gaussian"

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

    It is written tile by tile beside `path`, and renamed when all is there: what is at `path` is never a part of a
    pyramid. What was interrupted is kept; the same call goes on behind the last finished tile.

    Equation:
        That of `ops.gaussian_pyramid`, or with `laplacian` of `ops.laplacian_pyramid`.

    Convention:
        Array k of the store is level k, [height, width] or, of an image with channels, [channels, height, width], which
        is the order of axes in OME-Zarr.
        All arrays have one dtype, as readers require: that of the image, rounded as in `pyr_down_tiles`, or for
        residuals float32 (float64 of images whose numbers float32 cannot hold). Integers are not scaled.
        Sample i of level k sits at `i s^k + d (s^k - 1) / (s - 1)` of the image, with s the factor and d the phase of
        the kernel, `ops.phase(kernel, s)`. The metadata say so, times `pixel_size`: a scale, and, where d is not 0, as
        for "box" at factor 2, a translation.

    Args:
        image: as in `pyr_down_tiles`.
        path: the folder to make; it must not exist.
        num_levels: length of the pyramid, from 1 to 64; None means until the shorter side is 1.
        kind: "image", or "labels" for numbers of objects, of which there is no mean: each level takes every
            scale_factor-th row and column of the one before, exactly, for all integers.
        laplacian: write the residuals, and last the low-pass.
        scale_factor: a whole number from 2 to 256.
        kernel: prefilter taps, as in `ops.pyr_down`, but no tensor; None for labels.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".
        tile_size: rows and columns of a chunk of the store, and of what is computed at once.
        pixel_size: distance of two pixels of the image, in `unit`.
        unit: name of a unit of length, as OME-Zarr has them: "micrometer", "meter"; None leaves it out.
        verbose: show a progress bar.

    Returns:
        `path`.

    Raises:
        ValueError: if an argument breaks a rule above, if what is left of an interrupted call was begun with others, or
            if an image, not labels, holds whole numbers of 2**53 or more.
        FileExistsError: if `path` exists.
        OSError: if the disk is full, or anything else keeps a tile from being written.
        ImportError: if ome-zarr is not installed.

    References:
        Moore et al., OME-Zarr: a cloud-optimized bioimaging file format with international community support, 2023;
        the specification OME-NGFF 0.5, sections "axes" and "multiscales".
    """
    peers()
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"`path` must not exist. Received: path={str(path)!r}")
    if _checks.is_tensor(kernel):
        raise ValueError(f"`kernel` must be a name or a vector of numbers. Received: kernel={kernel!r}")
    tile_size = _checks.integer("tile_size", tile_size, 1, "the rows and columns of a chunk")
    pixel_size = _checks.number("pixel_size", pixel_size, above=0)
    laplacian, verbose = _checks.flag("laplacian", laplacian), _checks.flag("verbose", verbose)
    if _checks.one_of("kind", kind, _KINDS) == "labels":
        kernel = _check_labels(kernel, laplacian)
    tiles.check_image(image)
    dtype = _dtypes.working_dtype(image) if laplacian else _dtypes.native(image.dtype)
    tiles.down(image, scale_factor, kernel, border, dtype)  # Checks the others.
    shapes = _shapes(tuple(image.shape), num_levels, scale_factor)
    unfinished = Unfinished(
        path,
        {
            "num_levels": len(shapes),
            "laplacian": laplacian,
            "scale_factor": int(scale_factor),
            "kernel": kernel if kernel is None or isinstance(kernel, str) else np.asarray(kernel).tolist(),
            "border": border,
            "tile_size": tile_size,
            "image": f"{np.dtype(image.dtype).name} {tuple(image.shape)}, checksum {_checksum(image)}",
            "dtype of the levels": dtype.name,
        },
    )
    new = functools.partial(Level, unfinished.folder, tile_size=tile_size)
    levels, parts = _plan(image, shapes, new, (scale_factor, kernel, border, dtype), laplacian)
    _fill(unfinished, parts, tile_size, verbose)
    phase = kernels.phase(kernel, scale_factor)
    write_metadata(unfinished.folder, levels, path.name, scale_factor, phase, pixel_size, unit)
    shutil.rmtree(unfinished.folder / _ASIDE, ignore_errors=True)
    unfinished.complete()
    return path


def _check_labels(kernel: kernels.Kernel, laplacian: bool) -> kernels.Kernel:
    """Return the kernel that takes labels as they are; raise if another is asked for, or residuals."""
    if kernel is not None:
        raise ValueError(f"`kernel` must be None for labels, which have no mean. Received: kernel={kernel!r}")
    if laplacian:
        raise ValueError("`laplacian` must be False for labels, which have no residual. Received: laplacian=True")
    return [1.0]


def _shapes(shape: tuple[int, ...], num_levels: int | None, scale_factor: int) -> list[tuple[int, ...]]:
    """Return the shapes of the levels of an image, finest first."""
    shapes = [shape]
    for _ in range(level_count((1, *shape[:2], 1), num_levels, scale_factor) - 1):
        height, width = (level_size(n, scale_factor) for n in shapes[-1][:2])
        shapes.append((height, width, *shape[2:]))
    return shapes


def _plan(
    image: Any,
    shapes: Sequence[tuple[int, ...]],
    new: Callable[..., Level],
    step: tuple[int, kernels.Kernel, str, np.dtype],
    laplacian: bool,
) -> tuple[list[Level], list[tuple[Level, tiles.Parts]]]:
    """Return the levels of the store, and what is to be written, in order: arrays, and what they are made of."""
    dtype, last = step[-1], len(shapes) - 1
    with_residuals = laplacian and last > 0
    images, parts = [image], []
    for k in range(1, last + 1):
        # Where residuals are asked for, what they are made of stands aside.
        coarse = new(f"{_ASIDE}/{k}" if with_residuals and k < last else str(k), shapes[k], dtype)
        parts.append((coarse, tiles.down(images[-1], *step)))
        images.append(coarse)
    if not with_residuals:
        finest = new("0", shapes[0], dtype)
        return [finest, *images[1:]], [(finest, _copy(image, dtype)), *parts]
    residuals = []
    for k, (fine, coarse) in enumerate(zip(images, images[1:])):
        residuals.append(new(str(k), shapes[k], dtype))
        parts.append((residuals[k], _difference(fine, tiles.up(coarse, fine.shape[:2], *step))))
    return [*residuals, images[-1]], parts


def _fill(unfinished: Unfinished, parts: Sequence[tuple[Level, tiles.Parts]], tile_size: int, verbose: bool) -> None:
    """Write the tiles that are not yet there, level by level."""
    grids = [list(part.grid(tile_size)) for _, part in parts]
    bar = keras.utils.Progbar(sum(map(len, grids)), unit_name="tile", verbose=int(verbose))

    def write(level: Level, part: tiles.Parts, rows: range, columns: range) -> str:
        name = f"{level.name} {rows.start} {columns.start}"
        if name not in unfinished.finished:
            tile = part.tile(rows, columns, tile_size)
            level[tile.rows, tile.columns] = tile.values
        return name

    # One thread computes while another compresses and writes.
    with ThreadPoolExecutor(2) as pool:
        for (level, part), places in zip(parts, grids):
            try:
                for name in pool.map(functools.partial(write, level, part), *zip(*places)):
                    unfinished.add(name)
                    bar.add(1)
            except OSError as error:
                raise OSError(
                    error.errno,
                    f"{error.strerror or error}. What is finished is kept in {unfinished.folder}; once the cause is "
                    "mended, the same call goes on from there",
                    str(error.filename or unfinished.folder),
                ) from error


def _copy(image: Any, dtype: np.dtype) -> tiles.Parts:
    return tiles.Parts(image.shape[:2], lambda rows, columns: _part(image, rows, columns).astype(dtype, copy=False))


def _difference(fine: Any, magnified: tiles.Parts) -> tiles.Parts:
    def make(rows: range, columns: range) -> np.ndarray:
        part, less = _part(fine, rows, columns), magnified.make(rows, columns)
        return part - less[: part.shape[0], : part.shape[1]]

    return tiles.Parts(magnified.sizes, make)


def _part(image: Any, rows: range, columns: range) -> np.ndarray:
    return np.asarray(image[rows.start : rows.stop, columns.start : columns.stop])


def _checksum(image: Any) -> int:
    """Return a number that another image of the same shape hardly has, without reading much of it."""
    height, width = image.shape[:2]
    places = [(n * k // 5, min(n * k // 5 + 16, n)) for n in (height, width) for k in range(5)]
    parts = (image[slice(*rows), slice(*columns)] for rows in places[:5] for columns in places[5:])
    return functools.reduce(lambda sum, part: zlib.crc32(np.asarray(part).tobytes(), sum), parts, 0)
