"""One step of a pyramid, down or up, by any factor; and magnification without a filter.

All are separable. The steps along one axis are in `separable`.
"""

from collections.abc import Sequence
from typing import Any, Union

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._sizes import divide, level_sizes, ratio
from tfpyramid.ops import batches, borders, kernels, magnification, slicing
from tfpyramid.ops._operation import operation, shared
from tfpyramid.ops.coordinates import array_module, indices, positions, to_float
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.separable import down, up
from tfpyramid.ops.shapes import dimension, sides

INTERPOLATIONS = ("bilinear", "nearest")

Size = Union[Sequence[Union[int, tf.Tensor]], tf.Tensor]


@operation
def pyr_down(
    images: tf.Tensor, *, scale_factor: float = 2.0, kernel: kernels.Kernel = None, border: str = "reflect"
) -> tf.Tensor:
    """Return the next coarser level of a Gaussian pyramid: the images, blurred and decimated.

    Convention:
        Output sample i sits at i * scale_factor of the input, that is at 0, 2, 4, ... by default, and a side of n
        becomes ceil(n / scale_factor). The default equals OpenCV's `pyrDown`.

            input    0   1   2   3   4   5   6
            output   0       1       2       3           the default: at 2 i
            output     0       1       2       3         "box": at 2 i + 1/2

        Between samples the blurred image is interpolated linearly. An even number of taps reaches one sample further
        to the right than to the left. So "bilinear", and "box" at factor 2 (the mipmap, the mean of samples 2i and
        2i + 1), put the output half a sample later. In general output sample i sits at
        i * scale_factor + `ops.phase(kernel, scale_factor)`. Functions and layers that align levels take the second
        term as `phase`. NaN or infinity reaches every output with a tap on it; a tap of 0 between two others counts.

        Sides and positions are computed with integers. A factor stands for a fraction p / q: its inverse is the nearest
        fraction q / p with p up to 2^15. So 1.4 is 7 / 5, and the square root of 2 is 19601 / 13860. The next side is
        ceil(n q / p), and sample i sits at i p / q. Therefore Python, graphs with unknown sides, XLA, SavedModels and
        portable exports return the same size: 21 samples become 15 at factor 1.4. Over n samples, p / q moves a
        position by less than n / (2^15 q) samples from where the factor itself would put it.

    Equation:
        `y[i] = sum_k h(k - s i) x[k]` on each axis; h interpolates the taps linearly, x is extended by the border rule.

    Args:
        images: [batch, height, width, channels], floating point; sides of at least 1, known or not. float16 and
            bfloat16 are summed in float32 and rounded once.
        scale_factor: ratio of the sides of input and output, greater than 1 and at most 1024.
        kernel: prefilter taps: None ("binomial" at factor 2, "gaussian" at any other), "binomial", "gaussian", "box",
            "bilinear", or a vector of taps, which is divided by its sum. A tensor or variable gets a gradient.
        border: "reflect", "symmetric", "edge", "constant" (zeros) or "wrap", as `numpy.pad` names them.

    Returns:
        [batch, ceil(height / scale_factor), ceil(width / scale_factor), channels] of the same dtype.

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Burt and Adelson, The Laplacian Pyramid as a Compact Image Code, 1983, section II.A.
    """
    scale_factor = _checks.scale_factor(scale_factor)
    borders.check(border)
    images = _checks.images(images)
    kernel = kernels.hashable(kernel)
    needed = needs_samples(images, kernel)
    return batches.call(next_level, images, kernel, scale_factor, border, needed=needed)


@shared
def next_level(images: tf.Tensor, kernel: kernels.Kernel, scale_factor: float, border: str) -> tf.Tensor:
    """Return `pyr_down` without checking the arguments; the batch is empty only if `needs_samples` is False."""
    work = working_dtype(images.dtype)
    x = down(tf.cast(images, work), kernels.taps_of(kernel, scale_factor, work), scale_factor, border)
    x.set_shape([images.shape[0], *level_sizes(images.shape[1:3], scale_factor), images.shape[3]])
    return tf.cast(x, images.dtype)


