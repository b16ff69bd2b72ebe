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

# Rows computed at once. This bounds the memory for large tiles, and is as fast because more data stays in the caches.
_STRIP_ROWS = 256

# A window is this many times as wide and as high as its tile.
_MAX_FACTOR = 256

# Windows of fewer numbers are computed eagerly, because tracing a graph for them costs more than it saves.
_MIN_TRACED_SIZE = 2**18


class Tile(NamedTuple):
    """A part of an image: `values` are its [rows, columns]."""

    rows: slice
    columns: slice
    values: np.ndarray


class Parts(NamedTuple):
    """An image that is computed part by part.

    Attributes:
        sizes: the height and width of the image.
        make: returns the part [rows, columns]. Values beyond the end of the image are undefined.
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
        # All strips have one shape, so that one graph computes them.
        height, width = (min(tile_size, size) for size in self.sizes)
        strip = -(-height // -(-height // _STRIP_ROWS))
        all_columns = range(columns.start, columns.start + width)
        strips = [self.make(range(k, k + strip), all_columns) for k in range(rows.start, rows.stop, strip)]
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
    """Yield `ops.pyr_down` of an image tile by tile: blurred and decimated; the image need not fit in memory.

    Equation:
        The equation of `ops.pyr_down`. A tile is computed from the window of the image that its taps reach, so it
        equals that part of the whole result, up to rounding, for any size of the tiles.

    Convention:
        The convention of `ops.pyr_down`, without the batch axis. Memory holds a tile and its window, which is
        `scale_factor` times as wide and as high.
        Integers are not scaled: 255 stays 255. Integers are rounded to the nearest, halves up, and clipped to the range
        of their dtype; for uint8, uint16 and int16 the result equals OpenCV's `pyrDown` bit for bit. A boolean mask is
        True where at least half of the weight is on True samples. A one-tap kernel, `kernel=[1.0]`, copies samples; use
        it for labels.

    Args:
        image: [height, width] or [height, width, channels], of integers, floating numbers or booleans, without masked
            values. It must have `shape` and `dtype`, and return arrays when it is sliced: numpy.memmap, h5py, zarr, or
            the result of tifffile's `aszarr`.
        tile_size: rows and columns of a tile of the result, at least 1; the last tiles of an axis may be smaller.
        scale_factor: an integer from 2 to 256.
        kernel: prefilter taps, as in `ops.pyr_down`.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".
        dtype: dtype of the tiles; None means the dtype of the image. Values of a floating dtype are not rounded.

    Returns:
        An iterator over tiles with `rows`, `columns` (slices of the result) and `values`, row by row.

    Raises:
        ValueError: an argument breaks a rule above. While the tiles are computed: a part of the image is masked, or
            holds integers of 2**53 or more, which cannot be averaged exactly.

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
    """Yield `ops.pyr_up` of an image tile by tile: upsampled and blurred; the image need not fit in memory.

    Equation:
        The equation of `ops.pyr_up`. The residual of a Laplacian pyramid is the finer level minus this result, and the
        finer level is the residual plus this result. For integers choose a floating `dtype`, because the difference can
        leave their range.

    Convention:
        The convention of `ops.pyr_up`, without the batch axis. Integers are rounded as in `pyr_down_tiles`.

    Args:
        image: as in `pyr_down_tiles`.
        output_size: (height, width) of the result; ceil(output_size / scale_factor) must be the size of the image.
        tile_size: rows and columns of a tile of the result, at least 1; the last tiles of an axis may be smaller.
        scale_factor: an integer from 2 to 256.
        kernel: prefilter taps, as in `ops.pyr_up`.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".
        dtype: as in `pyr_down_tiles`.

    Returns:
        An iterator over tiles, as from `pyr_down_tiles`.

    Raises:
        ValueError: an argument breaks a rule above, or, while the tiles are computed, the image breaks one.
    """
    dtype = _dtypes.tile_dtype(check_image(image), dtype)
    return _tiles(up(image, output_size, scale_factor, kernel, border, dtype), tile_size)


def down(image: Any, scale_factor: Any, kernel: kernels.Kernel, border: str, dtype: np.dtype) -> Parts:
    """Return `pyr_down` of an image as parts of a dtype."""
    step, taps, function = _step(_down, image, scale_factor, kernel, border, dtype)
    sizes = level_sizes(image.shape[:2], step)
    if len(taps) == 1:  # Copy samples without arithmetic, so that 64-bit labels are exact.
        return Parts(sizes, lambda rows, columns: _dtypes.stored(_decimated(image, step, rows, columns), dtype))
    axes = tuple(_windows.Axis(n, border, 1, n) for n in image.shape[:2])
    left, right = reach(taps)
    # Extra outputs before the tile, so that all taps of the tile's first output are inside the window.
    front = level_size(left, step)

    def make(rows: range, columns: range) -> np.ndarray:
        tall, wide = (range(step * (n.start - front), step * (n.stop - 1) + right + 1) for n in (rows, columns))
        # Crop the outputs that depend on samples beyond the window, because the border rule there is not the image's.
        whole = function(_windows.read(image, tall, wide, axes))
        return whole[front : front + len(rows), front : front + len(columns)]

    return Parts(sizes, make)


