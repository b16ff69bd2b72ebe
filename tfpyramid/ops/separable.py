"""One step of a pyramid along one axis, as a linear map of that axis.

With n samples x, taps w[0 .. K - 1] centred at tap (K - 1) // 2, and h(u) their linear interpolation, zero beyond them,
one step by the factor s is

    down   y[i] = sum_k h(k - s i) x[k]                 i = 0 .. ceil(n / s) - 1
    up     y[j] = sum_i g(j, i) x[i]                    j = 0 .. n - 1
           g(j, i) = s h(j - s i) + (1 - s sum_i h(j - s i)) hat(j / s - i)

with x extended by the border rule, and s the fraction p / q of `_sizes.ratio`, so that positions are computed with
integers. The first term of `up` is the transpose of `down` times s. The second term, a linear interpolation, makes the
DC gain exactly 1 where the taps alone would leave a ripple or a hole. It vanishes for the binomial and the box at
factor 2. At an integer factor both are convolutions. At other factors, and for `up` by a large one, each output has its
own weights.
"""

import math
from collections.abc import Callable, Sequence
from typing import Union

import numpy as np
import tensorflow as tf

from tfpyramid._sizes import divide, level_size, ratio
from tfpyramid.ops import axes, borders, portable, slicing
from tfpyramid.ops.coordinates import Positions, array_module, indices, to_float
from tfpyramid.ops.shapes import dimensions

Sizes = Sequence[Union[int, tf.Tensor]]

# An axis shorter than this many border strips is extended as a whole, which takes fewer operations.
_SHORT = 12

# `up` by a larger factor computes each output separately: a convolution would make many samples to be cut off.
_LARGEST_STEP = 64


def down(x: tf.Tensor, taps: tf.Tensor, scale_factor: float, border: str) -> tf.Tensor:
    """Return `down` of the height and the width of x, for taps with sum 1 and the dtype of x."""
    step, parts = ratio(scale_factor)
    if parts == 1:
        return _decimate(x, taps, step, border, along=(1, 2))
    for axis in (1, 2):
        x = _shrink_axis(x, axis, taps, scale_factor, border)
    return x


def up(
    x: tf.Tensor, sizes: Sizes, taps: tf.Tensor, scale_factor: float, border: str, *, fixed: bool = False
) -> tf.Tensor:
    """Return `up` of the height and the width of x, to `sizes`, for taps with sum 1 and the dtype of x.

    With `fixed`, the taps are constants without a gradient.
    """
    step, parts = ratio(scale_factor)
    if parts == 1 and step <= _LARGEST_STEP:
        return _insert(x, sizes, taps, step, border, fixed)
    for axis, size in zip((1, 2), sizes):
        x = _magnify_axis(x, axis, size, taps, scale_factor, border)
    return x


