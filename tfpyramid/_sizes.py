"""Sides of levels, and positions on them, computed with integers.

A factor stands for the fraction p / q, and n samples become ceil(n q / p). Floating-point division would give different
sizes: a graph multiplies by 1 / 1.4 instead of dividing by 1.4, and other runtimes divide in float32. Integers give the
same result in Python, in a graph, under XLA and in other runtimes.
"""

import functools
import math
from collections.abc import Iterable
from fractions import Fraction
from typing import TypeVar

import numpy as np
import tensorflow as tf

Count = TypeVar("Count", int, np.ndarray, tf.Tensor)
Size = TypeVar("Size", int, tf.Tensor, None)
Number = TypeVar("Number", int, float)

# Products of p and q are then below 2^30, so int32 holds them. Some runtimes have no larger integers.
_LARGEST = 2**15

# How many samples a level may lack because kernels had no padding. A 3 by 3 convolution leaves out two, and pooling of
# 3 by 3 with stride 2 leaves out one of an even side. More than a fifth would hide a wrong factor, but maps of a few
# samples may lack one.
UNPADDED = 3


@functools.lru_cache(maxsize=1024)
def ratio(factor: float) -> tuple[int, int]:
    """Return the integers p and q of the fraction p / q that stands for a positive factor.

    The inverse q / p of a factor above 1 is the nearest fraction with p up to 2^15: 1.4 is 7 / 5, and the square root
    of 2 is 19601 / 13860. So over n samples positions change by less than n / (2^15 q) samples. A factor above 2^15 is
    rounded to an integer. A factor other than 1 never becomes 1. For a factor below 1, p and q are exchanged.
    """
    if factor < 1:
        p, q = _ratio_above_one(1 / Fraction(factor))
        return q, p
    return _ratio_above_one(Fraction(factor))


def _ratio_above_one(factor: Fraction) -> tuple[int, int]:
    if factor > _LARGEST:
        return min(round(factor), 2**31 - 1), 1
    inverse = (1 / factor).limit_denominator(_LARGEST)
    if inverse == 1 and factor > 1:
        inverse = Fraction(_LARGEST - 1, _LARGEST)
    return inverse.denominator, inverse.numerator


def power(factor: float, steps: int) -> float:
    """Return factor^steps, the ratio of two levels, but at most 2^31, which is more than any side."""
    return factor**steps if steps * math.log2(factor) < 31 else 2.0**31


def divide(count: Count, numerator: int, denominator: int) -> tuple[Count, Count]:
    """Return floor(count numerator / denominator), and the remainder of that division."""
    if not tf.is_tensor(count):
        return count * numerator // denominator, count * numerator % denominator
    if denominator == 1:
        return count * numerator, tf.zeros_like(count)
    # count * numerator might overflow int32. Split off multiples of the denominator first.
    multiples = count // denominator
    part = count - multiples * denominator
    if numerator == 1:
        return multiples, part
    part = part * numerator
    whole = part // denominator
    return multiples * numerator + whole, part - whole * denominator


def level_size(size: Size, factor: float) -> Size:
    """Return ceil(size / factor), the side of the next level: an int, an int32 tensor or None, like `size`."""
    if size is None:
        return None
    p, q = ratio(factor)
    if not tf.is_tensor(size):
        return -(-size * q // p)
    whole, remainder = divide(tf.cast(size, tf.int32), q, p)
    return whole + tf.minimum(remainder, 1)  # On a GPU, a cast of booleans would leave the host.


def level_sizes(sizes: Iterable[Size], factor: float) -> tuple[Size, ...]:
    """Return ceil(size / factor) for each size: the sides of the next level."""
    return tuple(level_size(size, factor) for size in sizes)


def per_axis(value: Number | tuple[Number, Number]) -> tuple[Number, Number]:
    """Return (rows, columns) for a number that is the same on both axes, or for two."""
    return value if isinstance(value, tuple) else (value, value)


def rounded_down(size: int | tf.Tensor, factor: float) -> int | tf.Tensor:
    """Return max(1, floor(size / factor)), the output side of a strided layer without padding."""
    p, q = ratio(factor)
    if not tf.is_tensor(size):
        return max(1, size * q // p)
    return tf.maximum(divide(tf.cast(size, tf.int32), q, p)[0], 1)


def smallest_next(size: int | tf.Tensor, factor: float) -> int | tf.Tensor:
    """Return the smallest side of the level after one of this size: rounded down, and less without padding.

    Kernels without padding leave out samples, at integer factors: 72 becomes 33 in InceptionV3.
    """
    down = rounded_down(size, factor)
    if ratio(factor)[1] != 1:
        return down
    if tf.is_tensor(size):
        return tf.maximum(down - tf.clip_by_value(down // 5, 1, UNPADDED), 1)
    return max(down - min(max(down // 5, 1), UNPADDED), 1)


def finer_size(size: Size, factor: float) -> Size:
    """Return floor(size * factor), the largest side with this `level_size`: an int, an int32 tensor or None."""
    if size is None:
        return None
    return divide(tf.cast(size, tf.int32) if tf.is_tensor(size) else size, *ratio(factor))[0]


def rounded_size(size: int | tf.Tensor, factor: float) -> int | tf.Tensor:
    """Return size / factor rounded to the nearest integer, halves to even, and at least 1."""
    p, q = ratio(factor)
    if not tf.is_tensor(size):
        return max(1, round(Fraction(size * q, p)))
    whole, remainder = divide(tf.cast(size, tf.int32), q, p)
    # 1 if the remainder is above p / 2, or if it is p / 2 and `whole` is odd.
    up = tf.clip_by_value(remainder - (p - remainder) + whole % 2, 0, 1)
    return tf.maximum(whole + up, 1)


def quotient(size: int | tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Return size / factor, ready to be rounded up, down or to the nearest, for a factor that is a tensor.

    A floating-point factor such as 2.7 is slightly above or below its decimal value, and so are its quotients. So a
    quotient within four units in the last place of an integer or a half is rounded to it. The comparison uses a
    product, which is rounded the same way everywhere; the rounding of a division depends on whether the factor is a
    constant of the graph.
    """
    size = tf.cast(size, factor.dtype)
    exact = size / factor
    half = tf.round(2 * exact) / 2
    product, tolerance = half * factor, 4 * np.finfo(factor.dtype.as_numpy_dtype).eps
    near = (product >= size * (1 - tolerance)) & (product <= size * (1 + tolerance))
    return tf.where(near, half, exact)
