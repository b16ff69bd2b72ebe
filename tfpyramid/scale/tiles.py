"""A step of a pyramid, down and up, tile by tile."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._sizes import level_size, level_sizes
from tfpyramid.ops import borders, kernels, resample
from tfpyramid.ops.separable import reach
from tfpyramid.scale import _dtypes, _windows

# Rows that are computed at once, which bounds memory where tiles are large, and is as fast: less leaves the caches.
_STRIP = 256

# A window is so many times as wide and as high as a tile, and a few samples of a level at least.
_LARGEST_STEP = 256

# A window of fewer numbers than this is not worth a graph of its own.
_TRACED = 2**18


class Tile(NamedTuple):
    """A part of an image: `values` are its [rows, columns]."""

    rows: slice
    columns: slice
    values: np.ndarray


class Parts(NamedTuple):
    """An image that is made part by part.

    Attributes:
        sizes: its height and width.
        make: returns its [rows, columns], of which those beyond its end are of no use.
    """

    sizes: Sequence[int]
    make: Callable[[range, range], np.ndarray]

    def grid(self, tile_size: int) -> Iterator[tuple[range, range]]:
        """Return the rows and columns of each tile, row by row."""
        starts = (range(0, n, tile_size) for n in self.sizes)
        for corner in itertools.product(*starts):
            rows, columns = (range(k, min(k + tile_size, n)) for k, n in zip(corner, self.sizes))
            yield rows, columns

    def tile(self, rows: range, columns: range, tile_size: int) -> Tile:
        """Return one tile of a grid."""
        # All of one shape, for which there is one graph.
        high, wide = (min(tile_size, size) for size in self.sizes)
        strip = -(-high // -(-high // _STRIP))
        across = range(columns.start, columns.start + wide)
        strips = [self.make(range(k, k + strip), across) for k in range(rows.start, rows.stop, strip)]
        values = np.concatenate(strips)[: len(rows), : len(columns)]
        return Tile(slice(rows.start, rows.stop), slice(columns.start, columns.stop), values)


def pyr_down_tiles(
    image: Any,
    *,
    tile_size: int = 1024,
    scale_factor: int = 2,
    kernel: kernels.Kernel = None,
    border: str = "reflect",
    dtype: Any = None,
) -> Iterator[Tile]:
    """Blur and decimate an image that need not fit in memory: `ops.pyr_down`, tile by tile.

    Equation:
        That of `ops.pyr_down`. A tile is made of the window of the image that its taps reach, so it is equal to that
        part of the whole result, to rounding, whatever the size of the tiles.

    Convention:
        That of `ops.pyr_down`, without the batch. Memory is that of a tile and its window, `scale_factor` times as wide
        and as high.
        Integers are not scaled: 255 stays 255. Whole numbers are rounded to the nearest, of two to the larger, and
        clipped to the range of their dtype; of uint8, uint16 and int16 that is OpenCV's `pyrDown`, to the bit. A mask
        of booleans is True where at least half of the weight is. One tap, `kernel=[1.0]`, takes samples as they are:
        that is for labels.

    Args:
        image: [height, width] or [height, width, channels], of whole or floating numbers or booleans, none of them
            masked, with `shape`, `dtype`, and slicing that returns arrays: numpy.memmap, h5py, zarr, what tifffile
            opens by `aszarr`.
        tile_size: rows and columns of a tile of the result, at least 1; those at its end may be smaller.
        scale_factor: a whole number from 2 to 256.
        kernel: prefilter taps, as in `ops.pyr_down`.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".
        dtype: of the tiles; None means that of the image. A floating dtype is for values that are not rounded.

    Returns:
        An iterator over tiles with `rows`, `columns` (slices of the result) and `values`, row by row.

    Raises:
        ValueError: an argument breaks a rule above. While the tiles are computed: a part of the image is masked, or
            holds whole numbers of 2**53 or more, which cannot be averaged exactly.

    Example:
        >>> image = np.arange(25.0).reshape(5, 5)
        >>> half = np.empty([3, 3])
        >>> for tile in scale.pyr_down_tiles(image, tile_size=2):
        ...     half[tile.rows, tile.columns] = tile.values
        >>> half
        array([[ 4.5 ,  5.75,  7.  ],
               [10.75, 12.  , 13.25],
               [17.  , 18.25, 19.5 ]])
    """
    dtype = _dtypes.tile_dtype(check_image(image), dtype)
    return _tiles(down(image, scale_factor, kernel, border, dtype), tile_size)


def pyr_up_tiles(
    image: Any,
    output_size: Sequence[int],
    *,
    tile_size: int = 1024,
    scale_factor: int = 2,
    kernel: kernels.Kernel = None,
    border: str = "reflect",
    dtype: Any = None,
) -> Iterator[Tile]:
    """Insert and blur an image that need not fit in memory: `ops.pyr_up`, tile by tile.

    Equation:
        That of `ops.pyr_up`. The residual of a Laplacian pyramid is the finer level less this; the finer level is the
        residual and this. For whole numbers ask for a floating `dtype`, since the difference leaves their range.

    Convention:
        That of `ops.pyr_up`, without the batch. Whole numbers are rounded as in `pyr_down_tiles`.

    Args:
        image: as in `pyr_down_tiles`.
        output_size: (height, width) of the result; ceil(output_size / scale_factor) must be the image's.
        tile_size: rows and columns of a tile of the result, at least 1; those at its end may be smaller.
        scale_factor: a whole number from 2 to 256.
        kernel: prefilter taps, as in `ops.pyr_up`.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".
        dtype: as in `pyr_down_tiles`.

    Returns:
        An iterator over tiles, as that of `pyr_down_tiles`.

    Raises:
        ValueError: if an argument breaks a rule above.
    """
    dtype = _dtypes.tile_dtype(check_image(image), dtype)
    return _tiles(up(image, output_size, scale_factor, kernel, border, dtype), tile_size)


def down(image: Any, scale_factor: Any, kernel: kernels.Kernel, border: str, dtype: np.dtype) -> Parts:
    """Return `pyr_down` of an image, part by part, in a dtype."""
    step, taps, function = _step(_down, image, scale_factor, kernel, border, dtype)
    sizes = level_sizes(image.shape[:2], step)
    if len(taps) == 1:  # Nothing is computed, so labels of 64 bits stay what they are.
        return Parts(sizes, lambda rows, columns: _dtypes.stored(_every(image, step, rows, columns), dtype))
    axes = tuple(_windows.Axis(n, border, 1, n) for n in image.shape[:2])
    left, right = reach(taps)
    # Outputs in front of the tile, so that its first one is made of taps inside the window.
    front = level_size(left, step)

    def make(rows: range, columns: range) -> np.ndarray:
        tall, wide = (range(step * (n.start - front), step * (n.stop - 1) + right + 1) for n in (rows, columns))
        # The border rule of the window is not that of the image, and what it is heard in is cut away.
        whole = function(_windows.read(image, tall, wide, axes))
        return whole[front : front + len(rows), front : front + len(columns)]

    return Parts(sizes, make)


def _every(image: Any, step: int, rows: range, columns: range) -> np.ndarray:
    """Return the samples of some rows and columns of a level that is decimated and not blurred."""
    tall, wide = (slice(step * n.start, step * (n.stop - 1) + 1) for n in (rows, columns))
    return _windows.part(image, tall, wide)[::step, ::step]  # Not every array that can be read slices by steps.


def up(
    image: Any, output_size: Sequence[int], scale_factor: Any, kernel: kernels.Kernel, border: str, dtype: np.dtype
) -> Parts:
    """Return `pyr_up` of an image, part by part, in a dtype."""
    step, taps, function = _step(_up, image, scale_factor, kernel, border, dtype)
    height, width = resample.size_pair(output_size, in_memory=False)
    if level_sizes((height, width), step) != tuple(image.shape[:2]):
        raise ValueError(
            "`output_size` must satisfy ceil(output_size / scale_factor) = size of `image`, on both axes. "
            f"Received: output_size={(height, width)}, image of shape {tuple(image.shape)}, scale_factor={step}"
        )
    axes = tuple(_windows.Axis(n, border, step, fine) for n, fine in zip(image.shape, (height, width)))
    # What the outputs of a tile hear on either side of it.
    beside = -(-max(*reach(taps), step - 1) // step)

    def make(rows: range, columns: range) -> np.ndarray:
        tall, wide = (range(n.start // step - beside, (n.stop - 1) // step + 1 + beside) for n in (rows, columns))
        whole = function(_windows.read(image, tall, wide, axes))
        top, left = rows.start - step * tall.start, columns.start - step * wide.start
        return whole[top : top + len(rows), left : left + len(columns)]

    return Parts([height, width], make)


def _step(
    direction: Callable, image: Any, scale_factor: Any, kernel: kernels.Kernel, border: str, result_dtype: np.dtype
) -> tuple[int, np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Return the factor, the taps, and a step by them in one direction, of a window in memory to another dtype."""
    factor = check_factor(scale_factor)
    borders.check(border)
    dtype = _dtypes.working_dtype(image)
    taps = kernels.taps_of(kernel, factor, tf.as_dtype(dtype)).numpy()
    run = functools.partial(direction, factor, tuple(taps.tolist()), dtype)

    def function(window: np.ndarray) -> np.ndarray:
        _dtypes.check_whole(image, window)
        images = tf.convert_to_tensor(window[None] if window.ndim == 3 else window[None, ..., None])
        result = (run(images) if window.size < _TRACED else _traced(*run.args, direction, window.shape)(images)).numpy()
        return _dtypes.stored(result[0] if window.ndim == 3 else result[0, ..., 0], result_dtype)

    return factor, taps, function


