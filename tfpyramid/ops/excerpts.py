"""Excerpts of images: rectangles of pixels, at other places in each image, read without a copy of the whole image."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Union

import tensorflow as tf

from tfpyramid.ops import custom_gradients
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.shapes import dimension, dimensions, sides

Size = tuple[Union[int, tf.Tensor], Union[int, tf.Tensor]]
Corner = tuple[tf.Tensor, tf.Tensor]


def read(
    images: tf.Tensor, corners: Sequence[Corner], sizes: Sequence[Size], units: Sequence[int]
) -> tuple[tf.Tensor, ...]:
    """Return excerpts of images, one tensor [batch * n, *size, channels] for each corner, size and unit.

    The gradient of the images is one tensor, to which all excerpts add theirs.

    Args:
        images: [batch, height, width, channels].
        corners: the first row and the first column of each excerpt, int64 [batch, n] each.
        sizes: rows and columns; the excerpts must lie inside the images.
        units: a number that divides the first column of every excerpt, and that divides its columns if it divides the
            width of the images.
    """
    runs = [_run(dimension(images, 2), unit) for unit in units]
    indices = [_index(images, *each) for each in zip(corners, sizes, runs)]

    def gathered(images: tf.Tensor, places: Sequence[tf.Tensor]) -> tuple[tf.Tensor, ...]:
        excerpts = []
        for index, run in _split(places, runs):
            _, rows, columns = dimensions(index)
            pixels = tf.gather(tf.reshape(images, [-1, run * images.shape[3]]), index)
            excerpts.append(tf.reshape(pixels, [-1, rows, columns * run, images.shape[3]]))
        return tuple(excerpts)

    # The gradient functions use no tensors but their arguments, see `custom_gradients.call`.
    @tf.custom_gradient
    def gather(images: tf.Tensor, *places: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], Callable]:
        def grad(*upstream: tf.Tensor) -> tuple:
            return scatter(tf.shape(images), *places, *upstream), *[None] * len(places)

        return gathered(images, places), grad

    @tf.custom_gradient
    def scatter(shape: tf.Tensor, *arguments: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        places, parts = arguments[: -len(runs)], arguments[-len(runs) :]
        work, channels = working_dtype(parts[0].dtype), parts[0].shape[3]  # GPUs have no float16 kernel.
        total = tf.zeros(shape, work)
        for (index, run), part in zip(_split(places, runs), parts):
            lines, values = (tf.reshape(each, [-1, run * channels]) for each in (total, tf.cast(part, work)))
            total = tf.tensor_scatter_nd_add(lines, tf.reshape(index, [-1, 1]), values)
        total = tf.cast(tf.reshape(total, shape), parts[0].dtype)
        total.set_shape([None, None, None, channels])

        def grad(upstream: tf.Tensor) -> tuple:
            return None, *[None] * len(places), *gathered(upstream, places)

        return total, grad

    return custom_gradients.call(gather, images, *indices, *filter(tf.is_tensor, runs))


def _split(places: Sequence[tf.Tensor], runs: Sequence[int | tf.Tensor]) -> Iterator[tuple[tf.Tensor, int | tf.Tensor]]:
    """Return each index with the length of its runs, which follow all indices unless they are known."""
    rest = iter(places[len(runs) :])
    return ((index, next(rest) if tf.is_tensor(run) else run) for index, run in zip(places, runs))


def _run(width: int | tf.Tensor, unit: int) -> int | tf.Tensor:
    """Return how many neighbours of a row to read at once: few long reads take less time than many short ones."""
    if tf.is_tensor(width):
        return tf.where(tf.equal(width % unit, 0), unit, 1)
    return math.gcd(width, unit)


def _index(images: tf.Tensor, corner: Corner, size: Size, run: int | tf.Tensor) -> tf.Tensor:
    """Return the indices of the runs of pixels of excerpts, int64 [batch * n, rows, columns / run]."""
    batch = dimensions(images)[0]
    height, width, rows, columns, run = (tf.cast(n, tf.int64) for n in (*sides(images), *size, run))
    down, across = corner
    down += tf.range(tf.cast(batch, tf.int64))[:, None] * height
    down, across = (tf.reshape(each, [-1, 1]) for each in (down, across))
    first = (down + tf.range(rows)) * (width // run)
    return first[:, :, None] + (across // run + tf.range(columns // run))[:, None, :]
