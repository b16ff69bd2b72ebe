"""One step of a pyramid along one axis, by a factor that is not an integer: convolutions and linear interpolations.

Sample i of the coarse axis sits at i p / q of the fine axis. Two matrices interpolate linearly between the axes:

    fine[i, m]   = max(0, 1 - |p i - q m| / q)      the fine samples at the positions of the coarse ones
    coarse[i, m] = max(0, 1 - |p i - q m| / p)      its transpose: the coarse samples at the positions of the fine ones

With C the convolution with the taps, of images that the border rule has extended, and ' for a transpose, the steps of
`separable` are

    down = fine C x
    up   = s C' fine' x + r coarse' x               r = 1 - s C' fine' 1

Each row and column of a matrix has a few entries. So the product with it, and the gradient, which is the product with
its transpose, each read a few samples for an output. A sample of weight 0 is ignored, even if it is NaN.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfpyramid._sizes import divide, level_size, ratio
from tfpyramid.ops import axes, borders, portable, slicing
from tfpyramid.ops.coordinates import Positions, array_module, indices, to_float
from tfpyramid.ops.shapes import dimension

# By larger factors, few samples of the blurred image are read, and a convolution of all of them takes longer.
_LARGEST_FACTOR = 10


def down_axis(x: tf.Tensor, axis: int, taps: axes.Taps, scale_factor: float, border: str) -> tf.Tensor:
    """Return `down` of one axis by any factor."""
    left, right = reach(taps)
    p, q = ratio(scale_factor)
    count = level_size(dimension(x, axis), scale_factor)
    # The last output may lie between the last sample and the one after it.
    x = borders.extend(x, axis, left, right + 1, border)
    if scale_factor <= _LARGEST_FACTOR:
        return _interpolate(axes.convolve(x, axis, taps, 1), axis, count, p, q, [q])[0]
    # Blur at two positions for each output, from a copy of the samples under its taps.
    length = taps.shape[0] + 1
    first, remainder = divide(indices(count), p, q)
    x = slicing.read(x, axis, tf.reshape(first[:, None] + np.arange(length, dtype=np.int32), [-1]))
    before, after = (axes.convolve(slicing.skip(x, axis, k), axis, taps, length) for k in (0, 1))
    fraction = slicing.along(to_float(remainder) / q, x, axis)
    return before * (1 - fraction) + portable.multiply_no_nan(after, fraction)


def up_axis(
    x: tf.Tensor, axis: int, size: int | tf.Tensor, taps: axes.Taps, scale_factor: float, border: str
) -> tf.Tensor:
    """Return `up` of one axis by any factor, to `size` samples."""
    left, right = reach(taps)
    p, q = ratio(scale_factor)
    # Output j depends on the inputs i with j - scale_factor * i between -reach and reach, and on its two neighbours.
    before, after = level_size(right + 1, scale_factor), level_size(left + 1, scale_factor) + 1
    shape = [*x.shape[:axis], None, *x.shape[axis + 1 :]]  # A broadcast sum may lose what is known.
    x = borders.extend(x, axis, before, after, border, spacing=p / q, length=size)
    if scale_factor > _LARGEST_FACTOR:
        return weighted_sum(x, axis, *_weights_of_outputs(size, taps, p, q, before, after))
    # The convolution reads `right` samples before the first output, and `left` samples after the last.
    count, offset = size + left + right, p * before - q * right
    spread, line = _interpolate(x, axis, count, q, p, [q, p], offset)
    taps = p / q * taps[::-1]
    totals = _hats(_neighbours(count, dimension(x, axis), q, p, p, offset)[1], q)
    totals = tf.cast(sum(_rows(totals)), x.dtype)
    ripple = 1 - tf.nn.conv1d(totals[None, :, None], taps[:, None, None], 1, "VALID")[0, :, 0]
    line = portable.multiply_no_nan(slicing.samples(line, axis, right, size), slicing.along(ripple, x, axis))
    y = axes.convolve(spread, axis, taps, 1) + line
    y.set_shape(shape)
    return y


def reach(taps: axes.Taps) -> tuple[int, int]:
    """Return the number of taps to the left and to the right of their centre."""
    left = (taps.shape[0] - 1) // 2
    return left, taps.shape[0] - 1 - left


def _interpolate(
    x: tf.Tensor,
    axis: int,
    count: int | tf.Tensor,
    outputs: int,
    inputs: int,
    widths: Sequence[int],
    offset: int = 0,
) -> list[tf.Tensor]:
    """Return the sums over j of max(0, 1 - |outputs k + offset - inputs j| / width) x[j], for k < count and each width.

    The gradient is the same sum with the outputs and the inputs exchanged.
    """

    @tf.custom_gradient
    def run(x: tf.Tensor, *unknown: tf.Tensor) -> tuple:
        size = dimension(x, axis)
        length = unknown[0] if unknown else count
        positions, distances = _neighbours(length, size, outputs, inputs, max(widths), offset)
        reads = [slicing.read(x, axis, row) for row in _rows(positions)]
        sums = [_sum(reads, axis, _hats(distances, width)) for width in widths]

        def grad(*upstream: tf.Tensor) -> tuple:
            parts = []
            for width, part in zip(widths, upstream):
                part = tf.ensure_shape(part, sums[0].shape)
                parts += _interpolate(part, axis, size, inputs, outputs, [width], -offset)
            return tf.add_n(parts), *[None] * len(unknown)

        return tuple(sums), grad

    # An argument, because the gradient's gradient cannot reach the graph that computes the count.
    sums = run(x, *[count] * tf.is_tensor(count))
    for each in sums:  # A broadcast product has lost the sizes that are known.
        each.set_shape([*x.shape[:axis], None, *x.shape[axis + 1 :]])
    return list(sums)


def _neighbours(
    count: int | tf.Tensor, size: int | tf.Tensor, outputs: int, inputs: int, width: int, offset: int
) -> tuple[Positions, Positions]:
    """Return the inputs within `width` of each of `count` outputs, at most, and their distances, for `_interpolate`.

    Both are [inputs of an output, count]. A position beyond the axis becomes one on it with a distance of `width` or
    more, so its weight is 0.
    """
    if tf.is_tensor(size):  # All in int32, like the size.
        count = tf.convert_to_tensor(count)
    begin, start = divmod(offset - width, inputs)
    whole, rest = divide(indices(count), outputs, inputs)
    if start:
        more, rest = divide(rest + start, 1, inputs)
        whole = whole + more
    # Input 0 of those within `width` lies `width - rest` samples before the output, and each next `inputs` further on.
    numbers = np.arange(1, 1 + level_size(2 * width, inputs), dtype=np.int32)[:, None]
    positions = whole + (begin + numbers)
    m = array_module(positions)
    inside = m.minimum(m.maximum(positions, 0), size - 1)
    return inside, m.abs(rest + (width - inputs * numbers)) + width * m.abs(positions - inside)


def _hats(distances: Positions, width: int) -> Positions:
    return to_float(array_module(distances).maximum(width - distances, 0)) / width


def _weights_of_outputs(
    size: int | tf.Tensor, taps: axes.Taps, p: int, q: int, before: int, after: int
) -> tuple[Positions, tf.Tensor]:
    """Return the extended inputs that each output of `up` depends on, and their weights g, [inputs, size]."""
    first, remainder = divide(indices(size), q, p)
    # p times the distance j / s - i of each output to the inputs it depends on, which begin at first - before + 1.
    distance = remainder + p * np.arange(before - 1, -after - 1, -1, dtype=np.int32)[:, None]
    spread = p / q * _interpolated_taps(taps, distance, q)
    hat = tf.cast(_hats(array_module(distance).abs(distance), p), taps.dtype)
    weights = spread + (1 - tf.reduce_sum(spread, 0)) * hat
    return first + np.arange(1, before + after + 1, dtype=np.int32)[:, None], weights


def _interpolated_taps(taps: axes.Taps, offsets: Positions, parts: int) -> tf.Tensor:
    """Return h at `offsets` from the centre of the taps, which are integers in units of 1 / `parts` of a sample."""
    left, right = reach(taps)
    padded = tf.pad(taps, [[1, 2]])
    m = array_module(offsets)
    positions = m.minimum(m.maximum(offsets + (left + 1) * parts, 0), (left + right + 2) * parts)
    low, remainder = divide(positions, 1, parts)
    fraction = tf.cast(to_float(remainder) / parts, taps.dtype)
    return (1 - fraction) * tf.gather(padded, low) + fraction * tf.gather(padded, low + 1)


def weighted_sum(x: tf.Tensor, axis: int, positions: Positions, weights: Positions) -> tf.Tensor:
    """Return the sum over t of weights[t] x[positions[t]] on an axis. A sample of weight 0 is ignored, even if NaN."""
    return _sum([slicing.read(x, axis, row) for row in _rows(positions)], axis, weights)


def _sum(reads: Sequence[tf.Tensor], axis: int, weights: Positions) -> tf.Tensor:
    weights = _rows(slicing.along(weights, reads[0], axis))
    return tf.add_n([portable.multiply_no_nan(read, weight) for read, weight in zip(reads, weights)])


def _rows(values: Positions) -> list[Positions]:
    return tf.unstack(values) if tf.is_tensor(values) else list(values)
