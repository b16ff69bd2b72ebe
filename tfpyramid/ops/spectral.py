"""Downsampling in the Fourier domain, as a product with one real matrix for each axis.

A Fourier transform, a mask, a crop and an inverse transform are linear. If the mask is separable and Hermitian (the
same for f and -f), they are a real matrix for each axis, and no complex numbers are needed. With n samples x, m samples
y, and the gain g(f) of the frequency of f cycles per image,

    y[i] = sum_k A[i, k] x[k]        A[i, k] = 1/n sum_f g(f) cos(2 pi f (i / m - k / n))      f = -m/2 .. m/2

which is a product of two small tables, the cosines and sines of m and of n, with g in between.
"""

import math
from collections.abc import Sequence
from typing import Any, Union

import tensorflow as tf

from tfpyramid import _checks, _sizes
from tfpyramid.ops import portable, straight_through
from tfpyramid.ops._operation import operation
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.shapes import dimensions

Strides = Union[float, Sequence[float], tf.Tensor, tf.Variable]


@operation
def spectral_pool(
    images: tf.Tensor,
    strides: Strides,
    output_size: int | Sequence[int] | None = None,
    *,
    smoothness: float = 4.0,
    hard: bool = False,
) -> tf.Tensor:
    """Return the images downsampled by keeping their low frequencies; strides may be fractional and get gradients.

    Equation:
        on each axis, of n samples: `X = fft(x)`, `y = (m / n) ifft(crop(mask(f) X[f]))`, with
        `mask(f) = clip((cut - |f|) / min(smoothness, cut), 0, 1)`, f in cycles per image, and `cut = n / (2 strides)`,
        the highest frequency that n / strides samples can represent.

    Forward (`hard=True`):  `mask(f) = 1`: only the crop, to `round(n / strides)` frequencies, halves to even.
    Backward (`hard=True`): the gradient of the soft mask at the frequencies that are kept.

    Convention:
        A side of n becomes `m = ceil(n / strides)`, or `max(1, round(n / strides))` with `hard=True`. Output sample i
        sits at i n / m of the input. The border is always periodic: the right edge continues at the left. DC gain is 1.
        Every output depends on every pixel of its channel, so one NaN or infinity makes all of them NaN. If the number
        of frequencies is even, the highest is split equally between +m/2 and -m/2. So real images give real results,
        and transposing the images, with the strides exchanged, transposes the result.
        In these sizes, strides that are numbers stand for fractions, as the factor of `pyr_down` does. If they are a
        tensor, n / strides is rounded to an integer or a half if it is within four units in the last place of one. So
        the size is the same in eager mode, in a graph and under XLA. The mask uses the exact strides.
        The gradient of `strides` is that of the mask, for a fixed size. If a frequency lies exactly at an end of the
        mask's slope (at `cut`, or `smoothness` below it), the derivative is that of the slope. So integer strides,
        which often start there, can move either way. If `cut` equals `smoothness`, it is the derivative towards larger
        strides. A stride above n / 2 has no gradient, because its soft mask keeps only the mean.

    Cost:
        The result equals the Fourier form, but each axis is a product with a matrix [m, n]: n multiplications for each
        output, or m for each input, where a fast Fourier transform takes of the order of log n. It is computed in
        float32, or float64 for float64 images, without complex numbers.

    Args:
        images: [batch, height, width, channels], floating point; sides of at least 1, known or not.
        strides: (s_y, s_x), or a number for both, from 1 to 1024. A tensor [2] or variable of any floating dtype gets a
            gradient; its values are not checked if they are unknown when the graph is built.
        output_size: (height, width) to return, or an int for both. After the mask, the spectrum is cropped or padded
            with zeros to this size, so that sizes do not depend on the strides. None: `m` as above.
        smoothness: width of the mask's slope, in cycles per image, from 1e-30 to 1e30. Near 0 the mask is the crop of
            Rippel et al. (without the highest frequency if their number is even), and its gradient vanishes.
        hard: crop without a mask in the forward pass, with a straight-through gradient. If `output_size` is given, the
            crop is to the smaller of the two sizes.

    Returns:
        [batch, *sides, channels] of the same dtype. The static shape has known sides if `output_size` is given, or if
        the strides are numbers and the sides of the images are known.

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Rippel, Snoek and Adams, Spectral Representations for Convolutional Neural Networks, 2015, section 3;
        Riad, Teboul, Grangier and Zeghidour, Learning Strides in Convolutional Neural Networks, 2022, section 2 (where
        the mask slopes beyond `cut` instead of up to it, and the output keeps the frequencies of the slope).
    """
    images = _checks.images(images)
    strides = _stride_pair(strides)
    smoothness = _checks.number("smoothness", smoothness, above=0, meaning="in cycles per image")
    hard = _checks.flag("hard", hard)
    work = working_dtype(images.dtype)
    batch, height, width, channels = dimensions(images)
    size = (height, width)
    kept = _kept_sizes(size, strides, hard)
    rows, columns = kept if output_size is None else _checks.output_size(output_size)
    cuts = _cuts(size, strides)
    down = _axis_matrix(height, rows, kept[0], cuts[0], smoothness, hard, work)
    across = _axis_matrix(width, columns, kept[1], cuts[1], smoothness, hard, work)
    # Each product is one of matrices, with the samples of its axis as rows.
    x = tf.transpose(tf.cast(images, work), [1, 0, 2, 3])
    y = tf.reshape(tf.matmul(down, tf.reshape(x, [height, -1])), [rows, batch, width, channels])
    y = tf.transpose(y, [2, 1, 0, 3])
    y = tf.reshape(tf.matmul(across, tf.reshape(y, [width, -1])), [columns, batch, rows, channels])
    y = tf.transpose(y, [1, 2, 0, 3])
    return tf.cast(y, images.dtype)


