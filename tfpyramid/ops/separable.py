"""One step of a pyramid on one axis, as a linear map of that axis.

With n samples x, taps w[0 .. K - 1] centred at tap (K - 1) // 2, and h(u) their linear interpolation, zero beyond them,
one step by the factor s is

    down   y[i] = sum_k h(k - s i) x[k]                 i = 0 .. ceil(n / s) - 1
    up     y[j] = sum_i g(j, i) x[i]                    j = 0 .. n - 1
           g(j, i) = s h(j - s i) + (1 - s sum_i h(j - s i)) hat(j / s - i)

with x extended by the border rule, and s the fraction p / q of `_sizes.ratio`: places are counted in whole numbers.
`up` is the transpose of `down` times s. Its second term, a linear interpolation, brings the DC gain to exactly 1 where
the taps alone would leave a ripple or a hole; it vanishes for the binomial and the box at factor 2. At a whole factor
both are convolutions. At any other, and up by a large one, each output has weights of its own.
"""

from collections.abc import Sequence
from typing import Union

import numpy as np
import tensorflow as tf

from tfpyramid._sizes import divide, level_size, ratio
from tfpyramid.ops import axes, borders, portable

Sizes = Sequence[Union[int, tf.Tensor]]

# An axis of less than so many times the samples near its ends that need care is extended: that takes fewer operations.
_SHORT = 12

# A convolution makes whole steps, of which a few are cut off: by larger factors each output is weighed by itself.
_LARGEST_STEP = 64


def down(x: tf.Tensor, taps: tf.Tensor, scale_factor: float, border: str) -> tf.Tensor:
    """Return `down` of the height and the width of x, for taps of sum 1 and the dtype of x."""
    step, parts = ratio(scale_factor)
    if parts == 1:
        return _decimate(x, taps, step, border, along=(1, 2))
    for axis in (1, 2):
        x = _shrink_axis(x, axis, taps, scale_factor, border)
    return x


def up(
    x: tf.Tensor, sizes: Sizes, taps: tf.Tensor, scale_factor: float, border: str, *, fixed: bool = False
) -> tf.Tensor:
    """Return `up` of the height and the width of x, to `sizes`, for taps of sum 1 and the dtype of x.

    Taps that are `fixed` are constants, without a gradient.
    """
    step, parts = ratio(scale_factor)
    if parts == 1 and step <= _LARGEST_STEP:
        return _insert(x, sizes, taps, step, border, fixed)
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
    p, q = ratio(scale_factor)
    # Position i p / q is at most size - 1, as there are ceil(size q / p) outputs.
    first, rest = divide(borders.indices(level_size(borders.dimensions(x)[axis], scale_factor)), p, q)
    share = tf.cast(borders.real(rest) / q, x.dtype)[:, None]
    zero = tf.zeros([1], x.dtype)
    weights = (1 - share) * tf.concat([taps, zero], 0) + share * tf.concat([zero, taps], 0)
    places = first[:, None] + np.arange(taps.shape[0] + 1, dtype=np.int32)
    # An output that sits on a sample does not read the one after its taps.
    return weighted_reads(borders.extend(x, axis, left, right + 1, border), axis, places, weights, taps.shape[0])