def _decimate(x: tf.Tensor, taps: tf.Tensor, step: int, border: str, *, along: Sequence[int]) -> tf.Tensor:
    """Return `down` by an integer factor, one axis and then the others.

    Small images are extended by the border rule. For large images that copy would cost more than the convolution. Their
    inner outputs have all taps inside the image, and are one convolution of x itself. The few outputs at either border
    are computed from two extended strips, and joined to the inner ones once all axes are done.
    """
    if not along:
        return x
    axis, *others = along
    (left, right), length = reach(taps), taps.shape[0]
    size, strip = dimensions(x)[axis], max(length - 1, 2)
    leading = level_size(left, step)  # Outputs before the first inner one, which sits at `leading * step >= left`.
    skipped = leading * step - left  # Inputs before the first that an inner output reads.
    unknown = tf.is_tensor(size)
    if axes.in_slices() or (not unknown and size < max(_SHORT * strip, skipped + length)):
        return _decimate(_extend_and_decimate(x, taps, step, border, [axis]), taps, step, border, along=others)
    count = level_size(size, step)
    trailing = count - ((size - 1 - right) // step + 1)
    if unknown:  # A short axis may have no inner outputs.
        leading = tf.minimum(leading, count)
        trailing = tf.minimum(trailing, count - leading)
    has_outer = length > 1 if unknown else leading + trailing > 0
    if has_outer:
        x, strips = border_strips(x, axis, strip, step)
        outer = _extend_and_decimate(strips, taps, step, border, along)
        before = slicing.samples(outer, axis, 0, leading)
        after = slicing.samples(outer, axis, dimensions(outer)[axis] - trailing, trailing)
    y = axes.convolve(slicing.skip(x, axis, skipped), axis, taps, step)
    y = _decimate(y, taps, step, border, along=others)
    return tf.concat([before, y, after], axis) if has_outer else y


def _extend_and_decimate(x: tf.Tensor, taps: tf.Tensor, step: int, border: str, along: Sequence[int]) -> tf.Tensor:
    """Return `down` of some axes by an integer factor, of images that are extended."""
    left, right = reach(taps)
    for axis in along:
        # The last output sits at size - 1 or before, so `right` more samples are enough. Some sizes need fewer.
        x = axes.convolve(borders.extend(x, axis, left, right, border), axis, taps, step)
    return x


def border_strips(x: tf.Tensor, axis: int, count: int, step: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return x, and x without the middle of an axis: at least `count` samples remain at either end, or the whole axis.

    The number of samples left out is a multiple of `step`, so a step of that factor computes the same outputs at the
    borders of the strips as at those of x. Use the returned x instead of the argument: its gradient adds the gradient
    of the strips in place, where the gradient of a slice would fill a tensor of zeros as large as x.
    """

    def parts(x: tf.Tensor) -> list[tuple[int | tf.Tensor, int | tf.Tensor]]:
        size = dimensions(x)[axis]
        least, most = (tf.minimum, tf.maximum) if tf.is_tensor(size) else (min, max)
        first, omitted = least(count, size), most(size - 2 * count, 0) // step * step
        return [(0, first), (first + omitted, size - first - omitted)]

    @tf.custom_gradient
    def run(x: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable]:
        strips = tf.concat([slicing.samples(x, axis, *part) for part in parts(x)], axis)

        def grad(to_x: tf.Tensor, to_strips: tf.Tensor) -> tf.Tensor:
            # An upstream gradient may have lost its static shape.
            to_x, to_strips = tf.ensure_shape(to_x, x.shape), tf.ensure_shape(to_strips, strips.shape)
            return _add_to_parts(to_x, axis, parts(to_x), to_strips)

        return (tf.identity(x), strips), grad

    return run(x)


def _add_to_parts(
    x: tf.Tensor, axis: int, parts: Sequence[tuple[int | tf.Tensor, int | tf.Tensor]], y: tf.Tensor
) -> tf.Tensor:
    """Return x with y added to some parts of an axis, each (first sample, count), in place where TensorFlow can."""
    shape = dimensions(x)
    # As a matrix: the update takes longer for every sample the more axes it has.
    lines, sample = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    x = tf.reshape(x, [lines, shape[axis] * sample])
    for (first, count), part in zip(parts, tf.split(y, [count for _, count in parts], axis)):
        begin, count = first * sample, count * sample
        x = tf.raw_ops.TensorStridedSliceUpdate(
            input=x,
            begin=[0, begin],
            end=[0, begin + count],
            strides=[1, 1],
            value=slicing.samples(x, 1, begin, count) + tf.reshape(part, [lines, count]),
            begin_mask=1,
            end_mask=1,
        )
    return tf.reshape(x, shape)


def _shrink_axis(x: tf.Tensor, axis: int, taps: tf.Tensor, scale_factor: float, border: str) -> tf.Tensor:
    """Return `down` of one axis by any factor."""
    left, right = reach(taps)
    p, q = ratio(scale_factor)
    # Position i p / q is at most size - 1, as there are ceil(size q / p) outputs.
    first, remainder = divide(indices(level_size(dimensions(x)[axis], scale_factor)), p, q)
    fraction = tf.cast(to_float(remainder) / q, x.dtype)[:, None]
    zero = tf.zeros([1], x.dtype)
    weights = (1 - fraction) * tf.concat([taps, zero], 0) + fraction * tf.concat([zero, taps], 0)
    positions = first[:, None] + np.arange(taps.shape[0] + 1, dtype=np.int32)
    # An output that sits on a sample gives the sample after its taps the weight 0, which ignores NaN there.
    return weighted_reads(borders.extend(x, axis, left, right + 1, border), axis, positions, weights, taps.shape[0])


def _insert(x: tf.Tensor, sizes: Sizes, taps: tf.Tensor, step: int, border: str, fixed: bool) -> tf.Tensor:
    """Return `up` by an integer factor; the result is copied only once, when it is cut to size."""
    if fixed:
        with tf.init_scope():  # Eager mode, in which the values of the taps are known.
            taps, centre = _without_zero_ends(*_magnifying_taps(tf.constant(tf.get_static_value(taps)), step))
        taps = tf.constant(taps)
    else:
        taps, centre = _magnifying_taps(taps, step)
    # Output j reads the inputs i with j - step * i between -centre and the taps after it.
    before, after = (taps.shape[0] - 1 - centre) // step, (centre - 1) // step + 1
    for axis, size in zip((1, 2), sizes):
        x = borders.extend(x, axis, before, after, border, spacing=step, length=size)
    # Spread the width first: spreading rows is fastest if they already have their final length.
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
    # Output j depends on the inputs i with j - scale_factor * i between -reach and reach, and on its two neighbours.
    before, after = level_size(right + 1, scale_factor), level_size(left + 1, scale_factor) + 1
    x = borders.extend(x, axis, before, after, border, spacing=p / q, length=size)
    first, remainder = divide(indices(size), q, p)
    # p times the distance j / s - i of each output to the inputs it depends on, which begin at first - before + 1.
    distance = remainder[:, None] + p * np.arange(before - 1, -after - 1, -1, dtype=np.int32)
    m = array_module(distance)
    spread = p / q * _interpolated_taps(taps, distance, q)
    hat = tf.cast(m.maximum(1 - to_float(m.abs(distance)) / p, 0), x.dtype)
    weights = spread + (1 - tf.reduce_sum(spread, 1, keepdims=True)) * hat
    return weighted_reads(x, axis, first[:, None] + np.arange(1, weights.shape[1] + 1, dtype=np.int32), weights)


def reach(taps: tf.Tensor) -> tuple[int, int]:
    """Return the number of taps to the left and to the right of their centre."""
    left = (taps.shape[0] - 1) // 2
    return left, taps.shape[0] - 1 - left


def _interpolated_taps(taps: tf.Tensor, offsets: Positions, parts: int) -> tf.Tensor:
    """Return h at `offsets` from the centre of the taps, which are integers in units of 1 / `parts` of a sample."""
    left, right = reach(taps)
    padded = tf.pad(taps, [[1, 2]])
    m = array_module(offsets)
    positions = m.minimum(m.maximum(offsets + (left + 1) * parts, 0), (left + right + 2) * parts)
    low, remainder = divide(positions, 1, parts)
    fraction = tf.cast(to_float(remainder) / parts, taps.dtype)
    return (1 - fraction) * tf.gather(padded, low) + fraction * tf.gather(padded, low + 1)


def _magnifying_taps(taps: tf.Tensor, step: int) -> tuple[tf.Tensor, int]:
    """Return g of an integer factor, which depends only on j - step * i, as taps, and the index of their centre."""
    left, right = reach(taps)
    widest = max(left, right, step - 1)
    spread = step * tf.pad(taps, [[widest - left, widest - right]])
    offsets = np.arange(-widest, widest + 1)
    # The sum of the taps at each phase: outputs that lie whole steps apart use the same taps.
    steps = math.ceil(offsets.size / step)
    phases = tf.reduce_sum(tf.reshape(tf.pad(spread, [[0, steps * step - offsets.size]]), [steps, step]), 0)
    sums = tf.tile(phases, [steps])[: offsets.size]
    hat = tf.constant(np.maximum(1 - np.abs(offsets) / step, 0), taps.dtype)
    return spread + (1 - sums) * hat, widest


def _without_zero_ends(taps: tf.Tensor, centre: int) -> tuple[np.ndarray, int]:
    """Return taps without the zeros at their ends, and the new index of their centre: 0 times NaN would be NaN."""
    values = taps.numpy()
    first, last = np.flatnonzero(values)[[0, -1]]
    first, last = min(first, centre), max(last, centre)
    return values[first : last + 1], centre - first


def weighted_reads(x: tf.Tensor, axis: int, positions: Positions, weights: tf.Tensor, dense: int = 0) -> tf.Tensor:
    """Return sum_t weights[:, t] x[positions[:, t]] on `axis`: a product with a sparse matrix, a row for each output.

    A sample of weight 0 is ignored, even if it is NaN, except in the first `dense` columns, which skip that check.
    """
    shape = [1] * x.shape.rank
    shape[axis] = -1
    parts = []
    # A read of all taps at once has fewer operations, and is slower on large images, to differentiate above all.
    for t in range(weights.shape[1]):
        part, weight = slicing.read(x, axis, positions[:, t]), tf.reshape(weights[:, t], shape)
        parts.append(part * weight if t < dense else portable.multiply_no_nan(part, weight))
    return tf.add_n(parts)
