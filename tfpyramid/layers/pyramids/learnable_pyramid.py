"""LearnablePyramid."""

from __future__ import annotations

import json
from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _level_checks
from tfpyramid._compat import keras, register, track_list
from tfpyramid.layers._base import ImageLayer, build_layer, call_layer, check_layer, clone, output_shape
from tfpyramid.layers.downsampling.learnable_downsample import LearnableDownsample2D
from tfpyramid.ops.shapes import dimensions


@register
class LearnablePyramid(ImageLayer):
    """Images at several resolutions, by downsampling layers that are trained with the task.

    The finest level is the images themselves. Each further level is a downsampling layer applied to the level before
    it; by default that layer starts as the filter of `GaussianPyramid`.

    Equation:
        `level[0] = images`, `level[k] = downsample[k](level[k - 1])`.

    Convention:
        Sizes and positions are those of `downsample`. Sample i of a level sits at i * s + phase of the level before it,
        where s is the strides of `downsample`. Pass the phase to the layer that aligns the levels:
        `UpsampleConcat(phase=pyramid.phase)`.
        Each downsampling layer computes in its own dtype. All levels have the dtype of the pyramid's policy.

    Args:
        num_levels: length of the list, from 1 to 64.
        downsample: layer that maps a level to the next. Each step is a clone of it, with weights of its own unless they
            are shared. None means `LearnableDownsample2D()`, which starts as the Gaussian pyramid.
        share_weights: use one clone for every step. Each level must then have as many channels as the images.
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        [batch, height, width, channels], floating point. Sides are at least 1 and may be unknown.

    Output shape:
        A list of `num_levels` shapes: that of the input, then those that `downsample` returns.

    Attributes:
        downsamplers: the layers that compute level 1, 2, ..., with the trained weights. It holds a single layer if the
            weights are shared.
        phase: the phase of `downsample`, 0 for the default, and (rows, columns) for a layer with two that differ. It is
            also 0 for a layer without an attribute `phase`, such as the layers of Keras; note that pooling of 2 by 2
            has the phase 1/2.
        skips_levels: whether level k + 2 can be computed from level k in one step, which a `LevelCascade` uses: for
            `keras.layers.AveragePooling2D` with equal `pool_size` and `strides`, and no padding.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> pyramid = LearnablePyramid(num_levels=3, downsample=LearnableDownsample2D(filters=8))
        >>> [tuple(level.shape) for level in pyramid(tf.ones([1, 33, 47, 3]))]
        [(1, 33, 47, 3), (1, 17, 24, 8), (1, 9, 12, 8)]
    """

    def __init__(
        self,
        num_levels: int,
        downsample: keras.layers.Layer | None = None,
        *,
        share_weights: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_levels = _checks.num_levels(num_levels)
        self.share_weights = _checks.flag("share_weights", share_weights)
        if downsample is None:
            downsample = LearnableDownsample2D(name="downsample", dtype=self.dtype_policy)
        downsample = check_layer("downsample", downsample)
        # As a string, because Keras tracks a layer or a dict in an attribute as a part with state of its own.
        self._downsample = json.dumps(keras.saving.serialize_keras_object(downsample))
        steps = self.num_levels - 1
        self.downsamplers = [clone(downsample, k + 1) for k in range(min(steps, 1) if share_weights else steps)]
        track_list(self, "downsamplers")

    @property
    def downsample(self) -> keras.layers.Layer:
        """A new, untrained copy of the layer that each of `downsamplers` is a clone of."""
        return keras.saving.deserialize_keras_object(json.loads(self._downsample))

    @property
    def phase(self) -> Any:
        """Position of sample 0 of a level, in samples of the level before it: the phase of `downsample`, or 0."""
        return getattr(self.downsample, "phase", 0.0)

    def _steps(self) -> list[keras.layers.Layer]:
        return self.downsamplers * (self.num_levels - 1) if self.share_weights else self.downsamplers

    def build(self, input_shape: Any) -> None:
        shapes = self.compute_output_shape(input_shape)
        for step, shape in zip(self._steps(), shapes):
            build_layer(step, shape)
        super().build(input_shape)

    def call(self, images: tf.Tensor) -> list[tf.Tensor]:
        levels = [_checks.images(images)]
        for k in range(self.num_levels - 1):
            levels.append(self.next_level(levels[-1], k))
        return levels

    def next_level(self, level: tf.Tensor, k: int) -> tf.Tensor:
        """Return level k + 1, computed from level k."""
        return call_layer(self._steps()[k], level, self.compute_dtype)

    @property
    def skips_levels(self) -> bool:
        """Whether `level_after_next` takes one step, because `downsample` averages blocks that do not overlap."""
        step = next(iter(self.downsamplers), None)
        if not isinstance(step, keras.layers.AveragePooling2D) or step.padding != "valid":
            return False
        return step.data_format == "channels_last" and tuple(step.strides) == tuple(step.pool_size)

    def level_after_next(self, level: tf.Tensor, k: int) -> tf.Tensor:
        """Return level k + 2, computed from level k in one step if `skips_levels`."""
        if not self.skips_levels:
            return self.next_level(self.next_level(level, k), k + 1)
        step = self._steps()[k]
        means = _block_means(tf.cast(level, step.compute_dtype), [side**2 for side in step.pool_size])
        return tf.cast(means, self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> list[tuple[int | None, ...]]:
        shapes: list[tuple[int | None, ...]] = [_checks.image_shape("images", input_shape)]
        for downsample in self._steps():
            shapes.append(output_shape(downsample, shapes[-1]))
        if self.share_weights:
            _level_checks.same_channels(shapes, because="`share_weights` is True")
        return shapes

    def get_config(self) -> dict[str, Any]:
        config = {"num_levels": self.num_levels, "share_weights": self.share_weights}
        return {**super().get_config(), **config, "downsample": json.loads(self._downsample)}


def _block_means(images: tf.Tensor, size: list[int]) -> tf.Tensor:
    """Return the means of blocks of (rows, columns); rows and columns that fill no block are ignored."""
    _, height, width, channels = dimensions(images)
    rows, columns = size
    # TensorFlow's pooling is slow for few channels, so it first averages whole rows, with each sample as a channel.
    whole = tf.reshape(images, [-1, height, 1, width * channels])
    means = tf.reshape(tf.nn.avg_pool2d(whole, [rows, 1], [rows, 1], "VALID"), [-1, height // rows, width, channels])
    means = means[:, :, : width // columns * columns]
    return tf.reduce_mean(tf.reshape(means, [-1, height // rows, width // columns, columns, channels]), 3)
