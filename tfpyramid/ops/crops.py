"""How the crops of a foveated pyramid are computed: from windows around the fixations, or from all levels."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._sizes import level_sizes, ratio
from tfpyramid.ops import batches, borders, excerpts, kernels, portable, pyramid, resample, slicing, straight_through
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.fractional import reach
from tfpyramid.ops.shapes import dimension, dimensions, sides

# A pixel of a window takes about twice the time of one of the whole image, because it is copied, and a window of each
# level computes the finer levels again.
_WINDOW_COST = 2

# Positions further from the image are moved here, so that they do not overflow an index.
_FARTHEST = 2.0**30


class Fovea(NamedTuple):
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
            # A GPU has no minimum of int64.
            lowest = tf.cast(tf.reduce_min(folded, -1), tf.int64)
            levels, index, size = self._by_windows(images, owner, index, lowest, size)
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
        self, images: tf.Tensor, owner: tf.Tensor, index: tf.Tensor, lowest: tf.Tensor, size: list[excerpts.Size]
    ) -> tuple[list[tf.Tensor], tf.Tensor, list[excerpts.Size]]:
        """Return levels of windows of images, where crops read them, and their sides.

        Each window is the part of an image from which a level is computed that holds what the crop of one fixation
        reads: `index`, [levels, fixations, 2, size + 1], and `lowest`, its minimum over each crop. `owner` is the
        image of each fixation.
        """
        spacing, _ = ratio(self.scale_factor)
        units = [spacing**k for k in range(self.num_levels)]
        held = [(_least(rows, length), _least(columns, length)) for (rows, columns), length in zip(size, self._lengths)]
        before = np.array([margin for margin, _ in self._margins])[:, None, None]
        last = tf.cast(_stacked(size) - _stacked(held), tf.int64)[:, None]
        starts = tf.maximum(tf.minimum(lowest - before, last), 0)
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
