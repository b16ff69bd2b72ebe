"""pyramid_diversity_loss, and the layer that adds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _level_checks
from tfpyramid._compat import register
from tfpyramid.layers._base import ImageLayer, TakesLevels
from tfpyramid.ops import fusion, kernels, resample
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.shapes import sides


def pyramid_diversity_loss(levels: Sequence[tf.Tensor], *, scale_factor: float = 2.0, phase: float = 0.0) -> tf.Tensor:
    """Return the mean cosine similarity of neighbouring levels.

    It is 1 if each level is a downsampled copy of the level before it, and smaller if the levels differ. Added to a
    loss, it makes the levels of a learned pyramid more diverse.

    Equation:
        `loss = mean_k <a, b> / (||a|| ||b||)` with `a = pyr_down(level[k])`, its kernel shifted to `phase`, and
        `b = level[k + 1]`, each flattened. The cosine is 0, with a finite gradient, if `a` or `b` is zero everywhere.

    Convention:
        A Gaussian pyramid has the maximum, 1, where the gradient is zero. A `LearnablePyramid` is initialized as a
        Gaussian pyramid, so this loss has no effect on it until the loss of the task has changed the weights.

    Args:
        levels: at least two tensors [batch, height, width, channels] of one floating dtype, one batch size and equal
            channels, finest first. Each side is n / scale_factor of the side n of the level before it, rounded up or
            down. float16 and bfloat16 are summed in float32.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024.
        phase: position of sample 0 of a level, in samples of the level before it, as in `ops.align_levels`.

    Returns:
        The loss of each sample, [batch], from -1 to 1.

    Raises:
        ValueError: if an argument breaks a rule above.

    Example:
        >>> images = tf.random.uniform([2, 33, 47, 3])
        >>> loss = pyramid_diversity_loss(ops.gaussian_pyramid(images, 3))
        >>> bool(tf.reduce_all(tf.abs(loss - 1) < 1e-5))  # each level is pyr_down of the level before it
        True
    """
    scale_factor = _checks.scale_factor(scale_factor)
    kernel = kernels.at_phase(None, scale_factor, _checks.phase(phase))
    levels = fusion.following(levels, scale_factor, advice="", unpadded=False)
    _check_pairs([level.shape for level in levels])
    cosines = []
    for finer, coarser in zip(levels[:-1], levels[1:]):
        next_level = resample.pyr_down(finer, scale_factor=scale_factor, kernel=kernel)
        cosines.append(_cosine(resample.cropped(next_level, sides(coarser)), coarser))
    return tf.add_n(cosines) / len(cosines)


def _check_pairs(shapes: Sequence[Sequence[int | None]]) -> None:
    if len(shapes) < 2:
        raise ValueError(f"`levels` must have at least two levels to compare. Received: {len(shapes)} level")
    _level_checks.same_channels(shapes)


def _cosine(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Return the cosine similarity of each pair of samples of two batches, [batch]; 0 if either sample is zero."""

    def unit(x: tf.Tensor) -> tf.Tensor:
        x = tf.cast(x, working_dtype(x.dtype))
        x = tf.reshape(x, [tf.shape(x)[0], tf.reduce_prod(tf.shape(x)[1:])])
        # Divide by the peak first, because the square of 1e-30 underflows in float32; the angle does not change.
        peak = tf.stop_gradient(tf.reduce_max(tf.abs(x), 1, keepdims=True))
        x = x / tf.where(peak == 0, tf.ones_like(peak), peak)
        square = tf.reduce_sum(tf.square(x), 1, keepdims=True)
        return x / tf.sqrt(tf.where(square == 0, tf.ones_like(square), square))

    return tf.reduce_sum(unit(a) * unit(b), 1)


@register
class PyramidDiversity(TakesLevels, ImageLayer):
    """Return levels unchanged and add a loss that is large if neighbouring levels are similar.

    Equation:
        `y = x`; the added loss is `weight mean(pyramid_diversity_loss(x))`, the mean over the batch.

    Args:
        weight: weight of the added loss, from 0 to 1e30. It was designed for 0.01 to 0.1.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024.
        phase: phase of the pyramid: the position of sample 0 of a level, in samples of the level before it.
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        A list of at least two tensors [batch, height, width, channels] of one batch size and equal channels, finest
        first. Each side is n / scale_factor of the side n of the level before it, rounded up or down. Sides may be
        unknown.

    Output shape:
        The same as the input shape.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> layer = losses.PyramidDiversity(weight=0.5)
        >>> levels = layer(ops.gaussian_pyramid(tf.random.uniform([2, 33, 47, 3]), 3))
        >>> [round(float(loss), 4) for loss in layer.losses]
        [0.5]
    """

    def __init__(self, weight: float = 0.01, *, scale_factor: float = 2.0, phase: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weight = _checks.at_least("weight", weight, 0, "the weight of the added loss")
        self.scale_factor = _checks.scale_factor(scale_factor)
        self.phase = _checks.phase(phase)

    def build(self, input_shape: Any) -> None:
        self.compute_output_shape(input_shape)
        super().build(input_shape)

    def call(self, levels: list[tf.Tensor]) -> list[tf.Tensor]:
        if self.weight:
            loss = pyramid_diversity_loss(levels, scale_factor=self.scale_factor, phase=self.phase)
            # The mean of an empty batch would be NaN.
            mean = tf.math.divide_no_nan(tf.reduce_sum(loss), tf.cast(tf.size(loss), loss.dtype))
            self.add_loss(self.weight * mean)
        return list(levels)

    def compute_output_shape(self, input_shape: Any) -> list[tuple[int | None, ...]]:
        shapes = _level_checks.level_shapes(input_shape)
        fusion.check_follow(shapes, self.scale_factor, advice="", unpadded=False)
        _check_pairs(shapes)
        return list(shapes)

    def get_config(self) -> dict[str, Any]:
        config = {"weight": self.weight, "scale_factor": self.scale_factor, "phase": self.phase}
        return {**super().get_config(), **config}
