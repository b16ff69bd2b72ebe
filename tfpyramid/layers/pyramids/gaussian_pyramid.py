"""GaussianPyramid."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid._compat import register
from tfpyramid.layers.pyramids._step import FixedPyramidLayer
from tfpyramid.ops import pyramid, resample


@register
class GaussianPyramid(FixedPyramidLayer):
    """Images at several resolutions, finest first: each level is the one before it, blurred and downsampled.

    With the defaults a level is equal to OpenCV's `pyrDown`. Use this layer if the filter is fixed, and
    `LearnablePyramid` if the filter is trained with the task.

    Equation:
        `level[u] = images`, where u is `upsampled_levels`. After it `level[k] = pyr_down(level[k - 1])`: blur, then
        decimate. Before it, at position p, `level[u - j]` is the images at
        `(p - phase (s^j - 1) / (s - 1)) / s^j`, interpolated linearly, where s is the factor.

    Convention:
        Sample i of a level sits at i * scale_factor + phase of the level before it. The phase is 0 for the default
        kernel, and 1/2 for kernels with an even number of taps: "bilinear", and "box" at factor 2. Pass the phase to
        the layer that aligns the levels: `UpsampleConcat(phase=pyramid.phase)`.
        A side of n becomes ceil(n / scale_factor), and a side of 1 remains 1. An upsampled level has sides of
        floor(n * scale_factor), the largest that `pyr_down` reduces to n; this is repeated for each level. The factor
        is converted to a ratio of integers, so that sizes are the same in every export. See `tfpyramid.ops.pyr_down`.

    Args:
        num_levels: length of the list, from 1 to 64. None means as many levels as fit: until the shorter side is 1 or,
            at factors below 2, until it no longer shrinks. This requires known sides.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024.
        upsampled_levels: number of levels that are finer than the images, less than `num_levels`.
        kernel: prefilter: None ("binomial" at factor 2, "gaussian" at any other), "binomial", "gaussian", "box" (a
            mipmap), "bilinear", or a list of taps, which is divided by its sum.
        border: "reflect", "symmetric", "edge", "constant" or "wrap", as in `numpy.pad`.
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        [batch, height, width, channels], floating point. Sides are at least 1 and may be unknown.

    Output shape:
        A list of `num_levels` shapes. At an integer factor without upsampled levels they are
        [batch, ceil(height / scale_factor^k), ceil(width / scale_factor^k), channels]. At other factors the sides are
        rounded again at each level.

    Attributes:
        phase: position of sample 0 of a level, in samples of the level before it.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> levels = GaussianPyramid(num_levels=3)(tf.ones([1, 33, 47, 3]))
        >>> [tuple(level.shape) for level in levels]
        [(1, 33, 47, 3), (1, 17, 24, 3), (1, 9, 12, 3)]
        >>> levels = GaussianPyramid(num_levels=3, upsampled_levels=1)(tf.ones([1, 33, 47, 3]))
        >>> [tuple(level.shape) for level in levels]
        [(1, 66, 94, 3), (1, 33, 47, 3), (1, 17, 24, 3)]

    References:
        Burt and Adelson, The Laplacian Pyramid as a Compact Image Code, 1983, section II.A; upsampled levels: Lowe,
        Distinctive Image Features from Scale-Invariant Keypoints, 2004, section 3.3.
    """

    def __init__(self, num_levels: int | None = None, *, upsampled_levels: int = 0, **kwargs: Any) -> None:
        super().__init__(num_levels, **kwargs)
        self.upsampled_levels = pyramid.check_upsampled_levels(upsampled_levels, self.num_levels, self.scale_factor)

    def call(self, images: tf.Tensor) -> list[tf.Tensor]:
        return pyramid.gaussian_pyramid(images, self.num_levels, upsampled_levels=self.upsampled_levels, **self.step)

    def next_level(self, level: tf.Tensor, k: int) -> tf.Tensor:
        """Return level k + 1, computed from level k."""
        return resample.pyr_down(level, **self.step)

    def upsampled_level(self, images: tf.Tensor, k: int) -> tf.Tensor:
        """Return level k, finer than the images, computed from the images."""
        return pyramid.upsampled_level(images, self.kernel, self.scale_factor, self.upsampled_levels - k)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "upsampled_levels": self.upsampled_levels}
