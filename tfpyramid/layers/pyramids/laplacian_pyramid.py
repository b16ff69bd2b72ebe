"""LaplacianPyramid."""

from __future__ import annotations

import tensorflow as tf

from tfpyramid._compat import register
from tfpyramid.layers.pyramids._step import PyramidLayer
from tfpyramid.ops import pyramid


@register
class LaplacianPyramid(PyramidLayer):
    """What each level of a Gaussian pyramid holds and the next does not, finest first, and the coarsest level.

    Equation:
        `residual[k] = gaussian[k] - pyr_up(gaussian[k + 1], size of gaussian[k])`; last, the low-pass
        `gaussian[num_levels - 1]`.

    Convention:
        `LaplacianReconstruction` of the same arguments is the exact inverse, for every size, border, kernel and factor.
        Positions and sizes are those of `GaussianPyramid`.

    Args:
        num_levels: length of the list, from 1 to 64; None means until the shorter side is 1, or at factors below 2
            until it no longer shrinks, and needs known sides.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024.
        kernel: taps of both directions: None, "binomial", "gaussian", "box", "bilinear" or a list, as in
            `GaussianPyramid`.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".
        **kwargs: of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        [batch, height, width, channels], floating point; sides of at least 1, known or not.

    Output shape:
        As `GaussianPyramid`.

    Attributes:
        phase: where sample 0 of a level sits, in samples of the level before it, as in `GaussianPyramid`.

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
