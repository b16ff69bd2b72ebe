"""LearnablePyramid."""

from __future__ import annotations

import json
from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _level_checks
from tfpyramid._compat import keras, register, track_list
from tfpyramid.layers._base import ImageLayer, build_layer, call_layer, check_layer, clone, output_shape
from tfpyramid.layers.downsampling.learnable_downsample import LearnableDownsample2D


@register
class LearnablePyramid(ImageLayer):
    """Images, and ever coarser levels by downsampling that is learned with the task.

    Equation:
        `level[0] = images`, `level[k] = downsample[k](level[k - 1])`.

    Convention:
        Sizes and positions are those of `downsample`: sample i of a level sits at i * s + phase of the level before it,
        with s the strides of `downsample`. Pass the phase to the layer that aligns the levels:
        `UpsampleConcat(phase=pyramid.phase)`.
        Each step computes in the dtype of its layer. All levels have the dtype of the pyramid's policy.

    Args:
        num_levels: length of the list, from 1 to 64.
        downsample: the layer that goes from a level to the next; each step has a clone of it, with weights of its own
            unless they are shared. None means `LearnableDownsample2D()`, which starts at the Gaussian pyramid.
        share_weights: use one clone for every step; each level must then have as many channels as the images.
        **kwargs: of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        [batch, height, width, channels], floating point; sides of at least 1, known or not.

    Output shape:
        A list of `num_levels` shapes: the input's, and what `downsample` makes of each.

    Attributes:
        downsamplers: the layers that lead to level 1, 2, ..., whose weights are learned; a single one if they are
            shared.
        phase: that of `downsample`, 0 for the default; also 0 for a layer that does not state its own, such as those
            of Keras. Pooling of 2 by 2 has the phase 1/2.

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
        # A string, since Keras would track a layer or a dict kept here as a part with state of its own.
        self._downsample = json.dumps(keras.saving.serialize_keras_object(downsample))
        steps = self.num_levels - 1
        self.downsamplers = [clone(downsample, k + 1) for k in range(min(steps, 1) if share_weights else steps)]
        track_list(self, "downsamplers")

    @property
    def downsample(self) -> keras.layers.Layer:
        """An untrained layer as each of `downsamplers` was before training."""
        return keras.saving.deserialize_keras_object(json.loads(self._downsample))

    @property
    def phase(self) -> float:
        """Where sample 0 of a level sits, in samples of the level before it: the phase of `downsample`, or 0."""
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
        """Return level k + 1 of level k."""
        return call_layer(self._steps()[k], level, self.compute_dtype)

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
