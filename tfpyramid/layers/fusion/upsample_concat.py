"""UpsampleConcat."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid._compat import register
from tfpyramid.layers.fusion._aligned import AlignedLayer


@register
class UpsampleConcat(AlignedLayer):
    """One map from all levels: every level resized to the target level and concatenated along the channels.

    By default the result has the size of the finest level. Use it to return from a pyramid to full resolution without
    losing the levels; `WeightedFusion` adds them up instead.

    Equation:
        `y = concat_k(align(x[k]))`, with the finest level's channels first.

    Convention:
        Sample i of a level sits at i * scale_factor + phase of the level before it. With the phase of the pyramid that
        made the levels, `UpsampleConcat(phase=pyramid.phase)`, every point of the image keeps its position, on odd
        sides too. The phase is 0 for the defaults of the pyramids, and 1/2 for kernels of even size, such as "box" and
        those of `BlurPool2D`. Levels of `BilinearDownsample2D` need `scale_factor=None` instead.
        A level's sides are those of the level before it divided by the factor, rounded up or down; or up to three less
        if the factor is an integer, as after convolutions without padding. Samples do not move: beyond its last sample
        a level is constant. Levels finer than the target are reduced by `pyr_down`. See `tfpyramid.ops.align_levels`.

    Args:
        target_level: index of the level that sets the size of the result. 0 is the finest; negative indices count from
            the coarsest.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024. None is for levels
            without a common factor, which are resized as by `tf.image.resize`: that aligns the centres of the levels.
        interpolation: "bilinear" or "nearest".
        phase: position of sample 0 of a level, in samples of the level before it; 0 if `scale_factor` is None.
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        A list or dict of [batch, height, width, channels], finest first, with one batch size. Sides are at least 1 and
        may be unknown. Levels may have different numbers of channels.

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
