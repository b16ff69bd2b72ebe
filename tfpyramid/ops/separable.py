"""One step of a pyramid along the height and the width, as a linear map of each axis.

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

from collections.abc import Callable, Sequence
from typing import Union

import numpy as np
import tensorflow as tf

from tfpyramid._sizes import divide, level_size, ratio
from tfpyramid.ops import axes, borders, portable, slicing
from tfpyramid.ops.coordinates import Positions, array_module, indices, to_float
from tfpyramid.ops.shapes import dimensions

Sizes = Sequence[Union[int, tf.Tensor]]

# Images with fewer channels and larger sides are not copied to extend them: the additional operations take less time.
_FEW_CHANNELS, _LARGE = 8, 256

# `up` by a larger factor computes each output separately: a convolution would make many samples to be cut off.
_LARGEST_STEP = 64


def down(x: tf.Tensor, taps: axes.Taps, scale_factor: float, border: str) -> tf.Tensor:
    """Return `down` of the height and the width of x, for taps with sum 1 and the dtype of x."""
    step, parts = ratio(scale_factor)
    if parts == 1:
        return _decimate(x, taps, step, border)
    for axis in (1, 2):
        x = _shrink_axis(x, axis, taps, scale_factor, border)
    return x


def up(x: tf.Tensor, sizes: Sizes, taps: axes.Taps, scale_factor: float, border: str) -> tf.Tensor:
    """Return `up` of the height and the width of x, to `sizes`, for taps with sum 1 and the dtype of x."""
    step, parts = ratio(scale_factor)
    if parts == 1 and step <= _LARGEST_STEP:
        return _insert(x, sizes, taps, step, border)
    for axis, size in zip((1, 2), sizes):
        x = _magnify_axis(x, axis, size, taps, scale_factor, border)
    return x


def _decimate(x: tf.Tensor, taps: axes.Taps, step: int, border: str) -> tf.Tensor:
    """Return `down` by an integer factor."""
    known = [side for side in x.shape[1:3] if side is not None]
    is_large = len(known) == 2 and min(known) >= max(_LARGE, 4 * taps.shape[0], 4 * step)
    # Only the other end of the image has the samples beyond its border by the rule "wrap".
    if is_large and x.shape[3] < _FEW_CHANNELS and border != "wrap" and not portable.in_slices():
        return _decimate_in_place(x, taps, step, border)
    return _extend_and_decimate(x, taps, step, border)


def _extend_and_decimate(x: tf.Tensor, taps: axes.Taps, step: int, border: str) -> tf.Tensor:
    """Return `down` by an integer factor of images that are extended by the border rule."""
    before, after = reach(taps)
    # The last output sits at size - 1 or before, so `after` more samples are enough. Some sizes need fewer.
    if axes.at_once(x, taps):
        return axes.decimate(borders.extend_both(x, before, after, border), taps, step)
    for axis in (1, 2):
        x = axes.convolve(borders.extend(x, axis, before, after, border), axis, taps, step)
    return x


def _decimate_in_place(x: tf.Tensor, taps: axes.Taps, step: int, border: str) -> tf.Tensor:
    """Return `down` by an integer factor of large images of known size, which are not copied.

    The inner outputs have all taps inside the image, and are one convolution of x itself. The few outputs at the
    borders are computed from strips of the image, which are extended.
    """
    (left, right), length = reach(taps), taps.shape[0]
    leading = level_size(left, step)  # Outputs before the first inner one, which sits at `leading * step >= left`.
    skipped = leading * step - left  # Inputs before the first that an inner output reads.
    joined = []
    for axis in (1, 2):
        size = x.shape[axis]
        trailing = level_size(size, step) - ((size - 1 - right) // step + 1)
        x, strips = border_strips(x, axis, max(length - 1, 2), step)
        if axis == 1:
            strips = _extend_and_decimate(strips, taps, step, border)
        else:
            strips = axes.convolve(borders.extend(strips, axis, left, right, border), axis, taps, step)
        joined.append(tf.split(strips, [leading, strips.shape[axis] - leading - trailing, trailing], axis))
        x = axes.convolve(slicing.skip(x, axis, skipped), axis, taps, step)
    (top, _, bottom), (first, _, last) = joined
    return tf.concat([top, tf.concat([first, x, last], 2), bottom], 1)


def border_strips(x: tf.Tensor, axis: int, count: int, step: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return x, and x without the middle of an axis of at least 2 `count` samples: at least `count` at either end.

    The number of samples left out is a multiple of `step`, so a step of that factor computes the same outputs at the
    borders of the strips as at those of x. Use the returned x instead of the argument: its gradient adds the gradient
    of the strips in place, where the gradient of a slice would fill a tensor of zeros as large as x.
    """
    size = x.shape[axis]
    first = count + (size - 2 * count) // step * step
    parts = [(0, count), (first, size - first)]

    @tf.custom_gradient
    def run(x: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable]:
        strips = tf.concat([slicing.samples(x, axis, *part) for part in parts], axis)

        def grad(to_x: tf.Tensor, to_strips: tf.Tensor) -> tf.Tensor:
            # An upstream gradient may have lost its static shape.
            to_x = tf.ensure_shape(to_x, x.shape)
            front, back = tf.split(to_strips, [count, size - first], axis)
            return slicing.add(to_x, axis, [(0, front), (first, back)])

        return (tf.identity(x), strips), grad

    return run(x)


