"""ChannelAdaptiveDownsample2D."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras, register
from tfpyramid.layers._base import as_called
from tfpyramid.layers.downsampling._start import dense_start, gaussian_plane
from tfpyramid.layers.downsampling._strided import StridedLayer
from tfpyramid.ops import convolution, straight_through
from tfpyramid.ops.dtypes import working_dtype

OPEN = 2.0  # Initial logit of a gate: open, but in the range where the sigmoid still has a gradient.


@register
class ChannelAdaptiveDownsample2D(StridedLayer):
    """The next level by a strided convolution whose input channels are weighted by gates, computed for each image.

    A small network reads the mean of every channel and returns one gate for each channel, as in squeeze-and-excitation.
    With `hard=True` a gate passes its channel or removes it.

    Equation:
        `y = conv_down(g x, w, strides) + b` for a learned 3 by 3 kernel w. The gates, one for each image and channel,
        are `g = sigmoid(z / T)` with the temperature T and `z = relu(mean(x) W1 + b1) W2 + b2`, the mean over all
        pixels. With `hard=True`, forward: `g = 1 if z >= 0 else 0`; backward: the gradient of the sigmoid
        (`tfpyramid.ops.heaviside_st`).

    Convention:
        Output sample i sits at i * strides of the input, and a side of n becomes ceil(n / strides).
        Gates start open, at z = 2 for every image, because W2 starts at 0. w starts as a Gaussian of a standard
        deviation of strides / 3 (no blur for a stride of 1), divided by the initial gate. Untrained, the layer is
        `pyr_down` with those three taps, soft or hard. Filters start on channels as in `LearnableDownsample2D`. Gates
        are computed in at least float32, whatever the dtype policy is.

    Args:
        filters: channels of the output, from 1 to 65536. None means those of the input.
        strides: ratio of the sides of input and output, from 2 to 1024; or that of the heights and that of the widths,
            one of which may be 1.
        reduction: number of channels for each hidden unit of the gates, from 1 to 65536. There is at least one unit.
        use_bias: add a learned bias to each filter; it starts at 0.
        temperature: initial value of the weight `temperature`, from 1e-30 to 1e30. Smaller values bring the gates
            closer to 0 or 1.
        hard: make each gate 0 or 1 in the forward pass, with a straight-through gradient.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        [batch, height, width, channels], floating point. Sides are at least 1 and may be unknown.

    Output shape:
        [batch, ceil(height / strides), ceil(width / strides), filters].

    Attributes:
        kernel: the learned kernel, [3, 3, channels, filters].
        temperature: scalar weight, saved and exported but not trained; `training.TemperatureAnnealing` can lower it.
        phase: position of output sample 0 in the input, in samples: 0. This describes the untrained layer; learned taps
            can move the image by a fraction of a sample.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> tuple(ChannelAdaptiveDownsample2D(filters=8)(tf.ones([1, 33, 47, 3])).shape)
        (1, 17, 24, 8)

    References:
        Hu, Shen and Sun, Squeeze-and-Excitation Networks, 2018, section 3 (the gates);
        Bengio, Leonard and Courville, Estimating or Propagating Gradients Through Stochastic Neurons, 2013, section 4.
    """

    strides_may_differ = True

    def __init__(
        self,
        filters: int | None = None,
        strides: int | tuple[int, int] = 2,
        *,
        reduction: int = 4,
        use_bias: bool = False,
        temperature: float = 1.0,
        hard: bool = False,
        border: str = "reflect",
        **kwargs: Any,
    ) -> None:
        super().__init__(strides, border=border, **kwargs)
        self.filters = _checks.filters(filters)
        self.reduction = _checks.channels("reduction", reduction, "the channels for each hidden unit")
        self.use_bias = _checks.flag("use_bias", use_bias)
        self.initial_temperature = _checks.temperature(temperature)
        self.hard = _checks.flag("hard", hard)
        self.bias = None  # `build` creates it if `use_bias`.

    def build(self, input_shape: Any) -> None:
        channels = _checks.image_shape("images", input_shape)[3]
        filters, units = self.filters or channels, max(1, channels // self.reduction)
        start = dense_start(gaussian_plane(3, self.strides), channels, filters)
        if not self.hard:
            start = start * (1 + np.exp(-OPEN / self.initial_temperature))
        self.kernel = self.add_weight(
            name="kernel", shape=start.shape, initializer=lambda shape, dtype=None: tf.constant(start, dtype)
        )
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(filters,), initializer="zeros")
        glorot = keras.initializers.GlorotUniform()
        self.squeeze_kernel = self.add_precise_weight("squeeze_kernel", (channels, units), glorot)
        self.squeeze_bias = self.add_precise_weight("squeeze_bias", (units,))
        self.excite_kernel = self.add_precise_weight("excite_kernel", (units, channels))
        self.excite_bias = self.add_precise_weight("excite_bias", (channels,), keras.initializers.Constant(OPEN))
        self.temperature = self.add_parameter("temperature", self.initial_temperature, trainable=False)
        super().build(input_shape)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        gated = _checks.images(images) * self.gates(images)[:, None, None, :]
        level = convolution.conv_down(gated, tf.convert_to_tensor(self.kernel), self.strides, border=self.border)
        return level if self.bias is None else level + tf.convert_to_tensor(self.bias)

    @as_called
    def gates(self, images: tf.Tensor) -> tf.Tensor:
        """Return the gates of images, [batch, channels]: the factor of each channel."""
        # In at least float32, so that rounding to half precision does not decide whether a gate opens.
        work = working_dtype(images.dtype)
        squeeze_kernel, squeeze_bias, excite_kernel, excite_bias = (
            tf.cast(w, work) for w in (self.squeeze_kernel, self.squeeze_bias, self.excite_kernel, self.excite_bias)
        )
        summary = tf.reduce_mean(tf.cast(images, work), [1, 2])
        logits = tf.nn.relu(summary @ squeeze_kernel + squeeze_bias) @ excite_kernel + excite_bias
        if self.hard:
            gates = straight_through.heaviside_st(logits, self.temperature)
        else:
            gates = tf.sigmoid(logits / straight_through.divisor(self.temperature, work))
        return tf.cast(gates, images.dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "reduction": self.reduction,
            "use_bias": self.use_bias,
            "temperature": self.initial_temperature,
            "hard": self.hard,
        }
