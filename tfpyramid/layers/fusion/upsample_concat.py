"""UpsampleConcat."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid._compat import register
from tfpyramid.layers.fusion._aligned import AlignedLayer


@register
class UpsampleConcat(AlignedLayer):
    """Every level at the size that the target level actually has, side by side along the channels.

    Equation:
        `y = concat_k(align(x[k]))`, the finest level's channels first.

    Convention:
        Sample i of a level sits at i * scale_factor + phase of the level before it. With the phase of the pyramid that
        made the levels, `UpsampleConcat(phase=pyramid.phase)`, each point of the image stays at its place, on odd sides
        too. The phase is 0 for the defaults of the pyramids, and 1/2 for kernels of even size, such as those of "box"
        and of `BlurPool2D`. Levels of `BilinearDownsample2D` need `scale_factor=None` instead.
        A level's sides are those of the level before it divided by the factor, rounded up or down; beyond its last
        sample a level is constant. Levels finer than the target go down by `pyr_down`. See
        `tfpyramid.ops.align_levels`.

    Args:
        target_level: index of the level whose size the result has, 0 the finest; negative counts from the coarsest.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024; None for levels
            whose sizes follow no factor, which are stretched as `tf.image.resize` stretches.
        interpolation: "bilinear" or "nearest".
        phase: where sample 0 of a level sits, in samples of the level before it; 0 where `scale_factor` is None.
        **kwargs: of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        A list or dict of [batch, height, width, channels], finest first, of one batch size; any sides of at least 1,
        known or not, any channels.

    Output shape:
        [batch, target height, target width, sum of all channels].

    Raises:
        ValueError: if an argument or the input breaks a rule above, such as levels in the wrong order.

    Example:
        >>> levels = GaussianPyramid(num_levels=3)(tf.ones([1, 33, 47, 3]))
        >>> tuple(UpsampleConcat()(levels).shape)
        (1, 33, 47, 9)
    """

    def call(self, levels: list[tf.Tensor]) -> tf.Tensor:
        return tf.concat(self.aligned(levels), axis=-1)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        shapes = self.aligned_shapes(input_shape)
        return (*shapes[0][:3], sum(shape[3] or 0 for shape in shapes))
