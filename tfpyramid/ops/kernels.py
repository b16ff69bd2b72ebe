"""The `kernel` argument of the pyramids: its check, its taps and its phase; and kernels of DC gain 1."""

import math
from collections.abc import Sequence
from typing import Any, Union

import numpy as np
import tensorflow as tf

from tfpyramid import _checks, _plain
from tfpyramid._sizes import power, ratio
from tfpyramid.ops._operation import operation
from tfpyramid.ops.taps import binomial, box, gaussian

NAMES = ("binomial", "gaussian", "box", "bilinear")

# Useful shifts are shorter than a kernel. A larger one is probably a mistaken `phase`.
_MAX_SHIFT = 1024

Kernel = Union[None, str, Sequence[float], np.ndarray, tf.Tensor, tf.Variable]


@operation
def normalize_kernel(
    values: tf.Tensor, normalization: str | None = "sum", *, axes: int | Sequence[int] = (0, 1)
) -> tf.Tensor:
    """Return learned values as kernels with DC gain 1.

    Equation:
        over the n taps of each kernel: "sum": `w = v + (1 - sum v) / n`, the nearest taps of sum 1, of either sign;
        "softmax": `w = exp(v) / sum exp(v)`, positive taps of sum 1; None: `w = v`.

    Convention:
        "sum" adds instead of dividing, so it remains finite if the sum of the taps passes through zero during training.
        Taps of either sign can sharpen. Positive taps are a mean, so they amplify no frequency, not even an alias.

    Args:
        values: floating tensor; one kernel for each index into the axes that are not in `axes`.
        normalization: "sum", "softmax" or None.
        axes: one or more axes of known size, along which the taps of a kernel lie.

    Returns:
        Tensor of the same shape and dtype.

    Raises:
        ValueError: if an argument breaks a rule above.
    """
    values = _checks.floating_tensor("values", values)
    axes = _check_axes(axes, values.shape)
    taps = [values.shape[axis] for axis in axes]
    if not all(taps):
        raise ValueError(
            f"`values` must have a known number of taps, at least 1, along the axes {axes}. "
            f"Received: values of shape {values.shape}"
        )
    if check_normalization(normalization) is None:
        return values
    if normalization == "sum":
        return values + (1 - tf.reduce_sum(values, axes, keepdims=True)) / math.prod(taps)
    powers = tf.exp(values - tf.reduce_max(values, axes, keepdims=True))
    return powers / tf.reduce_sum(powers, axes, keepdims=True)


def _check_axes(value: object, shape: tf.TensorShape) -> list[int]:
    """Return the axes that `normalize_kernel` sums over."""
    given = _checks.plain(value)
    axes = list(given) if isinstance(given, (list, tuple)) else [given]
    axes = [_checks.integer("axes", axis, None, "or a list of integers: the axes of a kernel") for axis in axes]
    rank = shape.rank or 0
    if not axes or any(not -rank <= axis < rank for axis in axes) or len({axis % rank for axis in axes}) < len(axes):
        raise ValueError(
            "`axes` must be one or more axes of `values`, each given once. "
            f"{_checks.received('axes', value)}, values of shape {shape}"
        )
    return axes


def check_normalization(normalization: str | None) -> str | None:
    """Raise `ValueError` unless `normalize_kernel` supports `normalization`; return it."""
    if normalization is None:
        return None
    return _checks.one_of("normalization", normalization, ("sum", "softmax", None))


def prefilter_sigma(scale_factor: float) -> float:
    """Return the standard deviation, in samples, of the Gaussian that blurs before a step by `scale_factor`.

    Equation: `sigma = 2 scale_factor / 6`, so that a band of three deviations either side spans two output samples.

    References:
        scikit-image, `skimage.transform.pyramid_reduce`, argument `sigma`.
    """
    return 2 * scale_factor / 6


def check(kernel: Any) -> Kernel:
    """Raise `ValueError` unless `kernel` is None, a known name, or taps with a sum other than zero; return it."""
    if kernel is None:
        return None
    if isinstance(kernel, str):
        return _checks.one_of("kernel", kernel, NAMES)
    if _checks.is_tensor(kernel) or isinstance(kernel, np.ma.MaskedArray):
        kernel = _checks.floating_tensor("kernel", kernel)
        if kernel.shape.rank != 1 or not kernel.shape[0]:
            raise ValueError(f"`kernel` must be a vector of at least one tap. Received: kernel of shape {kernel.shape}")
        return kernel
    taps = _plain.real_array(kernel)
    if taps is None:
        raise ValueError(
            f"`kernel` must be None, one of {', '.join(map(repr, NAMES))}, or a vector of taps. "
            f"{_checks.received('kernel', kernel)}"
        )
    if taps.ndim != 1 or taps.size == 0:
        raise ValueError(f"`kernel` must be a vector of at least one tap. Received: kernel of shape {taps.shape}")
    # Compare with the size of the taps: rounding leaves a small sum, which taps must not be divided by.
    largest = np.abs(taps).max()
    if not 0 < largest < np.inf or abs((taps / largest).sum()) <= 1e-6 * np.abs(taps / largest).sum():
        raise ValueError(
            "`kernel` must be finite taps with a sum other than zero, because they are divided by it. "
            f"{_checks.received('kernel', kernel)}"
        )
    return taps


def check_constant(kernel: Any) -> None | str | tuple[float, ...]:
    """Return a kernel that can be saved in a configuration; raise `ValueError` for tensors."""
    if _checks.is_tensor(kernel):
        raise ValueError(
            "`kernel` must be None, a name or a list of numbers, so that the layer can be saved. Use LearnablePyramid "
            f"for kernels that are learned. Received: kernel of type {type(kernel).__name__}"
        )
    return hashable(kernel)


