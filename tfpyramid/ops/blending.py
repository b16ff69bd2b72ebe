"""Images merged level by level of a Laplacian pyramid: by a mask, by their exposure, or by their focus."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.ops import batches, borders, composites, kernels, pyramid
from tfpyramid.ops._operation import operation
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.shapes import dimensions

_ONE_SHAPE = "`b` must have the shape of `a`"
_MASK_SHAPE = "`mask` must be [batch, height, width, 1], or have the shape of `a`"
_SAME_SHAPES = "`images` must have the same shape"


@operation
def blend(
    a: tf.Tensor,
    b: tf.Tensor,
    mask: tf.Tensor,
    *,
    num_levels: int | None = None,
    scale_factor: float = 2.0,
    kernel: kernels.Kernel = None,
    border: str = "reflect",
) -> tf.Tensor:
    """Return image `a` where the mask is 1 and image `b` where it is 0, joined without a visible seam.

    Fine detail changes within a few pixels of the edge of the mask, and brightness over a large part of the image.

    Equation:
        With Laplacian pyramids A and B of the images, and the Gaussian pyramid M of the mask, the result is the image
        with the Laplacian pyramid `M[k] A[k] + (1 - M[k]) B[k]`. It is computed as `b + reconstruct(M[k] D[k])`, with
        the Laplacian pyramid D of `a - b`.

    Convention:
        The mask is 1 for `a`. Values between 0 and 1 mix both images, others extrapolate; no value is clipped. The
        result can leave the range of the images by a little, next to strong edges. Where the images are equal, so is
        the result. Rounding is relative to the larger of `a` and `b`. At full depth, `num_levels=None`, every pixel of
        both images has some influence on the whole result, so one NaN can make all of it NaN.

    Args:
        a: [batch, height, width, channels], floating point; sides of at least 1, known or not. float16 and bfloat16
            are blended in float32 and rounded once.
        b: the same shape and dtype.
        mask: [batch, height, width, 1], or one for each channel; floating point or boolean.
        num_levels: levels of the pyramids, from 1 to 64: one more widens the transition by `scale_factor`. 1 is the
            plain mean, weighted by the mask. None adds levels until the shorter side is 1 and requires known sides.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024.
        kernel: taps, as in `pyr_down`.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".

    Returns:
        The blended images, with the shape and dtype of `a`.

    Raises:
        ValueError: if an argument breaks a rule above.
        tf.errors.InvalidArgumentError: when the graph runs, if sizes unknown until then differ.

    References:
        Burt and Adelson, A Multiresolution Spline With Application to Image Mosaics, 1983, section 3.
    """
    step = _step(scale_factor, kernel, border)
    a, b = _checks.images(a, "a"), _checks.images(b, "b")
    if b.dtype != a.dtype or not b.shape.is_compatible_with(a.shape):
        received = f"Received: b of shape {b.shape}, {b.dtype.name}; a of shape {a.shape}, {a.dtype.name}"
        raise ValueError(f"{_ONE_SHAPE}, and its dtype. {received}")
    mask = _mask(mask, a)
    count = pyramid.level_count(a.shape, num_levels, step[0])
    a, b, mask = _same_size(f"{_ONE_SHAPE}, and {_MASK_SHAPE}.", {"a": a, "b": b, "mask": mask})
    work = working_dtype(a.dtype)
    difference, weight = tf.cast(a, work) - tf.cast(b, work), tf.cast(mask, work)
    padded = [batches.at_least_one(x) for x in (difference, weight)]
    added = batches.as_many_as(composites.masked(padded, *step, count), difference)
    return tf.cast(tf.cast(b, work) + added, a.dtype)


@operation
def exposure_fusion(
    images: Sequence[tf.Tensor],
    num_levels: int | None = None,
    *,
    contrast: float = 1.0,
    saturation: float = 1.0,
    well_exposedness: float = 1.0,
    scale_factor: float = 2.0,
    kernel: kernels.Kernel = None,
    border: str = "reflect",
) -> tf.Tensor:
    """Return one image with the best exposed parts of several images of the same scene, such as an exposure bracket.

    It needs no exposure times and no tone mapping.

    Equation:
        `w[n] = C[n]^contrast S[n]^saturation E[n]^well_exposedness + 1e-12` at each pixel, divided by the sum over n.
        C is the absolute value of the Laplacian of the grey image, with the kernel `[0 1 0; 1 -4 1; 0 1 0]`. S is the
        standard deviation over the channels. E is the product over the channels of `exp(-(x - 0.5)^2 / (2 0.2^2))`. The
        result is the image with the Laplacian pyramid `sum_n gaussian(w[n]) laplacian(images[n])`.

    Convention:
        Images hold values from 0 (black) to 1 (white), as displayed. The result can leave this range by a little, and
        is not clipped. Grey is 0.299 red + 0.587 green + 0.114 blue for three channels, else the mean of the channels.
        Images of one channel have no saturation, so that exponent has no effect. Where all images are flat, weights
        are nearly equal. OpenCV's `createMergeMertens(1, 1, 1)` differs only in rounding and at the borders; without
        arguments, it ignores exposedness.

    Args:
        images: list of at least one tensor [batch, height, width, channels], all of one shape and dtype; floating
            point; sides of at least 1, known or not. float16 and bfloat16 are fused in float32 and rounded once.
        num_levels: levels of the pyramids, from 1 to 64. None means 1 + floor(log(shorter side) / log(scale_factor)),
            as in OpenCV, and requires known sides. Fewer levels give halos.
        contrast: exponent of the contrast, from 0 to 1024. 0 ignores it.
        saturation: exponent of the saturation, likewise.
        well_exposedness: exponent of the well-exposedness, likewise.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024.
        kernel: taps, as in `pyr_down`.
        border: "reflect", "symmetric", "edge", "constant" or "wrap", also for the contrast.

    Returns:
        The fused images, with the shape and dtype of each of `images`.

    Raises:
        ValueError: if an argument breaks a rule above.
        tf.errors.InvalidArgumentError: when the graph runs, if sizes unknown until then differ.

    References:
        Mertens, Kautz and Van Reeth, Exposure Fusion, 2007, sections 3.1 and 3.2.
    """
    exponents = {"contrast": contrast, "saturation": saturation, "well_exposedness": well_exposedness}
    checked = tuple(
        _checks.at_least(name, value, 0, "the exponent of a measure", maximum=_checks.LARGEST)
        for name, value in exponents.items()
    )
    return _merge(composites.exposed, images, num_levels, _step(scale_factor, kernel, border), checked, _depth)


@operation
def focus_stack(
    images: Sequence[tf.Tensor],
    num_levels: int | None = None,
    *,
    scale_factor: float = 2.0,
    kernel: kernels.Kernel = None,
    border: str = "reflect",
) -> tf.Tensor:
    """Return one sharp image from several images of the same scene that are focused at different distances.

    Equation:
        With Laplacian pyramids L[n] of the images, the result has the residuals `L[m][k]`, and m is the image with the
        largest `sum_c L[n][k]^2` at that place of that level, c the channels. Images that are equally sharp there are
        averaged. The low-pass is the mean of those of the images.

    Convention:
        The images must be aligned: `warp` aligns images of a known flow. Each level and place chooses on its own, and
        all channels together. So noise is kept too: denoise noisy images first. The choice has no gradient; the
        gradient of an output goes to the chosen images. With one level, the result is the mean of the images.

    Args:
        images: list of at least one tensor [batch, height, width, channels], all of one shape and dtype; floating
            point; sides of at least 1, known or not. float16 and bfloat16 are merged in float32 and rounded once.
        num_levels: levels of the pyramids, from 1 to 64; the coarsest should be so small that it shows no blur. None
            adds levels until the shorter side is 1 and requires known sides.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024.
        kernel: taps, as in `pyr_down`.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".

    Returns:
        The sharp images, with the shape and dtype of each of `images`.

    Raises:
        ValueError: if an argument breaks a rule above.
        tf.errors.InvalidArgumentError: when the graph runs, if sizes unknown until then differ.

    References:
        Ogden, Adelson, Bergen and Burt, Pyramid-Based Computer Graphics, 1985 (multifocus composites); Burt and
        Kolczynski, Enhanced Image Capture Through Fusion, 1993, section 3 (the choice by salience).
    """
    return _merge(composites.sharpest, images, num_levels, _step(scale_factor, kernel, border), ())


def _step(scale_factor: object, kernel: kernels.Kernel, border: str) -> tuple[float, kernels.Kernel, str]:
    """Return the checked options of a step of a pyramid."""
    scale_factor = _checks.scale_factor(scale_factor)
    borders.check(border)
    return scale_factor, kernels.hashable(kernel), border


def _mask(value: Any, a: tf.Tensor) -> tf.Tensor:
    """Return a mask for images `a`, as a floating tensor."""
    mask = tf.convert_to_tensor(value) if getattr(value, "dtype", None) in (bool, tf.bool) else value
    mask = tf.cast(mask, a.dtype) if tf.is_tensor(mask) and mask.dtype == tf.bool else _checks.images(mask, "mask")
    _checks.image_shape("mask", mask.shape)
    if mask.shape[3] not in (1, a.shape[3]) or not mask.shape[:3].is_compatible_with(a.shape[:3]):
        raise ValueError(f"{_MASK_SHAPE}. Received: mask of shape {mask.shape}, a of shape {a.shape}")
    return mask


def _same_size(rule: str, tensors: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
    """Return the tensors; the graph compares batch sizes, heights and widths that are unknown until it runs."""
    rule = f"{rule} Received: batch, height and width of {', '.join(tensors)},"
    return batches.assert_equal(rule, list(tensors.values()), *(dimensions(x)[:3] for x in tensors.values()))


def _depth(shape: Sequence[int | None], num_levels: int | None, scale_factor: float) -> int:
    """Return the number of levels of `exposure_fusion`."""
    count = pyramid.level_count(shape, num_levels, scale_factor)
    if num_levels is not None:
        return count
    shorter = min(side for side in shape[1:3] if side is not None)
    return min(count, 1 + math.floor(math.log(shorter) / math.log(scale_factor) + 1e-9))


def _merge(
    function: Any, images: Any, num_levels: int | None, step: tuple, options: tuple, depth: Any = pyramid.level_count
) -> tf.Tensor:
    """Check images of one scene, and return `function` of them all in one tensor, image after image in the channels."""
    if not isinstance(images, (list, tuple)) or not images:
        raise ValueError(f"`images` must be a list of at least one tensor. {_checks.received('images', images)}")
    tensors = {f"images[{k}]": _checks.images(each, f"images[{k}]") for k, each in enumerate(images)}
    first, *others = tensors.values()
    for name, x in tensors.items():
        if x.dtype != first.dtype or not x.shape.is_compatible_with(first.shape):
            found = f"{name} of shape {x.shape}, {x.dtype.name}; images[0] of shape {first.shape}, {first.dtype.name}"
            raise ValueError(f"{_SAME_SHAPES} and dtype. Received: {found}")
    levels = depth(first.shape, num_levels, step[0])
    if others:
        first, *others = _same_size(f"{_SAME_SHAPES}.", tensors)
    x = tf.cast(tf.concat([first, *others], 3), working_dtype(first.dtype))
    y = batches.call(function, x, *step, levels, len(tensors), *options)
    y.set_shape(first.shape)
    return tf.cast(y, first.dtype)
