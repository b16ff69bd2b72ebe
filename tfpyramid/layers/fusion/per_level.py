"""PerLevel."""

from __future__ import annotations

from typing import Any

from tfpyramid._compat import keras, register
from tfpyramid.layers._base import check_layer
from tfpyramid.layers.fusion._levelwise import LevelwiseLayer


@register
class PerLevel(LevelwiseLayer):
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
        super().__init__(share_weights=share_weights, **kwargs)
        self.layer = check_layer("layer", layer)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layer": keras.saving.serialize_keras_object(self.layer)}
