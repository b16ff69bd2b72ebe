"""PyramidConv2D."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _level_checks
from tfpyramid._compat import keras, register
from tfpyramid.layers._base import check_activation, check_initializer, check_regularizer
from tfpyramid.layers.fusion._levelwise import LevelwiseLayer
from tfpyramid.ops import convolution


class LevelConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` that also accepts an empty batch."""

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return convolution.conv2d(inputs, tf.convert_to_tensor(kernel), padding="SAME")


@register
class PyramidConv2D(LevelwiseLayer):
    """A convolution at each level of a pyramid, which keeps the size of the level.

    By default each level has its own kernel. Use it to compute features of every level; for other layers than a
    convolution use `PerLevel`.

    Equation:
        `y[k] = activation(conv(x[k], w[k]) + b[k])`, with zeros outside the image: `keras.layers.Conv2D` with padding
        "same".

    Args:
        filters: channels of every output, from 1 to 65536.
        kernel_size: rows and columns of the kernels, one number or two from 1 to 1024.
        activation: Keras activation, or None.
        use_bias: add a learned bias to each filter.
        kernel_initializer: Keras initializer of the kernels.
        kernel_regularizer: Keras regularizer of the kernels.
        share_weights: use one kernel at every level. All levels must then have the same number of channels.
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        A list or dict of [batch, height, width, channels], finest first, floating point. Sides are at least 1 and may
        be unknown.

    Output shape:
        A list of [batch, height, width, filters].

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> levels = GaussianPyramid(num_levels=2)(tf.ones([1, 9, 7, 3]))
        >>> [tuple(y.shape) for y in PyramidConv2D(8, activation="relu")(levels)]
        [(1, 9, 7, 8), (1, 5, 4, 8)]
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int] = 3,
        *,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        kernel_regularizer: Any = None,
        share_weights: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(share_weights=share_weights, **kwargs)
        self.filters = _checks.channels("filters", filters, "the channels of every output")
        meaning = "the rows and columns of the kernels"
        self.kernel_size = _checks.pair("kernel_size", kernel_size, 1, meaning, maximum=_checks.LARGEST)
        self.activation = check_activation("activation", activation)
        self.use_bias = _checks.flag("use_bias", use_bias)
        self.kernel_initializer = check_initializer("kernel_initializer", kernel_initializer)
        self.kernel_regularizer = check_regularizer("kernel_regularizer", kernel_regularizer)
        self.layer = LevelConv2D(
            self.filters,
            self.kernel_size,
            activation=self.activation,
            use_bias=self.use_bias,
            kernel_initializer=self.kernel_initializer,
            kernel_regularizer=self.kernel_regularizer,
            padding="same",
            data_format="channels_last",
            name="conv",
            dtype=kwargs.get("dtype"),
        )

    def build(self, input_shape: Any) -> None:
        for shape in _level_checks.level_shapes(input_shape):
            _checks.weight_shape("kernel", (*self.kernel_size, shape[3], self.filters))
        super().build(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.saving.serialize_keras_object(self.kernel_initializer),
            "kernel_regularizer": keras.saving.serialize_keras_object(self.kernel_regularizer),
        }