@operation
def pyr_up(
    images: tf.Tensor,
    output_size: Size,
    *,
    scale_factor: float = 2.0,
    kernel: kernels.Kernel = None,
    border: str = "reflect",
) -> tf.Tensor:
    """Return a level magnified to the size of the next finer level: samples are spread out, then blurred.

    Convention:
        Input sample i sits at i * scale_factor of the output, plus the phase of the kernel, as in `pyr_down`. Choose
        the size with `output_size`: at factor 2, m samples can become 2m - 1 or 2m. Even outputs equal OpenCV's
        `pyrUp`. Odd outputs follow the border rule to the last sample, which OpenCV's do not. DC gain is 1, except near
        a "constant" border, where the image fades to zero.

    Equation:
        `y[j] = sum_i (s h(j - s i) + (1 - s sum_i h(j - s i)) hat(j / s - i)) x[i]` on each axis; h interpolates the
        taps linearly, hat(u) = max(0, 1 - |u|), and x is extended by the border rule of the output's axis.

    Args:
        images: [batch, height, width, channels], floating point; sides of at least 1, known or not.
        output_size: (height, width) to return, as ints, scalar tensors, or one vector tensor. The input must have the
            size ceil(output_size / scale_factor).
        scale_factor: ratio of the sides of output and input, greater than 1 and at most 1024.
        kernel: taps, as in `pyr_down`.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".

    Returns:
        [batch, *output_size, channels] of the same dtype.

    Raises:
        ValueError: if an argument breaks a rule above.
        tf.errors.InvalidArgumentError: when the graph runs, if sizes unknown until then do not fit.

    References:
        Burt and Adelson, The Laplacian Pyramid as a Compact Image Code, 1983, section II.B.
    """
    scale_factor = _checks.scale_factor(scale_factor)
    borders.check(border)
    images = _checks.images(images)
    output_size = size_pair(output_size)
    images = _check_fit(images, output_size, scale_factor)
    kernel = kernels.hashable(kernel)
    needed = needs_samples(images, kernel)
    return batches.call(magnified, images, output_size, kernel, scale_factor, border, needed=needed)


@shared
def magnified(
    images: tf.Tensor,
    output_size: tuple[int | tf.Tensor, int | tf.Tensor],
    kernel: kernels.Kernel,
    scale_factor: float,
    border: str,
) -> tf.Tensor:
    """Return `pyr_up` without checking the arguments; the batch is empty only if `needs_samples` is False."""
    work = working_dtype(images.dtype)
    taps = kernels.taps_of(kernel, scale_factor, work)
    x = up(tf.cast(images, work), output_size, taps, scale_factor, border)
    x.set_shape([images.shape[0], *(n if isinstance(n, int) else None for n in output_size), images.shape[3]])
    return tf.cast(x, images.dtype)


def needs_samples(images: tf.Tensor, kernel: kernels.Kernel) -> bool:
    """Return whether a step may be wrong for an empty batch: the gradient of learned taps, or a shape.

    TensorFlow removes the reshape of `axes.convolution` that corrects the shape, if it knows the sides.
    """
    return tf.is_tensor(kernel) or None not in images.shape[1:3]


