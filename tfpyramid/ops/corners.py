"""Reads of the four pixels around each point as rows of channels: for many channels, few points or unknown sizes."""

import functools
import operator
from collections.abc import Callable, Sequence

import tensorflow as tf

from tfpyramid.ops import devices, portable, sparse
from tfpyramid.ops.shapes import dimensions

# With more pixels for each point, a copy of the images takes longer than the reads.
_SPARSE = 8


class Corners:
    """Samples at points, and their gradients.

    Args:
        images: [batch, height, width, channels].
        lows: the row i and the column j of the first of the pixels (i, j), (i, j + 1), (i + 1, j) and (i + 1, j + 1),
            [batch, ...] each, whole floating numbers. Pixels beyond an image are moved inside by the border rule, which
            is "edge" unless it is "wrap"; with "constant" their weight is 0.
        fractions: the distances of each point from that pixel, likewise, in the working dtype.
        border: the border rule.
    """

    def __init__(
        self, images: tf.Tensor, lows: Sequence[tf.Tensor], fractions: Sequence[tf.Tensor], border: str
    ) -> None:
        self._images = images
        self._y_shape = tf.concat([tf.shape(lows[0]), [images.shape[3]]], 0)
        pairs = [[tf.cast(low + step, tf.int64) for step in (0, 1)] for low in lows]
        folded = [[_fold(k, n, border) for k in pair] for pair, n in zip(pairs, dimensions(images)[1:3])]
        self._sums = _Sums(_each(functools.partial(flat, images), *folded), images)
        self._parts = [[1 - fraction, fraction] for fraction in fractions]
        self._inside = None
        if border == "constant":
            inside = [
                [tf.cast(tf.equal(k, inner), fractions[0].dtype) for k, inner in zip(*each)]
                for each in zip(pairs, folded)
            ]
            self._parts = [list(map(operator.mul, *each)) for each in zip(self._parts, inside)]
            self._inside = _each(operator.mul, *inside)
        self._weights = _each(operator.mul, *self._parts)

    def read(self) -> tf.Tensor:
        """Return the samples, [batch, ..., channels]."""
        return tf.reshape(self._sums.read(self._images, self._weights), self._y_shape)

    def gradients(self, upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return the gradients of the images, and of the rows and the columns of the points, in any shape."""
        upstream = tf.reshape(upstream, [-1, self._images.shape[3]])
        dots = self._sums.dots(self._images, upstream)
        if self._inside is not None:
            dots = portable.multiply_no_nan(dots, self._inside)
        a, b, c, d = tf.unstack(dots)
        down, right = ([tf.reshape(part, [-1]) for part in parts] for parts in self._parts)
        slopes = weighted([c - a, d - b], right), weighted([b - a, d - c], down)
        return self._sums.spread(without_nan(self._weights), upstream), *slopes


def weighted(values: Sequence[tf.Tensor], weights: Sequence[tf.Tensor]) -> tf.Tensor:
    """Return the sum of values, each times its weight. It ignores a value of weight 0: 0 times NaN would be NaN."""
    return tf.add_n([portable.multiply_no_nan(value, weight) for value, weight in zip(values, weights)])


def without_nan(weights: tf.Tensor) -> tf.Tensor:
    """Return weights, and 0 for those that are NaN: a point that is NaN has no pixel for a gradient."""
    return tf.where(tf.math.is_nan(weights), tf.zeros_like(weights), weights)


def flat(images: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Return the indices of pixels, int64 [batch, ...], in images reshaped to [pixels, channels]."""
    batch, height, width, _ = dimensions(images)
    # A batch may have more pixels than int32 can hold.
    width = tf.cast(width, tf.int64)
    index = rows * width + columns
    if isinstance(batch, int) and batch == 1:
        return index
    samples = tf.range(tf.cast(batch, tf.int64)) * (tf.cast(height, tf.int64) * width)
    return index + tf.reshape(samples, [-1] + [1] * (index.shape.rank - 1))


def _fold(index: tf.Tensor, size: int | tf.Tensor, border: str) -> tf.Tensor:
    """Return int64 indices, moved inside the image."""
    size = tf.cast(size, index.dtype)
    return portable.remainder(index, size) if border == "wrap" else tf.clip_by_value(index, 0, size - 1)


def _each(combine: Callable, rows: Sequence[tf.Tensor], columns: Sequence[tf.Tensor]) -> tf.Tensor:
    """Return, as [4, points], the combinations of each of two rows with each of two columns of all points."""
    return tf.stack([tf.reshape(combine(row, column), [-1]) for row in rows for column in columns])


class _Sums:
    """The gradients of the sum, over points p, their pixels k and channels c, of
    `images[index[k, p], c] weights[k, p] upstream[p, c]`. The gradients of each are the other two.

    Args:
        index: int64 [pixels of a point, points], for images reshaped to [pixels, channels].
        images: [batch, height, width, channels].
    """

    def __init__(self, index: tf.Tensor, images: tf.Tensor) -> None:
        self._index, self._shape, self._dtype = index, tf.shape(images), images.dtype
        pixels, points = images.shape[:3].num_elements(), index.shape[1]
        if pixels is None or points is None:
            pixels, points = tf.reduce_prod(tf.cast(self._shape[:3], tf.int64)), tf.shape(index, tf.int64)[1]
        self._pixels = pixels
        fits = [points > 0, pixels <= _SPARSE * points, pixels < 2**31 - 1]
        self._is_matrix = functools.reduce(tf.logical_and, fits) if tf.is_tensor(fits[0]) else all(fits)

    def read(self, images: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Return the gradient of `upstream`: the weighted sums of pixels, without those of weight 0."""

        @tf.custom_gradient
        def read(images: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, Callable]:
            def by_matrix() -> tf.Tensor:
                pixels = tf.cast(tf.reshape(images, [-1, images.shape[3]]), weights.dtype)
                pixels = tf.concat([pixels, tf.zeros([1, images.shape[3]], weights.dtype)], 0)
                return sparse.multiply(weights, self._columns(weights), pixels)

            def by_gather() -> tf.Tensor:
                # XLA fuses four reads, but not one of four pixels with its sum. TFLite has no `tf.unstack` of int64.
                indices = [self._index[k] for k in range(weights.shape[0])]
                values = [self._gather(images, index, weights.dtype) for index in indices]
                return weighted(values, tf.unstack(tf.expand_dims(weights, -1)))

            y = self._choose(by_matrix, by_gather)
            return y, lambda upstream: (self.spread(weights, upstream), self.dots(images, upstream))

        return read(images, weights)

    def spread(self, weights: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        """Return the gradient of `images`: the weighted upstream gradient of each point, added to its pixels."""

        @tf.custom_gradient
        def spread(weights: tf.Tensor, upstream: tf.Tensor) -> tuple[tf.Tensor, Callable]:
            def by_matrix() -> tf.Tensor:
                size = self._pixels + 1
                return sparse.multiply_transposed(weights, self._columns(weights), upstream, size)[:-1]

            def by_sums() -> tf.Tensor:
                parts = portable.multiply_no_nan(tf.expand_dims(upstream, 0), tf.expand_dims(weights, -1))
                return tf.math.unsorted_segment_sum(parts, self._index, self._pixels)

            images = tf.cast(tf.reshape(self._choose(by_matrix, by_sums), self._shape), self._dtype)
            images.set_shape([None, None, None, upstream.shape[1]])
            return images, lambda images: (self.dots(images, upstream), self.read(images, weights))

        return spread(weights, upstream)

    def dots(self, images: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        """Return the gradient of `weights`: the products of each pixel and the upstream gradient, over the channels."""

        @tf.custom_gradient
        def dots(images: tf.Tensor, upstream: tf.Tensor) -> tuple[tf.Tensor, Callable]:
            values = self._gather(images, self._index, upstream.dtype)
            y = tf.reduce_sum(portable.multiply_no_nan(values, upstream), -1)
            return y, lambda weights: (self.spread(weights, upstream), self.read(images, weights))

        return dots(images, upstream)

    def _choose(self, by_matrix: Callable[[], tf.Tensor], otherwise: Callable[[], tf.Tensor]) -> tf.Tensor:
        return otherwise() if portable.in_slices() else devices.choose(by_matrix, otherwise, self._is_matrix)

    def _columns(self, weights: tf.Tensor) -> tf.Tensor:
        """Return the index, with a pixel of 0 after the last instead of those of weight 0: 0 times NaN would be NaN."""
        return tf.where(tf.equal(weights, 0), tf.cast(self._pixels, tf.int64), self._index)

    @staticmethod
    def _gather(images: tf.Tensor, index: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        return tf.cast(tf.gather(tf.reshape(images, [-1, images.shape[3]]), index), dtype)
