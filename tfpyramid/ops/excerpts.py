"""Excerpts of images: rectangles of pixels, at other places in each image, read without a copy of the whole image."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Union

import tensorflow as tf

from tfpyramid.ops import custom_gradients, portable
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.shapes import dimension, dimensions

Size = tuple[Union[int, tf.Tensor], Union[int, tf.Tensor]]


def read(
    images: tf.Tensor, firsts: Sequence[tf.Tensor], sizes: Sequence[Size], units: Sequence[int]
) -> tuple[tf.Tensor, ...]:
    """Return excerpts of images, a tensor [excerpts, *size, channels] for each entry of the other arguments.

    The gradient of the images is one tensor, to which all excerpts add theirs.

    Args:
        images: [batch, height, width, channels].
        firsts: the index of the first pixel of each excerpt, int64 [excerpts], in images reshaped to [pixels,
            channels].
        sizes: the rows and columns of the excerpts, which lie inside the images.
        units: a number that divides the first column of all excerpts, and also their columns if it divides the width
            of the images.
    """
    runs = [_run(dimension(images, 2), unit) for unit in units]
    indices = [_index(dimension(images, 2), *each) for each in zip(firsts, sizes, runs)]

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
    known = isinstance(width, int)
    # TFLite has no division of int64, and XLA must know all shapes in the gradient of a loop.
    if portable.is_portable() or (portable.in_slices() and not known):
        return 1
    return math.gcd(width, unit) if known else tf.where(tf.equal(width % unit, 0), unit, 1)


def _index(width: int | tf.Tensor, first: tf.Tensor, size: Size, run: int | tf.Tensor) -> tf.Tensor:
    """Return the indices of the runs of pixels of excerpts, int64 [excerpts, rows, columns / run]."""
    rows, columns = (tf.range(tf.cast(n, tf.int64)) for n in (size[0], size[1] // run))
    first = first if isinstance(run, int) and run == 1 else first // tf.cast(run, tf.int64)
    return first[:, None, None] + (rows * tf.cast(width // run, tf.int64))[:, None] + columns
