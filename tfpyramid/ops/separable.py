"""One step of a pyramid on one axis, as a linear map of that axis.

With n samples x, taps w[0 .. K - 1] centred at tap (K - 1) // 2, and h(u) their linear interpolation, zero beyond them,
one step by the factor s is

    down   y[i] = sum_k h(k - s i) x[k]                 i = 0 .. ceil(n / s) - 1
    up     y[j] = sum_i g(j, i) x[i]                    j = 0 .. n - 1
           g(j, i) = s h(j - s i) + (1 - s sum_i h(j - s i)) hat(j / s - i)

with x extended by the border rule. `up` is the transpose of `down` times s; its second term, a linear interpolation,
brings the DC gain to exactly 1 where the taps alone would leave a ripple or a hole, and vanishes for the binomial and
the box at factor 2. At an integer factor both are convolutions; at any other each output has weights of its own.
"""

import math
from collections.abc import Sequence
from typing import Union

import numpy as np
import tensorflow as tf

from tfpyramid.ops import axes, borders

Sizes = Sequence[Union[int, tf.Tensor]]

# An axis of less than so many times the samples near its ends that need care is extended: that takes fewer operations.
_SHORT = 12


def level_size(size: int | tf.Tensor | None, scale_factor: float) -> int | tf.Tensor | None:
    """Return ceil(size / scale_factor), the side of the next level: an int, a tensor or None, as `size` is."""
    if size is None:
        return None
    if tf.is_tensor(size):
        return tf.cast(tf.math.ceil(borders.real(size) / scale_factor), tf.int32)
    return math.ceil(size / scale_factor)


def rounded_down(size: int | tf.Tensor, scale_factor: float) -> int | tf.Tensor:
    """Return max(1, floor(size / scale_factor)), the side that a strided layer without padding makes: as `size` is."""
    if tf.is_tensor(size):
        return tf.maximum(tf.cast(tf.floor(borders.real(size) / scale_factor), tf.int32), 1)
    return max(1, math.floor(size / scale_factor))


def finer_size(size: int | tf.Tensor | None, scale_factor: float) -> int | tf.Tensor | None:
    """Return the largest side whose next level has `size`, floor(size * scale_factor): an int, a tensor or None."""
    if size is None:
        return None
    # The product may have been rounded to the wrong side of a whole number: `level_size` itself decides.
    if tf.is_tensor(size):
        finer = tf.cast(tf.floor(borders.real(size) * scale_factor), tf.int32)
        sides = borders.real(tf.stack([finer, finer + 1]))
        fits = tf.cast(tf.math.ceil(sides / scale_factor), tf.int32) <= size
        return finer - 1 + tf.reduce_sum(tf.cast(fits, tf.int32), axis=0)
    finer = math.floor(size * scale_factor)
    return finer - 1 + sum(math.ceil(side / scale_factor) <= size for side in (finer, finer + 1))


def down(x: tf.Tensor, taps: tf.Tensor, scale_factor: float, border: str) -> tf.Tensor:
    """Return `down` of the height and the width of x, for taps of sum 1 and the dtype of x."""
    if scale_factor.is_integer():
        return _decimate(x, taps, int(scale_factor), border, along=(1, 2))
    for axis in (1, 2):
        x = _shrink_axis(x, axis, taps, scale_factor, border)
    return x


def up(x: tf.Tensor, sizes: Sizes, taps: tf.Tensor, scale_factor: float, border: str) -> tf.Tensor:
    """Return `up` of the height and the width of x, to `sizes`, for taps of sum 1 and the dtype of x."""
    if scale_factor.is_integer():
        return _insert(x, sizes, taps, int(scale_factor), border)
    for axis, size in zip((1, 2), sizes):
        x = _magnify_axis(x, axis, size, taps, scale_factor, border)
    return x