def hashable(kernel: Any) -> Any:
    """Return a checked kernel: None, a name, a tuple of numbers or a tensor."""
    kernel = check(kernel)
    return tuple(kernel.tolist()) if isinstance(kernel, np.ndarray) else kernel


def taps_of(kernel: Kernel, scale_factor: float, dtype: tf.DType) -> np.ndarray | tf.Tensor:
    """Return the taps that `kernel` stands for at `scale_factor`: a `dtype` vector of sum 1, NumPy's if it is constant.

    | kernel | taps |
    | --- | --- |
    | None | "binomial" at factor 2, "gaussian" at any other |
    | "binomial" | [1 4 6 4 1] / 16 |
    | "gaussian" | sampled Gaussian of sigma 2 scale_factor / 6, cut at four deviations |
    | "box" | ceil(scale_factor) equal taps: at factor 2 the mean of a cell, the mipmap |
    | "bilinear" | [1 1] / 2 |
    | a vector | itself, divided by its sum; a tensor or variable gets a gradient |
    """
    kernel = check(kernel)
    if tf.is_tensor(kernel):
        taps = tf.cast(kernel, dtype)
        return taps / tf.reduce_sum(taps)
    return _known_taps(kernel, scale_factor).astype(dtype.as_numpy_dtype)


def _known_taps(kernel: Any, scale_factor: float) -> np.ndarray:
    """Return the float64 taps, of sum 1, for a kernel that is None, a name or numbers."""
    p, q = ratio(scale_factor)
    if kernel is None:
        kernel = "binomial" if (p, q) == (2, 1) else "gaussian"
    if isinstance(kernel, str):
        return {
            "binomial": lambda: binomial(5),
            "gaussian": lambda: gaussian(prefilter_sigma(scale_factor)),
            "box": lambda: box(math.ceil(p / q)),
            "bilinear": lambda: box(2),
        }[kernel]()
    taps = np.asarray(kernel, np.float64)
    taps = taps / np.abs(taps).max()  # The sum of large taps would overflow.
    return taps / taps.sum()


@operation
def phase(kernel: Kernel = None, scale_factor: float = 2.0) -> float:
    """Return the position of output sample 0 of `pyr_down` with a kernel, in samples of the input.

    Pass it as `phase` to functions and layers that align levels.

    Equation: `d = sum_k k w[k] - (K - 1) // 2`, the centroid of the K taps w, relative to the tap on a sample.

    Convention:
        Output sample i of one step by the factor s sits at i * s + d of the input, so sample i of level k sits at
        `i s^k + d (s^k - 1) / (s - 1)` of level 0. The phase is 0 for an odd number of symmetric taps, such as the
        default, and 1/2 for an even number, such as "bilinear", or "box" at factor 2 (the mipmap):

            level 0   0   1   2   3   4   5   6   7
            level 1     0       1       2       3           "box": at 2 i + 1/2
            level 2         0               1               "box": at 4 i + 3/2

    Args:
        kernel: prefilter taps, as in `pyr_down`. The values of a tensor or variable may change, so its phase is that of
            symmetric taps of its length, 0 or 1/2.
        scale_factor: ratio of the sides of input and output, greater than 1 and at most 1024.

    Returns:
        A float, in samples.

    Raises:
        ValueError: if an argument breaks a rule above.
    """
    kernel, scale_factor = check(kernel), _checks.scale_factor(scale_factor)
    if isinstance(kernel, tf.Tensor):
        return symmetric_phase(kernel.shape[0])
    taps = _known_taps(kernel, scale_factor)
    if np.array_equal(taps, taps[::-1]):  # The sum below would not be exact.
        return symmetric_phase(taps.size)
    return float(np.dot(np.arange(taps.size), taps)) - (taps.size - 1) // 2


def symmetric_phase(size: int) -> float:
    """Return the phase of `size` symmetric taps, or of the centre of a window of that size."""
    return (size - 1) % 2 / 2


def phase_after(phase: float, scale_factor: float, steps: int) -> float:
    """Return the position of sample 0 after several steps of one phase, in samples of the first level."""
    return phase * (power(scale_factor, steps) - 1) / (scale_factor - 1)


def at_phase(kernel: Kernel, scale_factor: float, target: float) -> Kernel:
    """Return the taps of a kernel, moved to another phase by linear interpolation if it has a different one."""
    shift = target - phase(kernel, scale_factor)
    if shift == 0:
        return kernel
    if abs(shift) > _MAX_SHIFT:  # The vector of taps grows with the shift.
        raise ValueError(
            f"`phase` must be at most {_MAX_SHIFT} samples from the phase of the kernel of `pyr_down`, "
            f"{target - shift:g}. Received: phase={target:g}"
        )
    learned = _checks.is_tensor(kernel)
    taps = tf.convert_to_tensor(kernel) if learned else _known_taps(kernel, scale_factor)
    pad = tf.pad if learned else np.pad
    whole = math.floor(shift)
    fraction = shift - whole
    # The moved taps reach from `first` to `last`, in samples from the centre.
    first = whole - (taps.shape[0] - 1) // 2
    last = first + taps.shape[0] - (fraction == 0)
    # Zeros before or after them make the tap at 0 the central one of the vector.
    left = max(-first, last - 1, 0)
    before, after = left + first, max(last, left) - last
    if fraction == 0:
        return pad(taps, [[before, after]])
    return (1 - fraction) * pad(taps, [[before, after + 1]]) + fraction * pad(taps, [[before + 1, after]])
