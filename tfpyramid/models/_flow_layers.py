"""Layers of the model that `pyramid_flow` builds."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras, register, shape_tuple
from tfpyramid.layers._base import BaseLayer, ImageLayer
from tfpyramid.models._batch_layers import BatchLayer
from tfpyramid.ops import correlation, resample
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.shapes import dimensions, sides

_WINDOW = 9  # Rows and columns of the window of a local mean.

# Added to the mean square of the features of a pixel. Features far below its root are noise and are not magnified.
_SMALLEST_SQUARE = 1e-4

# The first values of what `SoftMatch` learns, in which an untrained model matches best.
_SHARPNESS, _THRESHOLD = 60.0, 0.7
_SMALLEST_CONFIDENCE = 1e-4


@register
class BothImages(BatchLayer):
    """Map [first, second] to one batch, first all of `first` and then all of `second`; both must have one shape."""

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        first, second = inputs
        self.compute_output_shape([first.shape, second.shape])
        return tf.concat([first, correlation.assert_one_shape(first, second)], 0)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        first, second = map(shape_tuple, input_shape)
        correlation.check_shapes(first, second)
        return (None if first[0] is None else 2 * first[0], *first[1:])


@register
class EachImage(BatchLayer):
    """Map a batch of `BothImages` back to [first, second]."""

    def call(self, both: tf.Tensor) -> list[tf.Tensor]:
        return tf.split(both, 2)

    def compute_output_spec(self, inputs: Any) -> Any:
        return [keras.KerasTensor(shape, dtype=inputs.dtype) for shape in self.compute_output_shape(inputs.shape)]

    def compute_output_shape(self, input_shape: Any) -> list[tuple[int | None, ...]]:
        batch, *sample = shape_tuple(input_shape)
        half = (None if batch is None else batch // 2, *sample)
        return [half, half]


@register
class Contrast(ImageLayer):
    """Features without their local mean, and of one length at each pixel, so that their correlation is a cosine.

    Without this, bright pixels would match everything.

    Equation:
        `y = z / sqrt(mean_c(z^2) + 1e-4)` with `z = x - mean(x)`, that mean over the 9 by 9 pixels around each, as far
        as they exist.
    """

    def call(self, features: tf.Tensor) -> tf.Tensor:
        x = tf.cast(features, working_dtype(features.dtype))
        x -= _local_mean(x)
        square = tf.reduce_mean(tf.square(x), -1, keepdims=True)
        return tf.cast(x * tf.math.rsqrt(square + _SMALLEST_SQUARE), features.dtype)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return shape_tuple(input_shape)


def _local_mean(x: tf.Tensor) -> tf.Tensor:
    """Return the mean over the 9 by 9 pixels around each, as far as they exist.

    It is the mean of columns and then of rows. TensorFlow would add 81 terms for a square window, and XLA would take
    minutes to count them.
    """
    return tf.nn.avg_pool2d(tf.nn.avg_pool2d(x, [_WINDOW, 1], 1, "SAME"), [1, _WINDOW], 1, "SAME")


@register
class SoftMatch(BaseLayer):
    """Map the costs of a search, which are cosines, to a displacement and to its confidence, both float32.

    Where no cosine is large, as on a flat surface or where the second image hides a pixel, the displacement is that of
    confident pixels nearby.

    Equation:
        `w = softmax(sharpness [costs, threshold])`, `confidence = 1 - w[-1]`, and
        `y = mean(sum_d w[d] d) / (mean(confidence) + 1e-4)`, with d = (dx, dy) and means over the 9 by 9 pixels around
        each. The sharpness and the threshold are learned, and start at 60 and 0.7.
    """

    def __init__(self, max_displacement: int, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.max_displacement = _checks.integer("max_displacement", max_displacement, 0)

    def build(self, input_shape: Any) -> None:
        self.sharpness = self.add_parameter("sharpness", _SHARPNESS)
        self.threshold = self.add_parameter("threshold", _THRESHOLD)
        super().build(input_shape)

    def call(self, costs: tf.Tensor) -> list[tf.Tensor]:
        reach = np.arange(-self.max_displacement, self.max_displacement + 1)
        dy, dx = np.meshgrid(reach, reach, indexing="ij")
        displacements = tf.constant(np.stack([dx.ravel(), dy.ravel()], -1), costs.dtype)
        threshold = tf.convert_to_tensor(self.threshold) * tf.ones_like(costs[..., :1])
        weights = tf.nn.softmax(tf.convert_to_tensor(self.sharpness) * tf.concat([costs, threshold], -1))
        # Splits, because the gradient of a slice takes longer than that of a split.
        found, no_match = tf.split(weights, [dy.size, 1], -1)
        confidence = 1 - no_match
        nearby = _local_mean(tf.concat([tf.tensordot(found, displacements, 1), confidence], -1))
        match, certain = tf.split(nearby, [2, 1], -1)
        return [match / (certain + _SMALLEST_CONFIDENCE), confidence]

    def compute_output_shape(self, input_shape: Any) -> list[tuple[int | None, ...]]:
        sides = shape_tuple(input_shape)[:3]
        return [(*sides, 2), (*sides, 1)]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "max_displacement": self.max_displacement}


@register
class NoFlow(ImageLayer):
    """Map features to a flow of zeros, [batch, height, width, 2], float32."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def call(self, features: tf.Tensor) -> tf.Tensor:
        return tf.zeros([*dimensions(features)[:3], 2])

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (*shape_tuple(input_shape)[:3], 2)


@register
class FinerFlow(ImageLayer):
    """Map [flow, features] to the flow at the size of the features, in pixels of that size, by linear interpolation.

    Convention:
        Sample i of the flow sits at pixel i * scale_factor + phase of the features.
    """

    def __init__(self, scale_factor: int = 2, phase: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.scale_factor = _checks.integer("scale_factor", scale_factor, 1)
        self.phase = _checks.phase(phase, self.scale_factor)

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        flow, features = inputs
        return self.scale_factor * resample.resize_by(flow, self.scale_factor, sides(features), phase=self.phase)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        flow, features = map(shape_tuple, input_shape)
        return (flow[0], *features[1:3], 2)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale_factor": self.scale_factor, "phase": self.phase}


@register
class StoppedGradient(BaseLayer):
    """The input unchanged, without a gradient, float32."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.stop_gradient(x)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return shape_tuple(input_shape)
