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
    """Say how alike neighbouring levels are: 1 if each is a scaled copy of the level before it, smaller if not.

    Equation:
        `loss = mean_k <a, b> / (||a|| ||b||)` with `a = pyr_down(level[k])`, its kernel moved to `phase`, and
        `b = level[k + 1]`, each flattened; 0 for a pair of which one is zero everywhere, with a finite gradient.

    Convention:
        A Gaussian pyramid is as alike as can be, 1, and there the gradient is zero: a `LearnablePyramid`, which starts
        at one, is moved by this loss only after the task has moved it a little.

    Args:
        levels: at least two tensors [batch, height, width, channels] of one floating dtype and one batch size, finest
            first, each side n / scale_factor of the side n before it, rounded up or down, equal channels. float16 and
            bfloat16 are summed in float32.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024.
        phase: where sample 0 of a level sits, in samples of the level before it, as in `ops.align_levels`.

    Returns:
        [batch], from -1 to 1.

    Raises:
        ValueError: if an argument breaks a rule above.

    Example:
        >>> images = tf.random.uniform([2, 33, 47, 3])
        >>> loss = pyramid_diversity_loss(ops.gaussian_pyramid(images, 3))
        >>> bool(tf.reduce_all(tf.abs(loss - 1) < 1e-5))  # the next level is what each is brought to
        True
    """
    scale_factor = _checks.scale_factor(scale_factor)
    kernel = kernels.at_phase(None, scale_factor, _checks.phase(phase))
    levels = fusion.following(levels, scale_factor, cure="")
    _check_pairs([level.shape for level in levels])
    alike = []
    for finer, coarser in zip(levels[:-1], levels[1:]):
        next_level = resample.pyr_down(finer, scale_factor=scale_factor, kernel=kernel)
        alike.append(_cosine(resample.cropped(next_level, sides(coarser)), coarser))
    return tf.add_n(alike) / len(alike)


def _check_pairs(shapes: Sequence[Sequence[int | None]]) -> None:
    if len(shapes) < 2:
        raise ValueError(f"`levels` must be at least two, to be compared. Received: {len(shapes)} level")
    _level_checks.same_channels(shapes)


def _cosine(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Return the cosine of the angle between the samples of two batches, [batch]; 0 where one is zero."""

    def unit(x: tf.Tensor) -> tf.Tensor:
        x = tf.cast(x, working_dtype(x.dtype))
        x = tf.reshape(x, [tf.shape(x)[0], tf.reduce_prod(tf.shape(x)[1:])])
        # Divided by its peak first, which changes no angle: the square of 1e-30 is zero in float32.
        peak = tf.stop_gradient(tf.reduce_max(tf.abs(x), 1, keepdims=True))
        x = x / tf.where(peak == 0, tf.ones_like(peak), peak)
        square = tf.reduce_sum(tf.square(x), 1, keepdims=True)
        return x / tf.sqrt(tf.where(square == 0, tf.ones_like(square), square))

    return tf.reduce_sum(unit(a) * unit(b), 1)


@register
class PyramidDiversity(TakesLevels, ImageLayer):
    """Pass levels on, and add a loss for neighbouring levels that are alike.

    Equation:
        `y = x`; adds `weight mean(pyramid_diversity_loss(x))`, the mean over the batch.

    Args:
        weight: of the added loss, from 0 to 1e30; 0.01 to 0.1 is what it was made for.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024.
        phase: where sample 0 of a level sits, in samples of the level before it: that of the pyramid.
        **kwargs: of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        A list of at least two [batch, height, width, channels], finest first, of one batch size, each side
        n / scale_factor of the side n before it, rounded up or down, equal channels; sides known or not.

    Output shape:
        The same.

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
        self.weight = _checks.at_least("weight", weight, 0, "of the added loss")
        self.scale_factor = _checks.scale_factor(scale_factor)
        self.phase = _checks.phase(phase)

    def build(self, input_shape: Any) -> None:
        self.compute_output_shape(input_shape)
        super().build(input_shape)

    def call(self, levels: list[tf.Tensor]) -> list[tf.Tensor]:
        if self.weight:
            alike = pyramid_diversity_loss(levels, scale_factor=self.scale_factor, phase=self.phase)
            self.add_loss(
                self.weight * tf.math.divide_no_nan(tf.reduce_sum(alike), tf.cast(tf.size(alike), alike.dtype))
            )
        return list(levels)

    def compute_output_shape(self, input_shape: Any) -> list[tuple[int | None, ...]]:
        shapes = _level_checks.level_shapes(input_shape)
        fusion.check_follow(shapes, self.scale_factor, cure="")
        _check_pairs(shapes)
        return list(shapes)

    def get_config(self) -> dict[str, Any]:
        config = {"weight": self.weight, "scale_factor": self.scale_factor, "phase": self.phase}
        return {**super().get_config(), **config}
