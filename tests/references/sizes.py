"""The fraction that stands for a scale factor, and the sides of levels."""

import functools
import math
from fractions import Fraction

import numpy as np


@functools.lru_cache(maxsize=None)
def fraction(scale_factor):
    """Return the fraction p / q above 1, p up to 2^15, whose inverse is nearest to that of a factor: try every p."""
    p = np.arange(2, 2**15 + 1)
    q = np.clip(np.round(p / scale_factor), 1, p - 1).astype(int)
    best = np.argmin(np.abs(q / p - 1 / scale_factor))
    return Fraction(int(p[best]), int(q[best]))


def level_side(n, scale_factor, **_):
    return math.ceil(n / fraction(scale_factor))
