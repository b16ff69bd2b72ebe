"""Foveated pyramids: crops of one size around a point, each from the next coarser level of a pyramid."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._sizes import level_sizes, ratio
from tfpyramid.ops import (
    batches,
    borders,
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

# A pixel of a window takes about twice the time of one of the whole image, because it is copied, and a window of each
# level computes the finer levels again.
_WINDOW_COST = 2

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
        crop reads. If the sides are known and the windows of all fixations hold more than half as many pixels as the
        image, the whole pyramid is computed once instead, and always at factors that are no integers and with the
        border "wrap". The result is the same.

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


class _Fovea(NamedTuple):
    """The checked arguments of `foveated_pyramid`.

    What concerns all levels is computed for all at once, as [levels, fixations, ...] with the fixations of all images:
    each operation takes time to start.
    """

    size: int
    num_levels: int
    scale_factor: float
    kernel: kernels.Kernel
    border: str
    hard: bool

    def crops(self, images: tf.Tensor, fixations: tf.Tensor) -> list[tf.Tensor]:
        """Return the crops for fixations [batch, n, 2]."""
        batch, count, _ = dimensions(fixations)
        fixations = tf.reshape(tf.cast(fixations, portable.position_dtype()), [-1, 2])
        unknown = tf.math.is_nan(fixations)
        first = self._first(images, tf.where(unknown, tf.zeros_like(fixations), fixations))
        low = tf.floor(first)
        # Two neighbours for each sample of a crop: all have the same distance from the first of the two.
        places = tf.expand_dims(low, -1) + tf.range(self.size + 1, dtype=low.dtype)
        size = self._level_sizes(sides(images))
        folded = borders.fold(places, _stacked(size)[:, None, :, None], self.border)
        inside = tf.equal(places, folded) if self.border == "constant" else None
        index, fixation = tf.cast(folded, tf.int64), tf.range(dimension(fixations, 0))
        owner = fixation // count  # The image of each fixation.
        if self._is_sparse(sides(images), count):
            levels, index, size = self._by_windows(images, owner, index, size)
            owner = fixation  # Each has windows of its own.
        else:
            levels = self._levels(images, self.num_levels)
        x = self._interpolated(self._read(levels, owner, index, inside, size), first - low)
        # Replace the crops, not their weights: then the gradient of the images is 0, not NaN.
        shape = [self.size, self.size, images.shape[3]]
        x = tf.reshape(x, [self.num_levels, -1, math.prod(shape)])
        x = tf.where(tf.reduce_any(unknown, -1, keepdims=True), tf.constant(math.nan, x.dtype), x)
        return [tf.reshape(x[k], [batch, count, *shape]) for k in range(self.num_levels)]

    def _first(self, images: tf.Tensor, fixations: tf.Tensor) -> tf.Tensor:
        """Return where the first samples of crops lie, [levels, fixations, 2], in samples of the levels."""
        p, q = ratio(self.scale_factor)
        shrink = (q / p) ** np.arange(self.num_levels)[:, None, None]
        shift = kernels.phase(self.kernel, self.scale_factor) / (p / q - 1) * (1 - shrink) + (self.size - 1) / 2
        size = tf.cast(_stacked([sides(images)]), fixations.dtype)
        first = (fixations * size - 0.5) * tf.constant(shrink, fixations.dtype) - tf.constant(shift, fixations.dtype)
        return tf.clip_by_value(first, -_FARTHEST, _FARTHEST)

    def _level_sizes(self, size: excerpts.Size) -> list[excerpts.Size]:
        """Return the sides of all levels of images with these sides."""
        sizes = [size]
        for _ in range(self.num_levels - 1):
            rows, columns = level_sizes(sizes[-1], self.scale_factor)
            sizes.append((rows, columns))
        return sizes

    def _is_sparse(self, size: excerpts.Size, count: int | tf.Tensor) -> bool:
        """Return whether to read windows: unless the images have known sides, and the whole pyramid takes less time.

        Where sides are unknown, windows are at most as large as the image, so they never cost much more than it does.
        A choice when the graph runs would put both ways into it.
        """
        spacing, parts = ratio(self.scale_factor)
        if parts > 1 or self.border == "wrap" or self.size * spacing ** (self.num_levels - 1) > _checks.LONGEST:
            return False
        if any(map(tf.is_tensor, [*size, count])):
            return True
        return _WINDOW_COST * count * sum(map(math.prod, self._window_sizes(size))) < math.prod(size)

    def _by_windows(
        self, images: tf.Tensor, owner: tf.Tensor, index: tf.Tensor, size: list[excerpts.Size]
    ) -> tuple[list[tf.Tensor], tf.Tensor, list[excerpts.Size]]:
        """Return levels of windows of images, where crops read them, and their sides.

        Each window is the part of an image from which a level is computed that holds what the crop of one fixation
        reads: `index`, [levels, fixations, 2, size + 1]. `owner` is the image of each fixation.
        """
        spacing, _ = ratio(self.scale_factor)
        units = [spacing**k for k in range(self.num_levels)]
        held = [(_least(rows, length), _least(columns, length)) for (rows, columns), length in zip(size, self._lengths)]
        before = np.array([margin for margin, _ in self._margins])[:, None, None]
        last = tf.cast(_stacked(size) - _stacked(held), tf.int64)[:, None]
        starts = tf.maximum(tf.minimum(tf.reduce_min(index, -1) - before, last), 0)
        height, width = (tf.cast(side, tf.int64) for side in sides(images))
        corners = starts * np.array(units)[:, None, None]
        first = (tf.cast(owner, tf.int64) * height + corners[..., 0]) * width + corners[..., 1]
        windows = excerpts.read(
            images, [first[k] for k in range(self.num_levels)], self._window_sizes(sides(images)), units
        )
        levels = [self._levels(window, k + 1)[k] for k, window in enumerate(windows)]
        return levels, index - tf.expand_dims(starts, -1), held

    @property
    def _margins(self) -> list[tuple[int, int]]:
        """How many samples of each level, at either end of a window, depend on pixels beyond it."""
        spacing, _ = ratio(self.scale_factor)
        taps = reach(kernels.taps_of(self.kernel, self.scale_factor, tf.float32))
        margins = [(0, 0)]
        for _ in range(self.num_levels - 1):
            before, after = (-(-(margin + length) // spacing) for margin, length in zip(margins[-1], taps))
            margins.append((before, after))
        return margins

    @property
    def _lengths(self) -> list[int]:
        """How many samples of each level a window holds, on an axis that is long enough."""
        return [self.size + 1 + sum(margins) for margins in self._margins]

    def _window_sizes(self, size: excerpts.Size) -> list[excerpts.Size]:
        """Return the sides of the windows of each level, for images with these sides.

        A window begins at a multiple of the spacing of its level. Its sides leave the same remainder as those of the
        image, so that the last window that fits ends with the image: there the border rule applies.
        """
        windows = []
        for k, length in enumerate(self._lengths):
            spacing = ratio(self.scale_factor)[0] ** k
            rows, columns = (_least(side, (length - 1) * spacing + 1 + (side - 1) % spacing) for side in size)
            windows.append((rows, columns))
        return windows

    def _levels(self, images: tf.Tensor, count: int) -> list[tf.Tensor]:
        needed = resample.needs_samples(images, self.kernel)
        arguments = (self.kernel, self.scale_factor, self.border, count)
        return batches.call(pyramid.gaussian_levels, images, *arguments, needed=needed)

    def _read(
        self,
        levels: Sequence[tf.Tensor],
        owner: tf.Tensor,
        index: tf.Tensor,
        inside: tf.Tensor | None,
        size: list[excerpts.Size],
    ) -> tf.Tensor:
        """Return the samples of levels at an index, [levels * fixations, size + 1, size + 1, channels]."""
        # TFLite has no `tf.unstack` of int64.
        heights, widths = (tf.cast(_stacked(size)[:, None, None, axis], tf.int64) for axis in (0, 1))
        rows = (tf.cast(tf.expand_dims(owner, -1), tf.int64) * heights + index[:, :, 0]) * widths
        index = rows[..., :, None] + index[:, :, 1, None, :]
        parts = [tf.gather(tf.reshape(x, [-1, x.shape[3]]), index[k]) for k, x in enumerate(levels)]
        x = tf.concat(parts, 0)
        if inside is not None:
            rows, columns = tf.unstack(inside, axis=2)
            inside = tf.reshape(rows[..., :, None] & columns[..., None, :], [-1, self.size + 1, self.size + 1, 1])
            x = tf.where(inside, x, tf.zeros_like(x))
        return x

    def _interpolated(self, x: tf.Tensor, fractions: tf.Tensor) -> tf.Tensor:
        """Return crops, [levels * fixations, size, size, channels], of the two neighbours of each of their samples."""
        soft, hard = tf.cast(x, working_dtype(x.dtype)), x
        for axis, fraction in enumerate(tf.unstack(tf.reshape(fractions, [-1, 2, 1, 1, 1]), axis=1), 1):
            low, high = (slicing.samples(soft, axis, first, self.size) for first in (0, 1))
            weight = tf.cast(fraction, soft.dtype)
            # A sample with the weight 0 may be NaN.
            soft = (1 - weight) * low + portable.multiply_no_nan(high, weight)
            if self.hard:
                low, high = (slicing.samples(hard, axis, first, self.size) for first in (0, 1))
                hard = tf.where(fraction <= 0.5, low, high)
        soft = tf.cast(soft, x.dtype)
        return straight_through.value_of(tf.stop_gradient(hard), soft) if self.hard else soft


def _stacked(sizes: Sequence[excerpts.Size]) -> np.ndarray | tf.Tensor:
    """Return sizes as integers [sizes, 2]."""
    return tf.stack(sizes) if any(map(tf.is_tensor, sum(sizes, ()))) else np.array(sizes)


def _least(side: int | tf.Tensor, other: int | tf.Tensor) -> int | tf.Tensor:
    return tf.minimum(side, other) if tf.is_tensor(side) else min(side, other)
