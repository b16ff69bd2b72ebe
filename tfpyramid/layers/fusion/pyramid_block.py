"""PyramidBlock."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras, register, track_list
from tfpyramid._sizes import level_sizes
from tfpyramid.layers._base import ImageLayer, check_activation, check_initializer, check_regularizer, fresh_initializer
from tfpyramid.ops import borders, convolution, kernels, resample
from tfpyramid.ops.shapes import sides


@register
class PyramidBlock(ImageLayer):
    """A small U-Net in one block: downsample, upsample, and concatenate with the input of each step.

    The output is one map that combines several resolutions. Use it in place of a convolution that needs a larger
    receptive field.

    Equation:
        `y = a(conv(skip_0(x), strides))`, with the activation a, `skip_k(x) = concat(x, up(inside_k(x)))`, and
        `inside_k(x) = skip_{k+1}(a(conv(x, 2)))`. The innermost is `inside_{depth-1}(x) = a(conv(a(conv(x, 2)), 1))`.
        Each `conv(x, s)` has its own kernel and bias: `conv_down(x, kernel, s) + bias`.

    Convention:
        Output sample i of a convolution sits at i * strides of its input, the middle of an odd kernel. The middle of an
        even kernel is half a sample later. A side of n becomes ceil(n / strides).
        `up` upsamples by 2, with samples at the middles of the downsampling kernels, to the size of the tensor that its
        result is concatenated with. Any sides work, 1 by 1 too: a side of 1 remains 1, and a reflected border repeats
        on short axes. "nearest" repeats each sample of an odd kernel, and drops the last repetition on odd sides.

    Args:
        filters: channels of every convolution and of the output, from 1 to 65536.
        depth: number of downsampling steps, from 1 to 64.
        activation: Keras activation after every convolution, or None.
        kernel_size: rows and columns of the kernels, one number or two from 1 to 1024.
        strides: strides of the last convolution, from 1 to 1024: 1 keeps the size of the images, 2 halves it.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".
        interpolation: "nearest" or "bilinear".
        use_bias: add a learned bias to each filter.
        kernel_initializer: Keras initializer of the kernels.
        kernel_regularizer: Keras regularizer of the kernels.
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        [batch, height, width, channels], floating point. Sides are at least 1 and may be unknown.

    Output shape:
        [batch, ceil(height / strides), ceil(width / strides), filters].

    Attributes:
        kernels: kernels of the `depth` downsampling convolutions, of the innermost, and of the last one, whose input
            has channels + depth * filters channels.
        biases: their biases in the same order, or an empty list.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> tuple(PyramidBlock(16)(tf.ones([1, 33, 47, 3])).shape)
        (1, 33, 47, 16)

    References:
        Ronneberger, Fischer and Brox, U-Net: Convolutional Networks for Biomedical Image Segmentation, 2015, section 2
        (downsample, upsample, concatenate with the input).
    """

    def __init__(
        self,
        filters: int,
        depth: int = 2,
        activation: Any = "tanh",
        *,
        kernel_size: int | tuple[int, int] = 3,
        strides: int = 1,
        border: str = "reflect",
        interpolation: str = "nearest",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        largest = _checks.LARGEST
        self.filters = _checks.channels("filters", filters, "the channels of the output")
        meaning = "the number of downsampling steps"
        self.depth = _checks.integer("depth", depth, 1, meaning, maximum=_checks.MOST_LEVELS)
        self.activation = check_activation("activation", activation)
        meaning = "the rows and columns of the kernels"
        self.kernel_size = _checks.pair("kernel_size", kernel_size, 1, meaning, maximum=largest)
        self.strides = _checks.integer("strides", strides, 1, "the strides of the last convolution", maximum=largest)
        self.border = borders.check(border)
        self.interpolation = _checks.one_of("interpolation", interpolation, resample.INTERPOLATIONS)
        self.use_bias = _checks.flag("use_bias", use_bias)
        self.kernel_initializer = check_initializer("kernel_initializer", kernel_initializer)
        self.kernel_regularizer = check_regularizer("kernel_regularizer", kernel_regularizer)
        self.kernels: list = []  # `build` fills both lists.
        self.biases: list = []

    def build(self, input_shape: Any) -> None:
        channels = _checks.image_shape("images", input_shape)[3]
        names = [f"down_{k}" for k in range(self.depth)] + ["inner", "outer"]
        self.kernels, self.biases = [], []
        input_channels = [channels] + [self.filters] * self.depth + [channels + self.depth * self.filters]
        for name, count in zip(names, input_channels):
            kernel = self.add_weight(
                name=f"{name}_kernel",
                shape=(*self.kernel_size, count, self.filters),
                initializer=fresh_initializer(self.kernel_initializer),
                regularizer=self.kernel_regularizer,
            )
            self.kernels.append(kernel)
            if self.use_bias:
                self.biases.append(self.add_weight(name=f"{name}_bias", shape=(self.filters,), initializer="zeros"))
        track_list(self, "kernels")
        track_list(self, "biases")
        super().build(input_shape)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return self._conv(-1, self._skip(0, _checks.images(images)), self.strides)

    def _conv(self, index: int, x: tf.Tensor, strides: int) -> tf.Tensor:
        """Return a(conv(x, strides)) with the kernel and bias at an index."""
        y = convolution.conv_down(x, tf.convert_to_tensor(self.kernels[index]), strides, border=self.border)
        return self.activation(y + tf.convert_to_tensor(self.biases[index]) if self.use_bias else y)

    def _skip(self, k: int, x: tf.Tensor) -> tf.Tensor:
        """Return skip_k(x) of the equation: x, concatenated with the upsampled result of the coarser steps."""
        inside, innermost = self._conv(k, x, 2), k + 1 == self.depth
        inside = self._conv(self.depth, inside, 1) if innermost else self._skip(k + 1, inside)
        # An even kernel is centred half a sample later. The innermost step has a second kernel, on samples twice as far
        # apart, which adds one more sample.
        rows, columns = (kernels.symmetric_phase(size) * (3 if innermost else 1) for size in self.kernel_size)
        back = resample.resize_by(inside, 2.0, sides(x), interpolation=self.interpolation, phase=(rows, columns))
        return tf.concat([x, back], axis=-1)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch, height, width, _ = _checks.image_shape("images", input_shape)
        return (batch, *level_sizes((height, width), self.strides), self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "depth": self.depth,
            "activation": keras.activations.serialize(self.activation),
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "border": self.border,
            "interpolation": self.interpolation,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.saving.serialize_keras_object(self.kernel_initializer),
            "kernel_regularizer": keras.saving.serialize_keras_object(self.kernel_regularizer),
        }
