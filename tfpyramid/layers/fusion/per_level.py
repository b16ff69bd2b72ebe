"""PerLevel."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _level_checks
from tfpyramid._compat import keras, register, track_list
from tfpyramid.layers._base import ImageLayer, TakesLevels, build_layer, call_layer, check_layer, clone, output_shape
from tfpyramid.ops import batches


@register
class PerLevel(TakesLevels, ImageLayer):
    """A layer applied to each level of a pyramid, as `keras.layers.TimeDistributed` applies one to each time step.

    The levels either share the layer or have a clone each. Use it for any Keras layer; `PyramidConv2D` is the short
    form for a convolution.

    Equation:
        `y[k] = layer(x[k])` with one layer for all levels, or `y[k] = layer[k](x[k])` with a clone for each.

    Convention:
        A `keras.Sequential` or wrapper that is not built yet is built for images of any size, unless its weights depend
        on the sides.
        An empty batch, such as that of a replica without samples, gives empty outputs and gradients of 0. The layer
        itself is called on one sample of zeros. A batch normalisation in training mode counts this sample.
        The layer computes in its own dtype. The outputs have the dtype of the policy of `PerLevel`, like those of
        `TimeDistributed` in Keras 3: in a model of mixed precision `PerLevel(layer, dtype="float32")` returns float32.

    Args:
        layer: the layer, with one input and one output.
        share_weights: use the layer itself at every level. All levels must then have the same number of channels. False
            gives each level a clone with weights of its own, and the first call fixes the number of levels.
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        A list or dict of [batch, height, width, channels], finest first, floating point. Sides may be unknown. Known
        batch sizes must be equal.

    Output shape:
        A list of the outputs of `layer`, one for each level. As outputs of a model, all have the name of this layer. To
        give each its own loss and metrics, return a dict:
        `keras.Model(image, {f"level_{k}": y for k, y in enumerate(levels)})`.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> levels = [tf.ones([1, 9, 7, 3]), tf.ones([1, 5, 4, 3])]
        >>> [tuple(y.shape) for y in PerLevel(keras.layers.Conv2D(8, 3, padding="same"))(levels)]
        [(1, 9, 7, 8), (1, 5, 4, 8)]
    """

    def __init__(self, layer: keras.layers.Layer, *, share_weights: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = check_layer("layer", layer)
        self.share_weights = _checks.flag("share_weights", share_weights)
        self.level_layers: list[keras.layers.Layer] = []

    def build(self, input_shape: Any) -> None:
        shapes = _level_checks.level_shapes(input_shape)
        if self.share_weights:
            _level_checks.same_channels(shapes, because="`share_weights` is True")
        else:
            self.second_names = ("layer",)
            self.level_layers = [self.layer] + [clone(self.layer, k) for k in range(1, len(shapes))]
            track_list(self, "level_layers")
        for layer, shape in zip(self._layers_of(shapes), shapes):
            build_layer(layer, shape)
        super().build(input_shape)

    def call(self, levels: list[tf.Tensor]) -> list[tf.Tensor]:
        levels = [_checks.images(level, f"levels[{k}]") for k, level in enumerate(levels)]
        # Only known sizes are checked here. Layers that pair samples of several levels also assert it in the graph.
        _level_checks.one_batch({name: level.shape for name, level in batches.named("levels", levels).items()})
        return [call_layer(layer, level, self.compute_dtype) for layer, level in zip(self._layers_of(levels), levels)]

    def compute_output_shape(self, input_shape: Any) -> list[tuple[int | None, ...]]:
        return [output_shape(self.layer, shape) for shape in _level_checks.level_shapes(input_shape)]

    def _layers_of(self, levels: list) -> list[keras.layers.Layer]:
        layers = [self.layer] * len(levels) if self.share_weights else self.level_layers
        if len(layers) != len(levels):
            raise ValueError(
                f"`levels` must be {len(layers)} levels, as at the first call, because each level has its own weights. "
                f"Received: {len(levels)} levels"
            )
        return layers

    def get_config(self) -> dict[str, Any]:
        layer = keras.saving.serialize_keras_object(self.layer)
        return {**super().get_config(), "layer": layer, "share_weights": self.share_weights}
