"""Downsampling in the Fourier domain, by one real matrix for each axis.

A Fourier transform, a mask, a crop and an inverse transform are linear. Where the mask is separable and Hermitian (the
same for f and -f) they are a real matrix for each axis, so no complex number is needed. With n samples x, m samples y,
and g(f) the gain of the frequency of f cycles per image,

    y[i] = sum_k A[i, k] x[k]        A[i, k] = 1/n sum_f g(f) cos(2 pi f (i / m - k / n))      f = -m/2 .. m/2

which is two products of small tables, the cosines and sines of m and of n, with g in between.
"""

import math
from collections.abc import Sequence
from typing import Any, Union

import tensorflow as tf

from tfpyramid import _checks, _sizes
from tfpyramid.ops import portable, straight_through
from tfpyramid.ops._operation import operation
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.shapes import sides

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
    """Downsample by keeping the low frequencies, with strides that need not be whole and have a gradient.

    Equation:
        on each axis, of n samples: `X = fft(x)`, `y = (m / n) ifft(crop(mask(f) X[f]))`, with
        `mask(f) = clip((cut - |f|) / min(smoothness, cut), 0, 1)`, f in cycles per image, and `cut = n / (2 strides)`
        the highest frequency that so many samples can hold.

    Forward (`hard=True`):  `mask(f) = 1`: the crop alone, to `round(n / strides)` frequencies, halves to even.
    Backward (`hard=True`): the gradient of the soft mask at the frequencies that are kept.

    Convention:
        A side of n becomes `m = ceil(n / strides)`, with `hard=True` `max(1, round(n / strides))`. Output sample i sits
        at i n / m of the input. The border is periodic by nature: what leaves at the right comes in at the left. DC
        gain is 1. Every output reads every pixel of its channel, so one NaN or infinity makes all of them NaN. Of an
        even number of frequencies the highest is halved between +m/2 and -m/2, so real images stay real, and
        transposing the images, with the strides exchanged, transposes the result.
        Strides that are numbers stand for fractions in these sizes, as a factor of `pyr_down` does. Where they are a
        tensor, n / strides counts as a whole number, or a whole number and a half, if it is one to four units in the
        last place. So the size is the same in eager mode, in a graph and under XLA. The mask follows the strides as
        they are.
        The gradient of `strides` is that of the mask, for the size as it is. Where a frequency is just at one end of
        the slope of the mask (at `cut`, or `smoothness` below it) the derivative is the one on the slope, so that whole
        strides, which often begin there, can move either way; where `cut` is equal to `smoothness` it is the one to
        larger strides. A stride above n / 2, whose soft mask leaves the mean alone, has no gradient.

    Cost:
        Equal to the Fourier form, each axis is a product with a matrix [m, n]: n multiplications for an output, or m
        for an input, where a fast Fourier transform takes of the order of log n. The work is in float32, or float64 for
        float64 images; no dtype is complex.

    Args:
        images: [batch, height, width, channels], floating point; sides of at least 1, known or not.
        strides: (s_y, s_x), or a number for both, from 1 to 1024; as a tensor [2] or variable of any floating dtype
            they are differentiable. The values of a tensor that is not known when the graph is made are not checked.
        output_size: (height, width) to return, or an int for both: the spectrum is cropped or padded with zeros to it,
            after the mask, so that sizes do not depend on the strides. None: `m` as above.
        smoothness: width of the slope of the mask, in cycles per image, from 1e-30 to 1e30. Near 0 the mask is the
            plain crop of Rippel et al. (without the highest frequency of an even number), and its gradient vanishes.
        hard: crop without a mask in the forward pass, straight-through. With an `output_size` the crop is to the
            smaller of the two.

    Returns:
        [batch, *sides, channels] of the same dtype. Sides are known if `output_size` is given, or if strides are
        numbers and the sides of the images are known.

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Rippel, Snoek and Adams, Spectral Representations for Convolutional Neural Networks, 2015, section 3;
        Riad, Teboul, Grangier and Zeghidour, Learning Strides in Convolutional Neural Networks, 2022, section 2 (whose
        mask slopes beyond `cut` rather than up to it, and keeps the frequencies of the slope in the output).
    """
    images = _checks.images(images)
    row_stride, column_stride = _stride_pair(strides)
    rows, columns = (None, None) if output_size is None else _checks.output_size(output_size)
    smoothness = _checks.number("smoothness", smoothness, above=0, meaning="in cycles per image")
    hard = _checks.flag("hard", hard)
    work = working_dtype(images.dtype)
    height, width = sides(images)
    down = _axis_matrix(height, row_stride, rows, smoothness, hard, work)
    across = _axis_matrix(width, column_stride, columns, smoothness, hard, work)
    y = tf.tensordot(down, tf.cast(images, work), [[1], [1]])  # [rows, batch, width, channels]
    y = tf.transpose(tf.tensordot(across, y, [[1], [2]]), [2, 1, 0, 3])
    y.set_shape([images.shape[0], down.shape[0], across.shape[0], images.shape[3]])
    return tf.cast(y, images.dtype)


