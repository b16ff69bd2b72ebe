"""Gaussian and Laplacian pyramids as lists of tensors, finest first, and the exact inverse."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _level_checks
from tfpyramid._sizes import finer_size, level_size, level_sizes
from tfpyramid.ops import batches, borders, kernels, resample
from tfpyramid.ops._operation import operation, shared
from tfpyramid.ops.shapes import sides


@operation
def gaussian_pyramid(
    images: tf.Tensor,
    num_levels: int | None = None,
    *,
    scale_factor: float = 2.0,
    upsampled_levels: int = 0,
    kernel: kernels.Kernel = None,
    border: str = "reflect",
) -> list[tf.Tensor]:
    """Return a Gaussian pyramid: the images and ever coarser copies of them, finest first.

    Each level is the level before it, blurred and decimated. `upsampled_levels` adds magnified copies in front.

    Equation:
        `level[u] = images` with u = `upsampled_levels`, and `level[k] = pyr_down(level[k - 1])` for k > u. For j > 0,
        `level[u - j]` at p is the images at `(p - d (s^j - 1) / (s - 1)) / s^j`, interpolated linearly, with the factor
        s and the phase d of the kernel, `ops.phase(kernel, s)`.

    Convention:
        Sample i of level k sits at i * scale_factor + d of level k - 1, for every k. The phase d is 0 for the default
        kernel, and 1/2 for an even number of taps. Functions and layers that align levels take d as `phase`.
        A side of n becomes ceil(n / scale_factor), so a side of 1 remains 1. In an upsampled level it becomes
        floor(n * scale_factor), the largest side that `pyr_down` reduces to n. This is repeated for each level: with a
        factor of the square root of 2, 64 becomes 90 and then 127. The factor stands for a fraction of integers, as in
        `pyr_down`, so these sizes are the same in every runtime.

    Args:
        images: [batch, height, width, channels], floating point; sides of at least 1, known or not.
        num_levels: length of the list, from 1 to 64. None adds levels until the shorter side is 1 (or, at factors
            below 2, no longer shrinks), and requires known sides.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024.
        upsampled_levels: number of levels that are finer than the images, less than `num_levels`. They help with
            objects that are smaller than those in a network's training data.
        kernel: prefilter taps, as in `pyr_down`.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".

    Returns:
        A list of `num_levels` tensors of the dtype of `images`, finest first.

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Burt and Adelson, The Laplacian Pyramid as a Compact Image Code, 1983, section II.A; upsampled levels: Lowe,
        Distinctive Image Features from Scale-Invariant Keypoints, 2004, section 3.3.
    """
    images = _checks.images(images)
    scale_factor = _checks.scale_factor(scale_factor)
    kernel = kernels.hashable(kernel)
    borders.check(border)
    finer = check_upsampled_levels(upsampled_levels, num_levels, scale_factor)
    count = level_count(images.shape, num_levels, scale_factor, finer)
    needed = resample.needs_samples(images, kernel)
    return batches.call(gaussian_levels, images, kernel, scale_factor, border, count - finer, finer, needed=needed)


@functools.partial(shared, in_graphs=False)
def gaussian_levels(
    images: tf.Tensor, kernel: kernels.Kernel, scale_factor: float, border: str, count: int, finer: int = 0
) -> list[tf.Tensor]:
    """Return `finer` magnified copies of the images and `count` levels, the first of which are the images."""
    levels = [images]
    for j, size in enumerate(finer_sizes(sides(images), scale_factor, finer), 1):
        levels.insert(0, _magnified(images, kernel, scale_factor, j, size))
    for _ in range(count - 1):
        levels.append(resample.next_level(levels[-1], kernel, scale_factor, border))
    return levels


def upsampled_level(images: tf.Tensor, kernel: kernels.Kernel, scale_factor: float, steps: int) -> tf.Tensor:
    """Return the level of `gaussian_pyramid` that is `steps` levels finer than the images."""
    return _magnified(images, kernel, scale_factor, steps, finer_sizes(sides(images), scale_factor, steps)[-1])


def _magnified(images: tf.Tensor, kernel: kernels.Kernel, scale_factor: float, steps: int, size: tuple) -> tf.Tensor:
    phase = kernels.phase_after(kernels.phase(kernel, scale_factor), scale_factor, steps)
    return resample.resize_by(images, scale_factor**steps, size, phase=phase)


@operation
def laplacian_pyramid(
    images: tf.Tensor,
    num_levels: int | None = None,
    *,
    scale_factor: float = 2.0,
    kernel: kernels.Kernel = None,
    border: str = "reflect",
) -> list[tf.Tensor]:
    """Return a Laplacian pyramid: the detail that each step of a Gaussian pyramid removes, and the coarsest level.

    Equation:
        `residual[k] = gaussian[k] - pyr_up(gaussian[k + 1], size of gaussian[k])`; the last entry is the low-pass
        `gaussian[num_levels - 1]`.

    Args:
        images: [batch, height, width, channels], floating point; sides of at least 1, known or not.
        num_levels: length of the list, from 1 to 64. None adds levels until the shorter side is 1 (or, at factors
            below 2, no longer shrinks), and requires known sides.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024.
        kernel: taps of `pyr_down` and `pyr_up`.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".

    Returns:
        A list of `num_levels` tensors: residuals, finest first, then the low-pass. `reconstruct` inverts it exactly.

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Burt and Adelson, The Laplacian Pyramid as a Compact Image Code, 1983, section III.
    """
    images = _checks.images(images)
    scale_factor = _checks.scale_factor(scale_factor)
    kernel = kernels.hashable(kernel)
    borders.check(border)
    count = level_count(images.shape, num_levels, scale_factor)
    needed = resample.needs_samples(images, kernel)
    return batches.call(laplacian_levels, images, kernel, scale_factor, border, count, needed=needed)


@functools.partial(shared, in_graphs=False)
def laplacian_levels(
    images: tf.Tensor, kernel: kernels.Kernel, scale_factor: float, border: str, count: int
) -> list[tf.Tensor]:
    """Return the residuals of `count` levels, and the low-pass."""
    gaussian = gaussian_levels(images, kernel, scale_factor, border, count)
    residuals = [_residual(pair, kernel, scale_factor, border) for pair in zip(gaussian, gaussian[1:])]
    return [*residuals, gaussian[-1]]


@shared
def _residual(
    levels: tuple[tf.Tensor, tf.Tensor], kernel: kernels.Kernel, scale_factor: float, border: str
) -> tf.Tensor:
    """Return the detail of a level that the next coarser one lacks."""
    finer, coarser = levels
    return finer - resample.magnified(coarser, sides(finer), kernel, scale_factor, border)


@operation
def reconstruct(
    levels: Sequence[tf.Tensor], *, scale_factor: float = 2.0, kernel: kernels.Kernel = None, border: str = "reflect"
) -> tf.Tensor:
    """Return the images that a Laplacian pyramid was made from, exactly up to rounding.

    It inverts `laplacian_pyramid` for every size, border, kernel and factor.

    Equation:
        `x = lowpass`, then, from the coarsest residual to the finest, `x = residual + pyr_up(x, size of residual)`.

    Args:
        levels: the residuals, finest first, then the low-pass: tensors [batch, height, width, channels] with the same
            floating dtype, batch size and channels. Each side must be ceil(n / scale_factor), for the side n of the
            level before it; sides that are rounded down are refused.
        scale_factor: as given to `laplacian_pyramid`.
        kernel: as given to `laplacian_pyramid`.
        border: as given to `laplacian_pyramid`.

    Returns:
        The images, of the shape and dtype of `levels[0]`.

    Raises:
        ValueError: if an argument breaks a rule above, for example if levels are in the wrong order.

    References:
        Burt and Adelson, The Laplacian Pyramid as a Compact Image Code, 1983, section III.A.
    """
    scale_factor = _checks.scale_factor(scale_factor)
    kernel = kernels.hashable(kernel)
    borders.check(border)
    levels = _level_checks.levels(levels, scale_factor, exact=True)
    levels = batches.check(batches.named("levels", levels))
    _level_checks.same_channels([level.shape for level in levels])
    size = [sides(level) for level in levels]
    needed = [n for finer in size[:-1] for n in level_sizes(finer, scale_factor)]
    rule = (
        f"{_level_checks.level_rule(scale_factor, exact=True)} Received: the sides needed, then those of `levels[1:]`,"
    )
    levels = batches.assert_equal(rule, levels, needed, [n for coarser in size[1:] for n in coarser])
    if not any(resample.needs_samples(level, kernel) for level in levels):
        return from_levels(levels, kernel, scale_factor, border)
    padded = [batches.at_least_one(level) for level in levels]
    return batches.as_many_as(from_levels(padded, kernel, scale_factor, border), levels[0])


@functools.partial(shared, in_graphs=False)
def from_levels(levels: Sequence[tf.Tensor], kernel: kernels.Kernel, scale_factor: float, border: str) -> tf.Tensor:
    """Return the images of a Laplacian pyramid."""
    x = levels[-1]
    for residual in reversed(levels[:-1]):
        x = _finer((residual, x), kernel, scale_factor, border)
    return x


@shared
def _finer(levels: tuple[tf.Tensor, tf.Tensor], kernel: kernels.Kernel, scale_factor: float, border: str) -> tf.Tensor:
    """Return the next finer level for its detail and the level."""
    residual, coarser = levels
    return residual + resample.magnified(coarser, sides(residual), kernel, scale_factor, border)


def finer_sizes(size: tuple[Any, Any], scale_factor: float, count: int) -> list[tuple[Any, Any]]:
    """Return the sides of `count` levels that are finer than `size`, coarsest first; each an int, a tensor or None."""
    sizes = []
    for _ in range(count):
        size = finer_size(size[0], scale_factor), finer_size(size[1], scale_factor)
        sizes.append(_checks.area(size, "upsampled_levels", "levels"))
    return sizes


def check_upsampled_levels(upsampled_levels: object, num_levels: int | None, scale_factor: float) -> int:
    """Return the number of levels that are finer than the images; the images themselves are one more level."""
    meaning = "the levels finer than the images"
    finer = _checks.integer("upsampled_levels", upsampled_levels, 0, meaning, maximum=_checks.MOST_LEVELS)
    if num_levels is not None and finer >= _checks.num_levels(num_levels):
        raise ValueError(
            "`upsampled_levels` must be less than `num_levels`, because the images themselves are a level too. "
            f"Received: upsampled_levels={finer}, num_levels={num_levels}"
        )
    if finer * math.log(scale_factor) > math.log(_checks.LONGEST):
        raise ValueError(
            f"`upsampled_levels` must magnify by at most {_checks.LONGEST}: scale_factor^upsampled_levels. "
            f"Received: upsampled_levels={finer}, scale_factor={scale_factor:g}"
        )
    return finer


def level_count(
    shape: Sequence[int | None], num_levels: int | None, scale_factor: float, upsampled_levels: int = 0
) -> int:
    """Return the number of levels; if `num_levels` is None, enough to reduce the shorter side of `shape` to 1."""
    if num_levels is not None:
        return _checks.num_levels(num_levels)
    shorter = [side for side in shape[1:3] if side is not None]
    if len(shorter) < 2 and 1 not in shorter:
        raise ValueError(
            "`num_levels` must be given if the height or width of the images is unknown, because None means as many "
            "levels as it takes to reduce the shorter side to 1. "
            f"Received: num_levels=None, images of shape {tuple(shape)}"
        )
    side, count = min(shorter), upsampled_levels + 1
    while level_size(side, scale_factor) < side:
        side, count = level_size(side, scale_factor), count + 1
        if count > _checks.MOST_LEVELS:
            raise ValueError(
                f"`num_levels` must be given if None would mean more than {_checks.MOST_LEVELS} levels. "
                f"Received: num_levels=None, images of shape {tuple(shape)}, scale_factor={scale_factor:g}"
            )
    return count
