"""LaplacianPyramid."""

from __future__ import annotations

import tensorflow as tf

from tfpyramid._compat import register
from tfpyramid.layers.pyramids._step import FixedPyramidLayer
from tfpyramid.ops import pyramid


@register
class LaplacianPyramid(FixedPyramidLayer):
    """The detail that each level of a Gaussian pyramid loses in the next one, finest first, and the coarsest level.

    `LaplacianReconstruction` adds the levels up to the images again. Use the pair to process an image band by band
    without losing information.

    Equation:
        `residual[k] = gaussian[k] - pyr_up(gaussian[k + 1], size of gaussian[k])`. The last level is the low-pass
        `gaussian[num_levels - 1]`.

    Convention:
        `LaplacianReconstruction` with the same arguments is the exact inverse, for every size, border, kernel and
        factor. Positions and sizes are those of `GaussianPyramid`.

    Args:
        num_levels: length of the list, from 1 to 64. None means as many levels as fit: until the shorter side is 1 or,
            at factors below 2, until it no longer shrinks. This requires known sides.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024.
        kernel: taps for both directions: None, "binomial", "gaussian", "box", "bilinear" or a list, as in
            `GaussianPyramid`.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        [batch, height, width, channels], floating point. Sides are at least 1 and may be unknown.

    Output shape:
        That of `GaussianPyramid`.

    Attributes:
        phase: position of sample 0 of a level, in samples of the level before it, as in `GaussianPyramid`.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> images = tf.random.uniform([1, 33, 47, 3])
        >>> bands = LaplacianPyramid(num_levels=4)(images)
        >>> error = tf.abs(LaplacianReconstruction()(bands) - images)
        >>> bool(tf.reduce_max(error) < 1e-6)
        True

    References:
        Burt and Adelson, The Laplacian Pyramid as a Compact Image Code, 1983, section III.
    """

    def call(self, images: tf.Tensor) -> list[tf.Tensor]:
        return pyramid.laplacian_pyramid(images, self.num_levels, **self.step)