def _shrink_axis(x: tf.Tensor, axis: int, taps: axes.Taps, scale_factor: float, border: str) -> tf.Tensor:
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


def _insert(x: tf.Tensor, sizes: Sizes, taps: axes.Taps, step: int, border: str) -> tf.Tensor:
    """Return `up` by an integer factor; the result is copied only once, when it is cut to size."""
    taps, centre = _magnifying_taps(taps, step)
    # Output j reads the inputs i with j - step * i between -centre and the taps after it.
    before, after = (taps.shape[0] - 1 - centre) // step, (centre - 1) // step + 1
    for axis, size in zip((1, 2), sizes):
        x = borders.extend(x, axis, before, after, border, spacing=step, length=size)
    x = axes.insert(x, taps, step)
    start, (height, width) = before * step + centre, sizes
    return x[:, start : start + height, start : start + width]


def _magnify_axis(
    x: tf.Tensor, axis: int, size: int | tf.Tensor, taps: axes.Taps, scale_factor: float, border: str
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


def reach(taps: axes.Taps) -> tuple[int, int]:
    """Return the number of taps to the left and to the right of their centre."""
    left = (taps.shape[0] - 1) // 2
    return left, taps.shape[0] - 1 - left


def _interpolated_taps(taps: axes.Taps, offsets: Positions, parts: int) -> tf.Tensor:
    """Return h at `offsets` from the centre of the taps, which are integers in units of 1 / `parts` of a sample."""
    left, right = reach(taps)
    padded = tf.pad(taps, [[1, 2]])
    m = array_module(offsets)
    positions = m.minimum(m.maximum(offsets + (left + 1) * parts, 0), (left + right + 2) * parts)
    low, remainder = divide(positions, 1, parts)
    fraction = tf.cast(to_float(remainder) / parts, taps.dtype)
    return (1 - fraction) * tf.gather(padded, low) + fraction * tf.gather(padded, low + 1)


def _magnifying_taps(taps: axes.Taps, step: int) -> tuple[axes.Taps, int]:
    """Return g of an integer factor, which depends only on j - step * i, as taps, and the index of their centre."""
    left, right = reach(taps)
    widest = max(left, right, step - 1)
    offsets = np.arange(-widest, widest + 1)
    distances = offsets[:, None] - np.arange(-left, right + 1)
    hat = np.maximum(1 - np.abs(offsets) / step, 0)
    product = tf.linalg.matvec if tf.is_tensor(taps) else np.matmul
    dtype = taps.dtype.as_numpy_dtype if tf.is_tensor(taps) else taps.dtype
    spread = step * taps
    # Outputs that lie whole steps apart use the same taps.
    sums = product((distances % step == 0).astype(dtype), spread)
    taps = product((distances == 0).astype(dtype), spread) + (1 - sums) * hat.astype(dtype)
    if tf.is_tensor(taps):
        return taps, widest
    # Remove the zeros at the ends: 0 times NaN would be NaN.
    first, last = np.flatnonzero(taps)[[0, -1]]
    first, last = min(first, widest), max(last, widest)
    return taps[first : last + 1], widest - first


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
