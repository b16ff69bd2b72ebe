"""Foveated pyramids: crops of one size around a point, each from the next coarser level of a pyramid."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._sizes import level_sizes, ratio
from tfpyramid.ops import (
    batches,
    borders,
    corners,
    excerpts,
    kernels,
    portable,
    pyramid,
    resample,
    slicing,
    straight_through,
)
from tfpyramid.ops._operation import operation
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.fractional import reach
from tfpyramid.ops.shapes import dimension, dimensions, sides

# Positions further from the image are moved here, so that they do not overflow an index.
_FARTHEST = 2.0**30


@operation
def foveated_pyramid(
    images: tf.Tensor,
    fixations: tf.Tensor,
    size: int,
    num_levels: int,
    *,
    scale_factor: float = 2.0,
    kernel: kernels.Kernel = None,
    border: str = "reflect",
    hard: bool = False,
) -> list[tf.Tensor]:
    """Return crops around fixations, one from each level of a Gaussian pyramid, finest first.

    All crops have the same number of samples. The samples of crop k are scale_factor^k pixels apart, so each crop sees
    a wider part of the image than the one before it, with less detail.

    Equation:
        `crop[k][j] = bilinear_sample(level[k], (c - phase[k]) / s^k + j - (size - 1) / 2)` on each axis, with
        `level = gaussian_pyramid(images, num_levels)`, the factor s, the fixation `c = fixation * side - 1/2` in pixels
        of the image, and `phase[k] = ops.phase(kernel, s) (s^k - 1) / (s - 1)`.
        With `hard=True`, forward: the nearest sample of the level, the first of two equally near ones; backward: the
        gradient of the equation.

    Convention:
        A fixation is (y, x) as a fraction of the image: (0, 0) is its top left corner, (0.5, 0.5) its center, and
        (1, 1) its bottom right corner. Crops are centered at it: for an odd `size` the middle sample lies there, and
        for an even one it lies between the two middle samples.
        Where a crop leaves its level, because the fixation is near the border or outside the image, or `size` is larger
        than the level, the level is extended by the border rule. A level has at least one sample, however large
        `num_levels` is. At a sample of a level, the derivative by the fixation is the right-hand one, as in
        `bilinear_sample`.

        The cost does not grow with the image. Each level is computed from a window of the image that holds what its
        crop reads. If the sides are known and the windows of all fixations of an image hold more pixels than the image,
        the whole pyramid is computed once instead, and always at factors that are no integers and with the border
        "wrap". The result is the same.

    Args:
        images: [batch, height, width, channels], floating point; sides of at least 1, known or not.
        fixations: floating tensor [batch, 2], or [batch, n, 2] for n fixations of each image.
        size: rows and columns of a crop, from 1 to 1024.
        num_levels: length of the list, from 1 to 64.
        scale_factor: ratio of the sample distances of one crop to those of the crop before it, greater than 1 and at
            most 1024.
        kernel: prefilter taps, as in `pyr_down`.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".
        hard: read the nearest samples in the forward pass, with a straight-through gradient.

    Returns:
        A list of `num_levels` tensors [batch, size, size, channels], or [batch, n, size, size, channels], of the dtype
        of `images`, finest first. They are NaN for a fixation that is NaN, which the gradient of the images ignores.

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Mnih, Heess, Graves and Kavukcuoglu, Recurrent Models of Visual Attention, 2014, section 3.1 (the glimpse
        sensor); Burt and Adelson, The Laplacian Pyramid as a Compact Image Code, 1983, section II.A (the pyramid).
    """
    images = _checks.images(images)
    fixations = _checks.floating_tensor("fixations", fixations)
    size, num_levels = check_size(size), _checks.num_levels(num_levels)
    scale_factor = _checks.scale_factor(scale_factor)
    kernel, hard = kernels.hashable(kernel), _checks.flag("hard", hard)
    borders.check(border)
    check_fixations(fixations.shape)
    images, fixations = batches.check({"images": images, "fixations": fixations})
    fovea = _Fovea(size, num_levels, scale_factor, kernel, border, hard)
    several = fixations.shape.rank == 3
    crops = fovea.crops(images, fixations if several else tf.expand_dims(fixations, 1))
    return crops if several else [tf.squeeze(crop, 1) for crop in crops]


def check_size(value: object) -> int:
    """Return the side of a crop."""
    return _checks.integer("size", value, 1, "the rows and columns of a crop", maximum=_checks.LARGEST)


def check_fixations(value: Any) -> tf.TensorShape:
    """Return the shape of fixations; raise `ValueError` unless it is [batch, 2] or [batch, n, 2]."""
    shape = tf.TensorShape(value)
    if shape.rank not in (2, 3) or shape[-1] != 2:
        raise ValueError(
            "`fixations` must be [batch, 2], or [batch, n, 2] for several of each image: (y, x) between 0 and 1. "
            f"Received: fixations of shape {shape}"
        )
    return shape


class _Reads(NamedTuple):
    """The samples that crops of a level read on one axis.

    Attributes:
        index: which samples, int64 [batch, n, size + 1]: two neighbours for each sample of a crop.
        inside: whether they lie inside the level, likewise; None if samples beyond it are others of the level.
        fraction: how far the samples of a crop are from the first of their two neighbours, [batch, n].
    """

    index: tf.Tensor
    inside: tf.Tensor | None
    fraction: tf.Tensor


class _Fovea(NamedTuple):
    """The checked arguments of `foveated_pyramid`."""

    size: int
    num_levels: int
    scale_factor: float
    kernel: kernels.Kernel
    border: str
    hard: bool

    def crops(self, images: tf.Tensor, fixations: tf.Tensor) -> list[tf.Tensor]:
        """Return the crops for fixations [batch, n, 2]."""
        fixations = tf.cast(fixations, portable.position_dtype())
        unknown = tf.math.is_nan(fixations)
        reads = self._reads(images, tf.where(unknown, tf.zeros_like(fixations), fixations))
        sparse = self._is_sparse(images, dimension(fixations, 1))
        crops = self._by_windows(images, reads) if sparse else self._by_levels(images, reads)
        # Replace the crops, not their weights: then the gradient of the images is 0, not NaN.
        unknown = tf.reshape(tf.reduce_any(unknown, -1), [-1, 1, 1, 1])
        crops = [tf.where(unknown, tf.constant(math.nan, crop.dtype), crop) for crop in crops]
        shape = [*dimensions(fixations)[:2], self.size, self.size, images.shape[3]]
        return [tf.reshape(crop, shape) for crop in crops]

    def _reads(self, images: tf.Tensor, fixations: tf.Tensor) -> list[list[_Reads]]:
        """Return what the crops of each level read, on both axes."""
        size, reads = sides(images), []
        axes = zip(tf.unstack(fixations, axis=-1), size)
        centers = [position * tf.cast(side, position.dtype) - 0.5 for position, side in axes]
        p, q = ratio(self.scale_factor)
        phase = kernels.phase(self.kernel, self.scale_factor) / (p / q - 1)
        for k in range(self.num_levels):
            shrink = (q / p) ** k
            shift = phase * (1 - shrink) + (self.size - 1) / 2
            reads.append([self._read(center * shrink - shift, side) for center, side in zip(centers, size)])
            size = level_sizes(size, self.scale_factor)
        return reads

    def _read(self, first: tf.Tensor, side: int | tf.Tensor) -> _Reads:
        """Return what crops read whose first sample is at a position on an axis of a level."""
        first = tf.clip_by_value(first, -_FARTHEST, _FARTHEST)
        low = tf.floor(first)
        places = tf.expand_dims(low, -1) + tf.range(self.size + 1, dtype=low.dtype)
        folded = borders.fold(places, side, self.border)
        inside = tf.equal(places, folded) if self.border == "constant" else None
        return _Reads(tf.cast(folded, tf.int64), inside, first - low)

    def _is_sparse(self, images: tf.Tensor, count: int | tf.Tensor) -> bool:
        """Return whether to read windows: unless the images have known sides and fewer pixels than their windows.

        Where sides are unknown, windows are at most as large as the image, so they never cost much more than it does.
        A choice when the graph runs would put both ways into it.
        """
        spacing, parts = ratio(self.scale_factor)
        if parts > 1 or self.border == "wrap" or self.size * spacing ** (self.num_levels - 1) > _checks.LONGEST:
            return False
        size = sides(images)
        if any(map(tf.is_tensor, [*size, count])):
            return True
        return count * sum(math.prod(self._window(size, k)) for k in range(self.num_levels)) < math.prod(size)

    def _by_levels(self, images: tf.Tensor, reads: Sequence[Sequence[_Reads]]) -> list[tf.Tensor]:
        """Return the crops, [batch * n, size, size, channels], from levels of the whole images."""
        return [self._crop(*each) for each in zip(self._levels(images, self.num_levels), reads)]

    def _by_windows(self, images: tf.Tensor, reads: Sequence[Sequence[_Reads]]) -> list[tf.Tensor]:
        """Return the same from windows: for each level, a part of the image from which that part of it is computed."""
        spacing, _ = ratio(self.scale_factor)
        size, starts, corners, lengths = sides(images), [], [], []
        for k, axes in enumerate(reads):
            starts.append([self._start(read.index, side, k) for read, side in zip(axes, size)])
            corners.append([spacing**k * start for start in starts[k]])
            lengths.append(self._window(sides(images), k))
            size = level_sizes(size, spacing)
        windows = excerpts.read(images, corners, lengths, [spacing**k for k in range(self.num_levels)])
        return [
            self._crop(self._levels(window, k + 1)[k], [_in_window(*each) for each in zip(axes, start)])
            for k, (window, axes, start) in enumerate(zip(windows, reads, starts))
        ]

    def _levels(self, images: tf.Tensor, count: int) -> list[tf.Tensor]:
        needed = resample.needs_samples(images, self.kernel)
        arguments = (self.kernel, self.scale_factor, self.border, count)
        return batches.call(pyramid.gaussian_levels, images, *arguments, needed=needed)

    def _margins(self, k: int) -> tuple[int, int]:
        """Return how many samples of level k, at either end of a window, depend on pixels beyond it."""
        spacing, _ = ratio(self.scale_factor)
        margins = [0, 0]
        for _ in range(k):
            taps = reach(kernels.taps_of(self.kernel, self.scale_factor, tf.float32))
            margins = [-(-(margin + length) // spacing) for margin, length in zip(margins, taps)]
        return margins[0], margins[1]

    def _length(self, k: int) -> int:
        """Return how many samples of level k a window holds."""
        return self.size + 1 + sum(self._margins(k))

    def _window(self, size: excerpts.Size, k: int) -> excerpts.Size:
        """Return the sides of the windows of level k.

        A window begins at a multiple of the spacing of level k. Its sides leave the same remainder as those of the
        image, so that a window that begins later than all others ends with the image.
        """
        spacing = ratio(self.scale_factor)[0] ** k
        longest = (self._length(k) - 1) * spacing + 1
        rows, columns = (longest + (side - 1) % spacing for side in size)
        return _least(size[0], rows), _least(size[1], columns)

    def _start(self, index: tf.Tensor, side: int | tf.Tensor, k: int) -> tf.Tensor:
        """Return the first sample of level k, of `side` samples on an axis, in the windows, int64 [batch, n]."""
        last = tf.cast(side, tf.int64) - self._length(k)
        return tf.maximum(tf.minimum(tf.reduce_min(index, -1) - self._margins(k)[0], last), 0)

    def _crop(self, level: tf.Tensor, reads: Sequence[_Reads]) -> tf.Tensor:
        """Return crops of a level, [batch * n, size, size, channels]."""
        rows, columns = reads
        index = corners.flat(level, rows.index[..., :, None], columns.index[..., None, :])
        index = tf.reshape(index, [-1, self.size + 1, self.size + 1])
        x = tf.cast(tf.gather(tf.reshape(level, [-1, level.shape[3]]), index), working_dtype(level.dtype))
        if rows.inside is not None:
            inside = rows.inside[..., :, None] & columns.inside[..., None, :]
            x = tf.where(tf.reshape(inside, [-1, self.size + 1, self.size + 1, 1]), x, tf.zeros_like(x))
        soft = hard = x
        for axis, read in enumerate(reads, 1):
            fraction = tf.reshape(read.fraction, [-1, 1, 1, 1])
            low, high = (slicing.samples(soft, axis, first, self.size) for first in (0, 1))
            weight = tf.cast(fraction, x.dtype)
            soft = (1 - weight) * low + portable.multiply_no_nan(high, weight)
            if self.hard:
                low, high = (slicing.samples(hard, axis, first, self.size) for first in (0, 1))
                hard = tf.where(fraction <= 0.5, low, high)
        crop = straight_through.value_of(tf.stop_gradient(hard), soft) if self.hard else soft
        return tf.cast(crop, level.dtype)


def _in_window(read: _Reads, start: tf.Tensor) -> _Reads:
    """Return the same reads of windows that begin at a sample; each window belongs to one fixation."""
    moved = read._replace(index=read.index - tf.expand_dims(start, -1))
    return _Reads(*(None if each is None else tf.reshape(each, [-1, 1, *each.shape[2:]]) for each in moved))


def _least(side: int | tf.Tensor, other: int | tf.Tensor) -> int | tf.Tensor:
    return tf.minimum(side, other) if tf.is_tensor(side) else min(side, other)
