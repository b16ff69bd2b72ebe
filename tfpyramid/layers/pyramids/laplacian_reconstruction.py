"""LaplacianReconstruction."""

from __future__ import annotations

from tfpyramid._compat import register
from tfpyramid.layers.pyramids._step import FixedStepLayer, InverseLayer


@register
class LaplacianReconstruction(InverseLayer, FixedStepLayer):
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