def _decimate(x: tf.Tensor, taps: tf.Tensor, step: int, border: str, *, along: Sequence[int]) -> tf.Tensor:
    """Return `down` by an integer factor, one axis and then the others.

    Images that are large, or may be, are not extended, which would copy them: the outputs that hear nothing beyond the
    border are one convolution of x as it is, and the few others are put beside them once all axes are done.
    """
    if not along:
        return x
    axis, *others = along
    (left, right), length = reach(taps), taps.shape[0]
    size, near = borders.dimensions(x)[axis], max(length - 1, 2)
    front = -(-left // step)  # The first output that hears nothing in front of x.
    unheard = front * step - left
    unknown = tf.is_tensor(size)
    if axes.in_slices() or (not unknown and size < max(_SHORT * near, unheard + length)):
        return _decimate(_extended(x, taps, step, border, [axis]), taps, step, border, along=others)
    count = -(-size // step)
    behind = count - ((size - 1 - right) // step + 1)
    if unknown:  # It may be so short that all of it is near its ends.
        front = tf.minimum(front, count)
        behind = tf.minimum(behind, count - front)
    beside = length > 1 if unknown else front + behind > 0
    if beside:
        x, ends = borders.ends(x, axis, near, step)
        sides = _extended(ends, taps, step, border, along)
        before = borders.samples(sides, axis, 0, front)
        after = borders.samples(sides, axis, borders.dimensions(sides)[axis] - behind, behind)
    y = axes.convolve(borders.drop(x, axis, unheard), axis, taps, step)
    y = _decimate(y, taps, step, border, along=others)
    return tf.concat([before, y, after], axis) if beside else y


def _extended(x: tf.Tensor, taps: tf.Tensor, step: int, border: str, along: Sequence[int]) -> tf.Tensor:
    """Return `down` of some axes by an integer factor, of images that are extended."""
    left, right = reach(taps)
    for axis in along:
        # The last output sits at most at size - 1, so `right` more samples are enough; fewer would do for some sizes.
        x = axes.convolve(borders.extend(x, axis, left, right, border), axis, taps, step)
    return x


def _shrink_axis(x: tf.Tensor, axis: int, taps: tf.Tensor, scale_factor: float, border: str) -> tf.Tensor:
    """Return `down` of one axis by any factor."""
    left, right = reach(taps)
    size = borders.dimensions(x)[axis]
    positions = borders.places(level_size(size, scale_factor)) * scale_factor
    m = borders.mathematics(positions)
    first = m.minimum(m.floor(positions), borders.real(size - 1))
    share = tf.cast(positions - first, x.dtype)[:, None]
    zero = tf.zeros([1], x.dtype)
    weights = (1 - share) * tf.concat([taps, zero], 0) + share * tf.concat([zero, taps], 0)
    return _weighted_reads(borders.extend(x, axis, left, right + 1, border), axis, first, weights)


def _insert(x: tf.Tensor, sizes: Sizes, taps: tf.Tensor, step: int, border: str) -> tf.Tensor:
    """Return `up` by an integer factor: the only copy of the result is the cut at its end."""
    taps, centre = _magnifying_taps(taps, step)
    # Output j hears the inputs i with j - step * i between -centre and centre.
    before, after = centre // step, (centre - 1) // step + 1
    for axis, size in zip((1, 2), sizes):
        x = borders.extend(x, axis, before, after, border, spacing=step, length=size)
    # The width first, as rows are best spread when they are as long as they become.
    for axis in (2, 1):
        x = axes.spread(x, axis, taps, step)
    start, (height, width) = before * step + centre, sizes
    return x[:, start : start + height, start : start + width]


def _magnify_axis(
    x: tf.Tensor, axis: int, size: int | tf.Tensor, taps: tf.Tensor, scale_factor: float, border: str
) -> tf.Tensor:
    """Return `up` of one axis by any factor, to `size` samples."""
    left, right = reach(taps)
    # Output j hears the inputs i with j - scale_factor * i between -reach and reach, and its two neighbours.
    before = math.ceil((right + 1) / scale_factor)
    after = math.ceil((left + 1) / scale_factor) + 1
    x = borders.extend(x, axis, before, after, border, spacing=scale_factor, length=size)
    count = before + after
    positions = borders.places(size) / scale_factor
    m = borders.mathematics(positions)
    first = m.floor(positions) - (before - 1)
    distance = positions[:, None] - (first[:, None] + np.arange(count))
    spread = scale_factor * _interpolated_taps(taps, distance * scale_factor)
    hat = tf.cast(m.maximum(1 - m.abs(distance), 0), x.dtype)
    weights = spread + (1 - tf.reduce_sum(spread, 1, keepdims=True)) * hat
    return _weighted_reads(x, axis, first + before, weights)


def reach(taps: tf.Tensor) -> tuple[int, int]:
    """Return how many samples the taps reach to the left and to the right of their centre."""
    left = (taps.shape[0] - 1) // 2
    return left, taps.shape[0] - 1 - left


def _interpolated_taps(taps: tf.Tensor, offsets: tf.Tensor) -> tf.Tensor:
    """Return h at float64 `offsets` from the centre of the taps."""
    left, right = reach(taps)
    padded = tf.pad(taps, [[1, 2]])
    m = borders.mathematics(offsets)
    places = m.minimum(m.maximum(offsets + (left + 1), 0), left + right + 2)
    low = m.floor(places)
    share, low = tf.cast(places - low, taps.dtype), tf.cast(low, tf.int32)
    return (1 - share) * tf.gather(padded, low) + share * tf.gather(padded, low + 1)


def _magnifying_taps(taps: tf.Tensor, step: int) -> tuple[tf.Tensor, int]:
    """Return g of an integer factor, which depends on j - step * i alone, as taps, and the place of their centre."""
    left, right = reach(taps)
    widest = max(left, right, step - 1)
    spread = step * tf.pad(taps, [[widest - left, widest - right]])
    offsets = np.arange(-widest, widest + 1)
    same_phase = tf.constant((offsets[:, None] - offsets) % step == 0, taps.dtype)
    hat = tf.constant(np.maximum(1 - np.abs(offsets) / step, 0), taps.dtype)
    return spread + (1 - tf.linalg.matvec(same_phase, spread)) * hat, widest


def _weighted_reads(x: tf.Tensor, axis: int, first: borders.Places, weights: tf.Tensor) -> tf.Tensor:
    """Return sum_t weights[:, t] x[first + t] on `axis`: a band matrix, a row for each output."""
    shape = [1] * x.shape.rank
    shape[axis] = -1
    # A read of all taps at once has fewer operations, and is slower on large images, to differentiate above all.
    return tf.add_n(
        [tf.reshape(weights[:, t], shape) * borders.read(x, axis, first + t) for t in range(weights.shape[1])]
    )