def check_stride(name: str, value: object) -> float:
    """Return a stride, or one of two."""
    meaning = "a ratio of sides of input and output, or two of them, (s_y, s_x)"
    return _checks.at_most(name, _checks.at_least(name, value, 1, meaning), _checks.LARGEST, meaning)


def _stride_pair(strides: Any) -> Sequence[float | tf.Tensor]:
    """Return the stride of each axis: floats, or scalar tensors of float32 or float64."""
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
    tensor = tf.cast(tensor, working_dtype(tensor.dtype))
    return tensor[0], tensor[1]


def _axis_matrix(
    size: int | tf.Tensor,
    stride: float | tf.Tensor,
    length: int | None,
    smoothness: float,
    hard: bool,
    dtype: tf.DType,
) -> tf.Tensor:
    """Return A, [m, n], for an axis of `size` samples; m is `length`, or follows from the stride."""
    # The mask moves with the stride as it is, however little.
    quotient = tf.cast(size, portable.position_dtype() if isinstance(stride, float) else stride.dtype) / stride
    kept = _kept_size(size, stride, hard)
    length = kept if length is None else length
    # How many frequencies, counted from -m/2, are in the output at most.
    count = _smaller(length, kept if hard else size)
    # XLA needs bounds that it knows: where the strides decide, the sides of the input are.
    frequencies = tf.range((count if isinstance(count, int) else size) // 2 + 1)
    outputs = tf.range(length) if isinstance(length, int) else tf.range(size)[:length]

    mask = _soft_mask(tf.cast(frequencies, quotient.dtype), quotient / 2, smoothness)
    if hard:
        mask = straight_through.value_of(tf.ones_like(mask), mask)
    # f and -f together; 0 is one frequency, and the highest of an even count is half of each.
    paired = tf.cast(2 * frequencies <= count, dtype) + tf.cast((frequencies > 0) & (2 * frequencies < count), dtype)
    gain = paired * tf.cast(mask, dtype) / tf.cast(size, dtype)
    output_waves = _waves(frequencies, outputs, length, dtype)
    input_waves = _waves(frequencies, tf.range(size), size, dtype)
    return tf.matmul(output_waves * tf.concat([gain, gain], 0)[:, None], input_waves, transpose_a=True)


def _kept_size(size: int | tf.Tensor, stride: float | tf.Tensor, hard: bool) -> int | tf.Tensor:
    """Return the side that the stride leaves of `size`: an int if both are known."""
    if isinstance(stride, float):
        return _sizes.rounded_size(size, stride) if hard else _sizes.level_size(size, stride)
    quotient = _sizes.quotient(size, stride)
    kept = tf.cast(tf.round(quotient) if hard else tf.math.ceil(quotient), tf.int32)
    return tf.clip_by_value(kept, 1, size)


def _smaller(a: int | tf.Tensor, b: int | tf.Tensor) -> int | tf.Tensor:
    return min(a, b) if isinstance(a, int) and isinstance(b, int) else tf.minimum(a, b)


def _soft_mask(frequencies: tf.Tensor, cut: tf.Tensor, smoothness: float) -> tf.Tensor:
    # In this order `minimum` gives the gradient of equals to `cut`, without which that of DC would not be 0.
    return tf.clip_by_value((cut - frequencies) / tf.minimum(cut, tf.constant(smoothness, cut.dtype)), 0, 1)


def _waves(frequencies: tf.Tensor, positions: tf.Tensor, period: int | tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Return the cosines, and below them the sines, of 2 pi f i / period: [2 frequencies, positions]."""
    # Whole turns are taken off in integers, where that is exact.
    turns = tf.math.floormod(frequencies[:, None] * positions, period)
    float_dtype = portable.position_dtype()
    angles = tf.cast(turns, float_dtype) * (2 * math.pi / tf.cast(period, float_dtype))
    return tf.cast(tf.concat([tf.cos(angles), tf.sin(angles)], 0), dtype)