def _decimated(image: Any, step: int, rows: range, columns: range) -> np.ndarray:
    """Return rows and columns of a level that is decimated without blur."""
    tall, wide = (slice(step * n.start, step * (n.stop - 1) + 1) for n in (rows, columns))
    return _windows.part(image, tall, wide)[::step, ::step]  # Not every array type supports slices with steps.


def up(
    image: Any, output_size: Sequence[int], scale_factor: Any, kernel: kernels.Kernel, border: str, dtype: np.dtype
) -> Parts:
    """Return `pyr_up` of an image as parts of a dtype."""
    step, taps, function = _step(_up, image, scale_factor, kernel, border, dtype)
    height, width = resample.size_pair(output_size, in_memory=False)
    if level_sizes((height, width), step) != tuple(image.shape[:2]):
        raise ValueError(
            "`output_size` must satisfy ceil(output_size / scale_factor) = size of `image` on both axes. "
            f"Received: output_size={(height, width)}, image of shape {tuple(image.shape)}, scale_factor={step}"
        )
    axes = tuple(_windows.Axis(n, border, step, fine) for n, fine in zip(image.shape, (height, width)))
    # Extra samples on both sides of a tile, on which its outputs depend.
    extra = -(-max(*reach(taps), step - 1) // step)

    def make(rows: range, columns: range) -> np.ndarray:
        tall, wide = (range(n.start // step - extra, (n.stop - 1) // step + 1 + extra) for n in (rows, columns))
        whole = function(_windows.read(image, tall, wide, axes))
        top, left = rows.start - step * tall.start, columns.start - step * wide.start
        return whole[top : top + len(rows), left : left + len(columns)]

    return Parts([height, width], make)


def _step(
    direction: Callable, image: Any, scale_factor: Any, kernel: kernels.Kernel, border: str, result_dtype: np.dtype
) -> tuple[int, np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Return the checked factor, the taps, and a function that applies the step to a window in memory."""
    factor = check_factor(scale_factor)
    borders.check(border)
    dtype = _dtypes.working_dtype(image)
    taps = np.asarray(kernels.taps_of(kernel, factor, tf.as_dtype(dtype)))
    run = functools.partial(direction, factor, tuple(taps.tolist()), dtype)

    def function(window: np.ndarray) -> np.ndarray:
        _dtypes.check_whole(image, window)
        images = tf.convert_to_tensor(window[None] if window.ndim == 3 else window[None, ..., None])
        small = window.size < _MIN_TRACED_SIZE
        result = (run if small else _traced(*run.args, direction, window.shape))(images).numpy()
        return _dtypes.stored(result[0] if window.ndim == 3 else result[0, ..., 0], result_dtype)

    return factor, taps, function


@functools.lru_cache(maxsize=16)
def _traced(step: int, taps: tuple, dtype: np.dtype, direction: Callable, shape: tuple[int, ...]) -> Callable:
    """Return a traced step in one direction for windows of one shape."""
    return tf.function(functools.partial(direction, step, taps, dtype), autograph=False)


def _down(step: int, taps: tuple[float, ...], dtype: np.dtype, images: tf.Tensor) -> tf.Tensor:
    return resample.pyr_down(tf.cast(images, dtype), scale_factor=step, kernel=taps, border="edge")


def _up(step: int, taps: tuple[float, ...], dtype: np.dtype, images: tf.Tensor) -> tf.Tensor:
    size = [step * n for n in images.shape[1:3]]
    return resample.pyr_up(tf.cast(images, dtype), size, scale_factor=step, kernel=taps, border="edge")


def check_factor(value: Any) -> int:
    """Return the ratio of the sides of two levels as an integer."""
    meaning = "the ratio of a level's sides to those of the next"
    return _checks.integer("scale_factor", value, 2, meaning, maximum=_MAX_FACTOR)


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
            "`image` must be an array of numbers, [height, width] or [height, width, channels], and no axis may be "
            f"empty. Received: image of type {type(image).__name__}, shape {shape}, dtype {dtype}"
        )
    if isinstance(image, np.ma.MaskedArray):  # It is in memory, so check all of it before the first tile.
        _windows.part(image, slice(0, shape[0]), slice(0, shape[1]))
    _windows.part(image, slice(0, 1), slice(0, 1))
    return image


def _tiles(parts: Parts, tile_size: int) -> Iterator[Tile]:
    tile_size = _checks.integer("tile_size", tile_size, 1, "the rows and columns of a tile")
    return (parts.tile(rows, columns, tile_size) for rows, columns in parts.grid(tile_size))