@operation
def resize_by(
    images: tf.Tensor,
    scale_factor: float | None,
    output_size: Size,
    *,
    interpolation: str = "bilinear",
    phase: float | tuple[float, float] = 0.0,
) -> tf.Tensor:
    """Return the images magnified by linear or nearest interpolation, without a filter.

    Equation:
        `y[p] = x((p - phase) / scale_factor)` on each axis; with `scale_factor=None`,
        `y[p] = x((p + 1/2) size / output_size - 1/2)`.

    Convention:
        Input sample i sits at i * scale_factor + phase of the output; the factor stands for a fraction, as in
        `pyr_down`. Beyond the first and the last sample the image is constant. "nearest" takes the nearest sample, and
        the first of two equally near ones; at factor 2 and the phases 0 and 1/2 it equals `keras.layers.UpSampling2D`.
        A level of `pyr_down` has the phase of its kernel, `ops.phase`: 0 for the default, and 1/2 for an even number of
        taps. `scale_factor=None` is for samples at the centres of equal cells, as in `bilinear_down`,
        `tf.image.resize` and OpenCV's `resize`, for any two sizes. For an even number of taps at factor 2 it is correct
        only on even sides; the phase 1/2 is correct on odd sides too.

    Args:
        images: [batch, height, width, channels], floating point; sides of at least 1, known or not.
        scale_factor: distance of two input samples in the output, from 1 to 2^31, or None.
        output_size: (height, width) to return, as ints, scalar tensors, or one vector tensor; from 1 to 2^24 each, and
            at most 2^30 pixels.
        interpolation: "bilinear" or "nearest".
        phase: position of input sample 0 in the output, in samples of the output: a number, or (y, x). It must be 0 if
            `scale_factor` is None.

    Returns:
        [batch, *output_size, channels] of the same dtype.

    Raises:
        ValueError: if an argument breaks a rule above.
    """
    if scale_factor is not None:
        meaning = "the magnification, or None"
        scale_factor = _checks.at_least("scale_factor", scale_factor, 1, meaning, maximum=2**31)
    _checks.one_of("interpolation", interpolation, INTERPOLATIONS)
    images = _checks.images(images)
    output_size = size_pair(output_size)
    shifts = _checks.both(phase, lambda each: _checks.phase(each, scale_factor))
    step, parts = (0, 1) if scale_factor is None else ratio(scale_factor)
    convolved = magnification.by_integer(images, step, output_size, shifts, interpolation) if parts == 1 else None
    if convolved is not None:
        return convolved
    x = images
    for axis, size, shift in zip((1, 2), output_size, shifts):
        available = dimension(x, axis)
        first: Any = 0
        if scale_factor is None:
            offsets = (positions(size) + 0.5) * (to_float(available) / to_float(size)) - 0.5
        else:
            first, remainder = map(to_float, divide(indices(size), parts, step))
            offsets = remainder / step - shift * parts / step if shift else remainder / step
        if interpolation == "nearest":
            m = array_module(offsets, available)
            index = first + m.ceil(offsets - magnification.MIDDLE)
            x = slicing.read(x, axis, m.minimum(m.maximum(index, 0), to_float(available - 1)))
        else:
            x = slicing.read_linear(x, axis, first + offsets)
    x.set_shape([images.shape[0], *(n if isinstance(n, int) else None for n in output_size), images.shape[3]])
    return x


def cropped(images: tf.Tensor, size: Sequence[int | tf.Tensor]) -> tf.Tensor:
    """Return images without their last rows and columns where a side is larger than in `size`."""
    height, width = size
    return images if tuple(images.shape[1:3]) == (height, width) else images[:, :height, :width]


def size_pair(
    size: Any, name: str = "output_size", *, in_memory: bool = True
) -> tuple[int | tf.Tensor, int | tf.Tensor]:
    """Return (height, width), each an int of at least 1 if it is known and else a scalar tensor.

    Images that are made in memory must not exceed the largest side and number of pixels.
    """
    pair = _checks.plain(tf.convert_to_tensor(size) if tf.is_tensor(size) and size.shape == [2] else size)
    if isinstance(pair, tf.Tensor) and pair.shape == [2]:
        pair = tf.unstack(pair)
    if not isinstance(pair, (list, tuple)) or len(pair) != 2 or any(side is None for side in pair):
        raise ValueError(f"`{name}` must be two sizes, (height, width). {_checks.received(name, size)}")

    def known(side: Any) -> int | tf.Tensor:
        if tf.is_tensor(side) and side.shape == [] and side.dtype.is_integer and tf.get_static_value(side) is None:
            return tf.convert_to_tensor(side)  # Only known when the graph runs.
        return _checks.integer(name, side, 1, "the height and width", maximum=_checks.LONGEST if in_memory else None)

    height, width = map(known, pair)
    return _checks.area((height, width), name) if in_memory else (height, width)


def _check_fit(
    images: tf.Tensor, output_size: tuple[int | tf.Tensor, int | tf.Tensor], scale_factor: float
) -> tf.Tensor:
    """Return a level that can be magnified to `output_size`; unknown sizes are compared when the graph runs."""
    rule = "`output_size` must satisfy ceil(output_size / scale_factor) = size of `images`, for both sides."
    needed = level_sizes(output_size, scale_factor)
    for size, expected, known in zip(output_size, needed, images.shape[1:3]):
        if known is not None and isinstance(size, int) and expected != known:
            received = (
                f"output_size={tuple(output_size)}, images of shape {images.shape}, scale_factor={scale_factor:g}"
            )
            raise ValueError(f"{rule} Received: {received}")
    return batches.assert_equal(
        f"{rule} Received: the sides needed, then those given,", [images], needed, sides(images)
    )[0]