def check_stride(name: str, value: object) -> float:
    """Return a stride, or one of two."""
    meaning = "the ratio of the sides of input and output, or two of them, (s_y, s_x)"
    return _checks.at_most(name, _checks.at_least(name, value, 1, meaning), _checks.LARGEST, meaning)


def _stride_pair(strides: Any) -> tuple[float, float] | tf.Tensor:
    """Return strides as two floats, or as a tensor [2] of float32 or float64."""
    if not _checks.is_tensor(strides):
        return _checks.both(strides, lambda each: check_stride("strides", each))
    tensor = _checks.tensor("strides", strides)
    if not tensor.dtype.is_floating or not tensor.shape.is_compatible_with([2]):
        raise ValueError(
            "`strides` must be one or two numbers, (s_y, s_x), or a floating tensor [2]. "
            f"Received: strides of shape {tensor.shape}, {tensor.dtype.name}"
        )
    known = tf.get_static_value(tensor)
    for value in [] if known is None else known.tolist():
        check_stride("strides", value)
    return tf.cast(tensor, working_dtype(tensor.dtype))


def _cuts(size: Sequence[int | tf.Tensor], strides: tuple[float, float] | tf.Tensor) -> list[tf.Tensor]:
    """Return the highest frequency that size / strides samples can represent, for each axis.

    These are exact, unlike the sizes, so that the mask moves with every change of the strides.
    """
    if isinstance(strides, tuple):
        strides = tf.constant(strides, portable.position_dtype())
    return tf.unstack(tf.cast(tf.stack(size), strides.dtype) / 2 / strides, 2)


def _kept_sizes(
    size: Sequence[int | tf.Tensor], strides: tuple[float, float] | tf.Tensor, hard: bool
) -> Sequence[int | tf.Tensor]:
    """Return the output sides for the sides `size`; each is an int if it and the strides are known."""
    if isinstance(strides, tuple):
        return [(_sizes.rounded_size if hard else _sizes.level_size)(n, stride) for n, stride in zip(size, strides)]
    quotients = _sizes.quotient(tf.stack(size), strides)
    kept = tf.cast(tf.round(quotients) if hard else tf.math.ceil(quotients), tf.int32)
    return tf.unstack(tf.clip_by_value(kept, 1, tf.stack(size)), 2)


def _axis_matrix(
    size: int | tf.Tensor,
    length: int | tf.Tensor,
    kept: int | tf.Tensor,
    cut: tf.Tensor,
    smoothness: float,
    hard: bool,
    dtype: tf.DType,
) -> tf.Tensor:
    """Return A, [m, n], for an axis of n = `size` samples and m = `length`; `kept` is the side for the stride."""
    # The largest number of frequencies in the output, counted from -m/2.
    count = _smaller(length, kept if hard else size)
    # XLA requires known bounds. If the strides are a tensor, use the sides of the input.
    frequencies = tf.range((count if isinstance(count, int) else size) // 2 + 1)
    inputs = tf.range(size)
    outputs = tf.range(length) if isinstance(length, int) else inputs[:length]

    mask = _soft_mask(tf.cast(frequencies, cut.dtype), cut, smoothness)
    if hard:
        mask = straight_through.value_of(tf.ones_like(mask), mask)
    # f and -f count together. 0 is a single frequency; the highest of an even count is half of f and half of -f.
    paired = tf.clip_by_value(count + 1 - 2 * frequencies, 0, tf.minimum(frequencies, 1) + 1)
    gain = tf.cast(paired, dtype) * tf.cast(mask, dtype) / tf.cast(size, dtype)
    output_waves = _waves(frequencies, outputs, length, dtype) * gain[:, None]
    return tf.einsum("afm,afn->mn", output_waves, _waves(frequencies, inputs, size, dtype))


def _smaller(a: int | tf.Tensor, b: int | tf.Tensor) -> int | tf.Tensor:
    return min(a, b) if isinstance(a, int) and isinstance(b, int) else tf.minimum(a, b)


def _soft_mask(frequencies: tf.Tensor, cut: tf.Tensor, smoothness: float) -> tf.Tensor:
    # If both arguments are equal, `minimum` gives the gradient to the first. It must be `cut`, so that DC has none.
    return tf.clip_by_value((cut - frequencies) / tf.minimum(cut, tf.constant(smoothness, cut.dtype)), 0, 1)


def _waves(frequencies: tf.Tensor, positions: tf.Tensor, period: int | tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Return the cosines of 2 pi f i / period, and the sines: [2, frequencies, positions]."""
    # Remove whole turns with integers, which is exact.
    turns = tf.math.floormod(frequencies[:, None] * positions, period)
    float_dtype = portable.position_dtype()
    angles = tf.cast(turns, float_dtype) * (2 * math.pi / tf.cast(period, float_dtype))
    return tf.cast(tf.stack([tf.cos(angles), tf.sin(angles)]), dtype)
