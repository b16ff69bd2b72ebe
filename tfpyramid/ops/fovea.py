"""Foveated pyramids: crops of one size around a point, each from the next coarser level of a pyramid."""

import functools
from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.ops import batches, borders, kernels
from tfpyramid.ops._operation import operation, shared
from tfpyramid.ops.crops import Fovea


@operation
def foveated_pyramid(
    images: tf.Tensor,
    fixations: tf.Tensor,
    size: int,
    num_levels: int,
    *,
    scale_factor: float = 2.0,
    kernel: kernels.Kernel = None,
    border: str = "reflect",
    hard: bool = False,
) -> list[tf.Tensor]:
    """Return crops around fixations, one from each level of a Gaussian pyramid, finest first.

    All crops have the same number of samples. The samples of crop k are scale_factor^k pixels apart, so each crop sees
    a wider part of the image than the one before it, with less detail.

    Equation:
        `crop[k][j] = bilinear_sample(level[k], (c - phase[k]) / s^k + j - (size - 1) / 2)` on each axis, with
        `level = gaussian_pyramid(images, num_levels)`, the factor s, the fixation `c = fixation * side - 1/2` in pixels
        of the image, and `phase[k] = ops.phase(kernel, s) (s^k - 1) / (s - 1)`.
        With `hard=True`, forward: the nearest sample of the level, the first of two equally near ones; backward: the
        gradient of the equation.

    Convention:
        A fixation is (y, x) as a fraction of the image: (0, 0) is its top left corner, (0.5, 0.5) its center, and
        (1, 1) its bottom right corner. Crops are centered at it: for an odd `size` the middle sample lies there, and
        for an even one it lies between the two middle samples.
        Where a crop leaves its level, because the fixation is near the border or outside the image, or `size` is larger
        than the level, the level is extended by the border rule. A level has at least one sample, however large
        `num_levels` is. At a sample of a level, the derivative by the fixation is the right-hand one, as in
        `bilinear_sample`.

        The cost does not grow with the image. Each level is computed from a window of the image that holds what its
        crop reads. If the sides are known and the windows of all fixations hold more than half as many pixels as the
        image, the whole pyramid is computed once instead, and always at factors that are no integers and with the
        border "wrap". The result is the same.

    Args:
        images: [batch, height, width, channels], floating point; sides of at least 1, known or not.
        fixations: floating tensor [batch, 2], or [batch, n, 2] for n fixations of each image.
        size: rows and columns of a crop, from 1 to 1024.
        num_levels: length of the list, from 1 to 64.
        scale_factor: ratio of the sample distances of one crop to those of the crop before it, greater than 1 and at
            most 1024.
        kernel: prefilter taps, as in `pyr_down`.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".
        hard: read the nearest samples in the forward pass, with a straight-through gradient.

    Returns:
        A list of `num_levels` tensors [batch, size, size, channels], or [batch, n, size, size, channels], of the dtype
        of `images`, finest first. They are NaN for a fixation that is NaN, which the gradient of the images ignores.

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Mnih, Heess, Graves and Kavukcuoglu, Recurrent Models of Visual Attention, 2014, section 3.1 (the glimpse
        sensor); Burt and Adelson, The Laplacian Pyramid as a Compact Image Code, 1983, section II.A (the pyramid).
    """
    images = _checks.images(images)
    fixations = _checks.floating_tensor("fixations", fixations)
    size, num_levels = check_size(size), _checks.num_levels(num_levels)
    scale_factor = _checks.scale_factor(scale_factor)
    kernel, hard = kernels.hashable(kernel), _checks.flag("hard", hard)
    borders.check(border)
    check_fixations(fixations.shape)
    images, fixations = batches.check({"images": images, "fixations": fixations})
    fovea = Fovea(size, num_levels, scale_factor, kernel, border, hard)
    return _crops([images, fixations], fovea)


@functools.partial(shared, in_graphs=False)
def _crops(inputs: list[tf.Tensor], fovea: Fovea) -> list[tf.Tensor]:
    images, fixations = inputs
    if fixations.shape.rank == 3:
        return fovea.crops(images, fixations)
    return [tf.squeeze(crop, 1) for crop in fovea.crops(images, tf.expand_dims(fixations, 1))]


def check_size(value: object) -> int:
    """Return the side of a crop."""
    return _checks.integer("size", value, 1, "the rows and columns of a crop", maximum=_checks.LARGEST)


def check_fixations(value: Any) -> tf.TensorShape:
    """Return the shape of fixations; raise `ValueError` unless it is [batch, 2] or [batch, n, 2]."""
    shape = tf.TensorShape(value)
    if shape.rank not in (2, 3) or shape[-1] != 2:
        raise ValueError(
            "`fixations` must be [batch, 2], or [batch, n, 2] for several of each image: (y, x) between 0 and 1. "
            f"Received: fixations of shape {shape}"
        )
    return shape
