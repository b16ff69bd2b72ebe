"""Base class of the layers that apply a layer to each level."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _level_checks
from tfpyramid._compat import keras, track_list
from tfpyramid.layers._base import ImageLayer, TakesLevels, build_layer, call_layer, clone, output_shape
from tfpyramid.ops import batches


class LevelwiseLayer(TakesLevels, ImageLayer):
    """A layer that applies `layer`, which a subclass sets in its constructor, to each level.

    Equation:
        `y[k] = layer(x[k])` if `share_weights`, else `y[k] = level_layers[k](x[k])`, clones that `build` creates.
    """

    layer: keras.layers.Layer

    def __init__(self, *, share_weights: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
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
        return {**super().get_config(), "share_weights": self.share_weights}