@functools.lru_cache(maxsize=16)
def _traced(step: int, taps: tuple, dtype: np.dtype, direction: Callable, shape: tuple[int, ...]) -> Callable:
    """Return a step in one direction, for windows of one shape."""
    return tf.function(functools.partial(direction, step, taps, dtype), autograph=False)


def _down(step: int, taps: tuple[float, ...], dtype: np.dtype, images: tf.Tensor) -> tf.Tensor:
    return resample.pyr_down(tf.cast(images, dtype), scale_factor=step, kernel=taps, border="edge")


def _up(step: int, taps: tuple[float, ...], dtype: np.dtype, images: tf.Tensor) -> tf.Tensor:
    size = [step * n for n in images.shape[1:3]]
    return resample.pyr_up(tf.cast(images, dtype), size, scale_factor=step, kernel=taps, border="edge")


def check_factor(value: Any) -> int:
    """Return the ratio of the sides of two levels as an int."""
    meaning = "the ratio of a level's sides to those of the next"
    return _checks.integer("scale_factor", value, 2, meaning, maximum=_LARGEST_STEP)


def check_image(image: Any) -> Any:
    """Return an image; raise `ValueError` unless it has a shape and a dtype, and returns numbers when it is sliced."""
    shape, dtype = getattr(image, "shape", None), getattr(image, "dtype", None)
    if not (
        isinstance(shape, tuple)
        and len(shape) in (2, 3)
        and all(isinstance(side, (int, np.integer)) and side >= 1 for side in shape)
        and isinstance(dtype, np.dtype)
        and dtype.kind in "buif"
        and hasattr(image, "__getitem__")
    ):
        raise ValueError(
            "`image` must be an array of numbers, [height, width] or [height, width, channels], with no axis of size "
            f"0. Received: image of type {type(image).__name__}, shape {shape}, dtype {dtype}"
        )
    if isinstance(image, np.ma.MaskedArray):  # In memory, so that all of it can be looked at before the first tile.
        _windows.part(image, slice(0, shape[0]), slice(0, shape[1]))
    _windows.part(image, slice(0, 1), slice(0, 1))
    return image


def _tiles(parts: Parts, tile_size: int) -> Iterator[Tile]:
    tile_size = _checks.integer("tile_size", tile_size, 1, "the rows and columns of a tile")
    return (parts.tile(rows, columns, tile_size) for rows, columns in parts.grid(tile_size))
