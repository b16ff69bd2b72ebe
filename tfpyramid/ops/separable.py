"""One step of a pyramid along the height and the width, as a linear map of each axis.

With n samples x, taps w[0 .. K - 1] centred at tap (K - 1) // 2, and h(u) their linear interpolation, zero beyond them,
one step by the factor s is

    down   y[i] = sum_k h(k - s i) x[k]                 i = 0 .. ceil(n / s) - 1
    up     y[j] = sum_i g(j, i) x[i]                    j = 0 .. n - 1
           g(j, i) = s h(j - s i) + (1 - s sum_i h(j - s i)) hat(j / s - i)

with x extended by the border rule, and s the fraction p / q of `_sizes.ratio`, so that positions are computed with
integers. The first term of `up` is the transpose of `down` times s. The second term, a linear interpolation, makes the
DC gain exactly 1 where the taps alone would leave a ripple or a hole. It vanishes for the binomial and the box at
factor 2. At an integer factor both are convolutions. Other factors, and `up` by a large
one, are in `fractional`.
"""

from collections.abc import Callable, Sequence
from typing import Union

import numpy as np
import tensorflow as tf

from tfpyramid._sizes import level_size, ratio
from tfpyramid.ops import axes, borders, portable, slicing
from tfpyramid.ops.fractional import down_axis, reach, up_axis
from tfpyramid.ops.linear import Linear, chain

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
        x = down_axis(x, axis, taps, scale_factor, border)
    return x


def up(x: tf.Tensor, sizes: Sizes, taps: axes.Taps, scale_factor: float, border: str) -> tf.Tensor:
    """Return `up` of the height and the width of x, to `sizes`, for taps with sum 1 and the dtype of x."""
    step, parts = ratio(scale_factor)
    if parts == 1 and step <= _LARGEST_STEP:
        return _insert(x, sizes, taps, step, border)
    for axis, size in zip((1, 2), sizes):
        x = up_axis(x, axis, size, taps, scale_factor, border)
    return x


def _decimate(x: tf.Tensor, taps: axes.Taps, step: int, border: str) -> tf.Tensor:
    """Return `down` by an integer factor."""
    known = [side for side in x.shape[1:3] if side is not None]
    is_large = len(known) == 2 and min(known) >= max(_LARGE, 4 * taps.shape[0], 4 * step)
    # Only the other end of the image has the samples beyond its border by the rule "wrap".
    if is_large and (x.shape[3] or _FEW_CHANNELS) < _FEW_CHANNELS and border != "wrap" and not portable.in_slices():
        return _decimate_in_place(x, taps, step, border)
    return _extend_and_decimate(x, taps, step, border)


def _extend_and_decimate(x: tf.Tensor, taps: axes.Taps, step: int, border: str) -> tf.Tensor:
    """Return `down` by an integer factor of images that are extended by the border rule."""
    before, after = reach(taps)
    # The last output sits at size - 1 or before, so `after` more samples are enough. Some sizes need fewer.
    if axes.at_once(x, taps):
        return axes.convolve(borders.extend_both(x, before, after, border), None, taps, step)
    if portable.in_slices() or tf.is_tensor(taps):
        for axis in (1, 2):
            x = axes.convolve(borders.extend(x, axis, before, after, border), axis, taps, step)
        return x
    shape, maps = axes.sizes(x), []
    for axis in (1, 2):
        extended, shape = borders.extension(shape, axis, before, after, border)
        convolved, shape = axes.convolution(shape, axis, taps, step)
        maps += [extended, convolved]
    return chain(*maps)(x)


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


def _insert(x: tf.Tensor, sizes: Sizes, taps: axes.Taps, step: int, border: str) -> tf.Tensor:
    """Return `up` by an integer factor; the result is copied only once, when it is cut to size."""
    taps, centre = _magnifying_taps(taps, step)
    # Output j reads the inputs i with j - step * i between -centre and the taps after it.
    before, after = (taps.shape[0] - 1 - centre) // step, (centre - 1) // step + 1
    start, (height, width) = before * step + centre, sizes
    if portable.in_slices():
        for axis, size in zip((1, 2), sizes):
            x = borders.extend(x, axis, before, after, border, spacing=step, length=size)
        for axis in (2, 1):  # Spreading rows is fastest if they already have their final length.
            x = axes.spread(x, axis, taps, step)
        return x[:, start : start + height, start : start + width]
    maps, shape = [], axes.sizes(x)
    for axis, size in zip((1, 2), sizes):
        extended, shape = borders.extension(shape, axis, before, after, border, spacing=step, length=size)
        maps.append(extended)
    spread = []
    for along in [(1, 2)] if axes.at_once(x, taps) else [(2,), (1,)]:
        for axis in along:
            shape = [*shape[:axis], (shape[axis] - 1) * step + taps.shape[0], *shape[axis + 1 :]]
        spread.append(axes.convolution(shape, along[0] if len(along) == 1 else None, taps, step)[0].reversed())
    ends = [[start, n - start - size] for n, size in zip(shape[1:3], sizes)]
    cut = Linear(
        lambda y: tf.slice(y, [0, start, start, 0], tf.stack([-1, height, width, -1])),
        lambda z: tf.pad(z, [[0, 0], *ends, [0, 0]]),
    )
    if not tf.is_tensor(taps):
        return chain(*maps, *spread, cut)(x)
    x = chain(*maps)(x)
    return chain(*spread, cut).apply(x)  # The gradient of learned taps is TensorFlow's.


def _magnifying_taps(taps: axes.Taps, step: int) -> tuple[axes.Taps, int]:
    """Return g of an integer factor, which depends only on j - step * i, as taps, and the index of their centre."""
    left, right = reach(taps)
    widest = max(left, right, step - 1)
    offsets = np.arange(-widest, widest + 1)
    distances = offsets[:, None] - np.arange(-left, right + 1)
    hat = np.maximum(1 - np.abs(offsets) / step, 0)
    product = tf.linalg.matvec if tf.is_tensor(taps) else np.matmul
    dtype = tf.as_dtype(taps.dtype).as_numpy_dtype
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