def _insert(x: tf.Tensor, sizes: Sizes, taps: tf.Tensor, step: int, border: str, fixed: bool) -> tf.Tensor:
    """Return `up` by an integer factor: the only copy of the result is the cut at its end."""
    if fixed:
        with tf.init_scope():  # Where the values are known while a graph is made.
            taps, centre = _without_zero_ends(*_magnifying_taps(tf.constant(tf.get_static_value(taps)), step))
        taps = tf.constant(taps)
    else:
        taps, centre = _magnifying_taps(taps, step)
    # Output j reads the inputs i with j - step * i between -centre and the taps after it.
    before, after = (taps.shape[0] - 1 - centre) // step, (centre - 1) // step + 1
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
    p, q = ratio(scale_factor)
    # Output j hears the inputs i with j - scale_factor * i between -reach and reach, and its two neighbours.
    before, after = level_size(right + 1, scale_factor), level_size(left + 1, scale_factor) + 1
    x = borders.extend(x, axis, before, after, border, spacing=p / q, length=size)
    first, rest = divide(borders.indices(size), q, p)
    # p times the distance j / s - i of each output to the inputs that it hears, the first of them first - before + 1.
    distance = rest[:, None] + p * np.arange(before - 1, -after - 1, -1, dtype=np.int32)
    m = borders.mathematics(distance)
    spread = p / q * _interpolated_taps(taps, distance, q)
    hat = tf.cast(m.maximum(1 - borders.real(m.abs(distance)) / p, 0), x.dtype)
    weights = spread + (1 - tf.reduce_sum(spread, 1, keepdims=True)) * hat
    return weighted_reads(x, axis, first[:, None] + np.arange(1, weights.shape[1] + 1, dtype=np.int32), weights)


def reach(taps: tf.Tensor) -> tuple[int, int]:
    """Return how many samples the taps reach to the left and to the right of their centre."""
    left = (taps.shape[0] - 1) // 2
    return left, taps.shape[0] - 1 - left


def _interpolated_taps(taps: tf.Tensor, offsets: borders.Places, parts: int) -> tf.Tensor:
    """Return h at whole `offsets` from the centre of the taps, in parts of a sample."""
    left, right = reach(taps)
    padded = tf.pad(taps, [[1, 2]])
    m = borders.mathematics(offsets)
    places = m.minimum(m.maximum(offsets + (left + 1) * parts, 0), (left + right + 2) * parts)
    low, rest = divide(places, 1, parts)
    share = tf.cast(borders.real(rest) / parts, taps.dtype)
    return (1 - share) * tf.gather(padded, low) + share * tf.gather(padded, low + 1)


def _magnifying_taps(taps: tf.Tensor, step: int) -> tuple[tf.Tensor, int]:
    """Return g of an integer factor, which depends on j - step * i alone, as taps, and the place of their centre."""
    left, right = reach(taps)
    widest = max(left, right, step - 1)
    spread = step * tf.pad(taps, [[widest - left, widest - right]])
    offsets = np.arange(-widest, widest + 1)
    # The sum of the taps that are heard at each phase, that is by outputs whole steps apart.
    steps = -(-offsets.size // step)
    phases = tf.reduce_sum(tf.reshape(tf.pad(spread, [[0, steps * step - offsets.size]]), [steps, step]), 0)
    sums = tf.tile(phases, [steps])[: offsets.size]
    hat = tf.constant(np.maximum(1 - np.abs(offsets) / step, 0), taps.dtype)
    return spread + (1 - sums) * hat, widest


def _without_zero_ends(taps: tf.Tensor, centre: int) -> tuple[np.ndarray, int]:
    """Return taps without the zeros at their ends, and where their centre then is: a convolution reads zeros too."""
    values = taps.numpy()
    first, last = np.flatnonzero(values)[[0, -1]]
    first, last = min(first, centre), max(last, centre)
    return values[first : last + 1], centre - first


def weighted_reads(x: tf.Tensor, axis: int, places: borders.Places, weights: tf.Tensor, dense: int = 0) -> tf.Tensor:
    """Return sum_t weights[:, t] x[places[:, t]] on `axis`: a sparse matrix, a row for each output.

    What is read with the weight 0 is left out, except by the first `dense` columns, which are faster without asking.
    """
    shape = [1] * x.shape.rank
    shape[axis] = -1
    parts = []
    # A read of all taps at once has fewer operations, and is slower on large images, to differentiate above all.
    for t in range(weights.shape[1]):
        part, weight = borders.read(x, axis, places[:, t]), tf.reshape(weights[:, t], shape)
        parts.append(part * weight if t < dense else portable.multiply_no_nan(part, weight))
    return tf.add_n(parts)
