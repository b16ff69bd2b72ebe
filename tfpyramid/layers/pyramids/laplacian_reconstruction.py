"""LaplacianReconstruction."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _level_checks
from tfpyramid._compat import register
from tfpyramid.layers._base import TakesLevels
from tfpyramid.layers.pyramids._step import StepLayer
from tfpyramid.ops import pyramid


@register
class LaplacianReconstruction(TakesLevels, StepLayer):
    """Images from their Laplacian pyramid: the exact inverse of `LaplacianPyramid`.

    Give it the arguments of the pyramid. It also accepts residuals that were changed on the way, for example by other
    layers.

    Equation:
        Start with `x = lowpass`. Then, from the coarsest residual to the finest,
        `x = residual + pyr_up(x, size of residual)`.

    Args:
        scale_factor: as given to `LaplacianPyramid`.
        kernel: as given to `LaplacianPyramid`.
        border: as given to `LaplacianPyramid`.
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        A list or dict of [batch, height, width, channels], finest first, with one batch size. Each side must be
        ceil(n / scale_factor), for the side n of the level before it; a side that was rounded down raises an error.

    Output shape:
        That of the first level.

    Raises:
        ValueError: if an argument or the input breaks a rule above, such as levels in the wrong order.

    Example:
        >>> bands = LaplacianPyramid(num_levels=3, kernel="box")(tf.ones([1, 8, 5, 1]))
        >>> tuple(LaplacianReconstruction(kernel="box")(bands).shape)
        (1, 8, 5, 1)

    References:
        Burt and Adelson, The Laplacian Pyramid as a Compact Image Code, 1983, section III.A.
    """

    def build(self, input_shape: Any) -> None:
        self.compute_output_shape(input_shape)
        super().build(input_shape)

    def call(self, levels: list[tf.Tensor]) -> tf.Tensor:
        return pyramid.reconstruct(levels, **self.step)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        shapes = _level_checks.level_shapes(input_shape)
        _level_checks.sizes_follow(shapes, self.scale_factor, exact=True)
        _level_checks.same_channels(shapes)
        return shapes[0]
