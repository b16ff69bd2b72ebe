"""Border rules: how an image is extended beyond its border, for any size of at least one sample.

    reflect     d c b | a b c d | c b a      mirror, without repeating the edge
    symmetric   c b a | a b c d | d c b      mirror, repeating the edge
    edge        a a a | a b c d | d d d
    wrap        b c d | a b c d | a b c
    constant    0 0 0 | a b c d | 0 0 0

The names are those of `numpy.pad`. Unlike in `tf.pad`, an extension may be longer than the axis, which is then mirrored
repeatedly, and every rule accepts an axis of one sample.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.ops import portable, slicing
from tfpyramid.ops._operation import shared
from tfpyramid.ops.coordinates import Positions, array_module, to_float
from tfpyramid.ops.linear import Linear
from tfpyramid.ops.shapes import dimension, dimensions

# A gather of pixels with fewer channels is slower than slices.
_FEW = 8

# Up to this many elements, `tf.pad` is faster than a gather: it is one operation, but uses one core.
_SMALL = 2**15
_USUAL_BATCH = 32  # The number of images to expect in a batch of unknown size.

# On an axis this many times as long as its extension, its gradient is added in place. On a shorter one, a copy takes
# less time.
_LONG = 16

NAMES = ("reflect", "symmetric", "edge", "constant", "wrap")


def check(border: str) -> str:
    """Raise `ValueError` unless `border` is a known rule; return it."""
    return _checks.one_of("border", border, NAMES)


def fold(positions: Positions, size: int | tf.Tensor, border: str) -> Positions:
    """Return the positions inside the axis that the border rule maps `positions` to, for samples at 0 to size - 1.

    Args:
        positions: any shape, integer or floating, in samples; any value.
        size: at least 1; a number, or a scalar tensor of the dtype of `positions`.
        border: "reflect", "symmetric", "edge" or "wrap". "constant" folds like "edge": the caller adds the zeros.

    Returns:
        The folded positions, between 0 and size - 1 (for "wrap" of a floating position: less than size).
    """
    m = array_module(positions, size)
    size = tf.cast(size, positions.dtype) if tf.is_tensor(positions) else size
    last = size - 1
    if border == "reflect":
        end = 2 * last
        positions = portable.remainder(positions, m.maximum(end, 1))
        positions = m.minimum(positions, end - positions)
    elif border == "symmetric":
        positions = portable.remainder(positions, 2 * size)
        positions = m.minimum(positions, 2 * size - 1 - positions)
    elif border == "wrap":
        return portable.remainder(positions, size)
    if border in ("reflect", "symmetric") and tf.as_dtype(positions.dtype).is_integer:
        return positions  # Only fractions can lie beyond the axis now.
    return m.minimum(m.maximum(positions, 0), last)


def is_small(x: tf.Tensor) -> bool:
    """Return whether images are known to have so few elements that the number of operations decides their cost."""
    known = [n or _USUAL_BATCH if k == 0 else n for k, n in enumerate(x.shape)]
    return None not in known and math.prod(known) <= _SMALL


def extend_both(x: tf.Tensor, before: int, after: int, border: str) -> tf.Tensor:
    """Return small images extended by a border rule, by the same number of samples on both axes."""
    mode = {"reflect": "REFLECT", "symmetric": "SYMMETRIC", "constant": "CONSTANT"}.get(border)
    most = max(before, after) + (border == "reflect")
    fits = border == "constant" or all(side is not None and side >= most for side in x.shape[1:3])
    if mode and fits:
        return tf.pad(x, [[0, 0], [before, after], [before, after], [0, 0]], mode)
    for axis in (1, 2):
        x = extend(x, axis, before, after, border)
    return x


def extend(
    x: tf.Tensor,
    axis: int,
    before: int,
    after: int,
    border: str,
    *,
    spacing: float = 1.0,
    length: int | tf.Tensor | None = None,
) -> tf.Tensor:
    """Return `x` extended on `axis` by `before` and `after` samples, by a border rule.

    The samples of `x` may belong to a coarse level, `spacing` apart on an axis of `length` fine samples. Then the rule
    applies to the fine axis. A coarse sample beyond the border is the linear interpolation of the coarse samples at the
    position that its fine position folds to.

    Args:
        x: tensor with a non-empty `axis`.
        axis: the axis to extend.
        before: number of samples to add before the first, at least 0.
        after: number of samples to add after the last, at least 0.
        border: one of `NAMES`.
        spacing: distance of two samples of `x`, in samples of the fine axis.
        length: number of samples of the fine axis; required if `spacing` is not 1.
    """
    if before == after == 0:
        return x
    if border == "constant":
        return tf.pad(x, [[before, after] if k == axis else [0, 0] for k in range(x.shape.rank)])
    if not portable.in_slices():
        return _extended(x, axis, before, after, border, spacing, length)
    size = dimension(x, axis)

    def strip(outside: Positions) -> tf.Tensor:
        if spacing == 1:
            return slicing.read(x, axis, fold(outside, size, border))
        return slicing.read_linear(x, axis, fold(to_float(outside) * spacing, to_float(length), border) / spacing)

    if tf.is_tensor(size):  # Read both strips at once, because each read is many operations.
        outside = np.arange(-before, after, dtype=np.int32)
        front, back = tf.split(strip(size * np.int32(outside >= 0) + outside), [before, after], axis)
        return tf.concat([front, x, back], axis)
    parts = [strip(np.arange(-before, 0))] if before else []
    parts.append(x)
    parts += [strip(np.arange(size, size + after))] if after else []
    return tf.concat(parts, axis)


@shared
def _extended(
    x: tf.Tensor, axis: int, before: int, after: int, border: str, spacing: float, length: int | tf.Tensor | None
) -> tf.Tensor:
    return extension(dimensions(x), axis, before, after, border, spacing=spacing, length=length)[0](x)


def extension(
    shape: Sequence[int | tf.Tensor],
    axis: int,
    before: int,
    after: int,
    border: str,
    *,
    spacing: float = 1.0,
    length: int | tf.Tensor | None = None,
) -> tuple[Linear, list[int | tf.Tensor]]:
    """Return `extend` of tensors of a shape as a map, and the shape of its result. Other runtimes cannot run it.

    The transpose adds the additional samples in place.
    """
    size = shape[axis]
    extended = [*shape[:axis], size + (before + after), *shape[axis + 1 :]]
    if border == "constant":
        margins = [[before, after] if k == axis else [0, 0] for k in range(len(shape))]
        return Linear(lambda x: tf.pad(x, margins), lambda y: slicing.samples(y, axis, before, size)), extended
    index, weights = _beyond(size, before, after, border, spacing, length)
    is_short = isinstance(size, int) and size < _LONG * (before + after) and weights is None
    in_rows = axis == 1 or not isinstance(shape[-1], int) or shape[-1] >= _FEW

    def apply(x: tf.Tensor) -> tf.Tensor:
        if spacing == 1 and in_rows and isinstance(size, int):
            everything = fold(np.arange(-before, size + after), size, border)
            return tf.gather(x, everything.astype(np.int32), axis=axis)
        ends = slicing.weighted(slicing.read(x, axis, index), axis, weights)
        if weights is not None:
            ends = tf.add_n(tf.split(ends, 2, axis))
        front, back = tf.split(ends, [before, after], axis)
        return tf.concat([front, x, back], axis)

    def transpose(y: tf.Tensor) -> tf.Tensor:
        if is_short and slicing.are_apart(index, before):
            return slicing.fold_ends(y, axis, index, before, size)
        front, inner, back = tf.split(y, [before, size, after], axis)
        ends = tf.concat([front, back] if weights is None else 2 * [front, back], axis)
        return slicing.add_at(inner, shape, axis, index, slicing.weighted(ends, axis, weights), before)

    return Linear(apply, transpose), extended


def _beyond(
    size: int | tf.Tensor, before: int, after: int, border: str, spacing: float, length: int | tf.Tensor | None
) -> tuple[Positions, Positions | None]:
    """Return the indices that the additional samples read, and their weights; between two samples, two of each."""
    is_after = np.repeat(np.arange(2, dtype=np.int32), [before, after])
    outside = np.concatenate([np.arange(-before, 0), np.arange(after)]).astype(np.int32)
    if spacing == 1:
        return fold(size * is_after + outside, size, border), None
    if isinstance(spacing, int):  # Integers take fewer operations.
        positions = fold(size * (spacing * is_after) + spacing * outside, length, border)
        m = array_module(positions)
        low, rest = positions // spacing, positions % spacing
        high = m.minimum(low + m.minimum(rest, 1), size - 1)
        fraction = to_float(rest) / spacing if tf.is_tensor(rest) or rest.any() else None
    else:
        positions = to_float(size * is_after + outside) * spacing
        positions = fold(positions, to_float(length), border) / spacing
        low, high, fraction = slicing.neighbours(positions, size)
    if fraction is None:
        return low, None
    join = np.concatenate if isinstance(low, np.ndarray) else functools.partial(tf.concat, axis=0)
    return join([low, high]), join([1 - fraction, fraction])
