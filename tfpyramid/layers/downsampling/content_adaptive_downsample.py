"""ContentAdaptiveDownsample2D."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras, register
from tfpyramid.layers.downsampling._start import gaussian_plane, logarithm
from tfpyramid.layers.downsampling._strided import StridedLayer
from tfpyramid.ops import convolution, kernels, straight_through, windows
from tfpyramid.ops.dtypes import working_dtype

STARTS = ("gaussian", "box")


@register
class ContentAdaptiveDownsample2D(StridedLayer):
    """The next level, where each output is a weighted mean of a window and the weights depend on the image.

    A small network reads each window and predicts the weights of its pixels. Use `normalization="sum"` to keep the
    detail of text. In training, a step takes about twice as long as with a fixed or learned kernel.

    Equation:
        `y = window_mean(x, p, strides)`. The weights p come from logits z for the pixels of the window: a learned 1 by
        1 convolution of `relu(conv_down(x, u, strides) + b)`, where the learned kernel u is one pixel larger than the
        window on each side. "softmax": `p = softmax(z / T)` with the temperature T, a convex combination. "sum":
        `p = z + (1 - sum z) / window^2`, weights of either sign with the sum 1, which can sharpen. With `hard=True`,
        forward: the pixel with the largest logit; backward: the gradient of p above.

    Convention:
        The window of output i is centred on i * strides of the input, or half a sample later if `window` is even. The
        default is even. A side of n becomes ceil(n / strides). All channels share the weights.
        The 1 by 1 convolution starts at 0, and its bias at the values that give `start`. Untrained, the layer is
        `pyr_down` with those taps; with `hard=True` it picks the pixel with the largest tap, the first of equal ones.
        Logits are computed in at least float32, whatever the dtype policy is, because the logits of float16 images can
        be beyond the range of float16.

    Args:
        window: rows and columns of the window that each output reads, from 1 to 64.
        strides: ratio of the sides of input and output, from 2 to 1024.
        hidden: channels between the two convolutions, from 1 to 65536.
        normalization: "softmax" or "sum".
        start: "gaussian", with a standard deviation of strides / 3, or "box", equal weights.
        temperature: initial value of the weight `temperature`, from 1e-30 to 1e30. Smaller values bring the weights
            closer to one pixel. "sum" ignores it.
        hard: pick one pixel in the forward pass, with a straight-through gradient.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        [batch, height, width, channels], floating point. Sides are at least 1 and may be unknown.

    Output shape:
        [batch, ceil(height / strides), ceil(width / strides), channels].

    Attributes:
        temperature: scalar weight, saved and exported but not trained; `training.TemperatureAnnealing` can lower it.
        phase: position of output sample 0 in the input, in samples: 0, or 1/2 if `window` is even, as it is by default.
            This is the middle of the window; the pixels that are chosen can be anywhere in it.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> images = tf.random.uniform([1, 33, 47, 3])
        >>> level = ContentAdaptiveDownsample2D(window=2, start="box")(images)
        >>> bool(tf.reduce_max(tf.abs(level - ops.pyr_down(images, kernel="box"))) < 1e-6)
        True

    References:
        Kopf, Shamir and Peers, Content-Adaptive Image Downscaling, 2013, section 3 (kernels that follow the content);
        Jang, Gu and Poole, Categorical Reparameterization with Gumbel-Softmax, 2017, section 2.2 (the surrogate).
    """

    def __init__(
        self,
        window: int = 4,
        strides: int = 2,
        *,
        hidden: int = 16,
        normalization: str = "softmax",
        start: str = "gaussian",
        temperature: float = 1.0,
        hard: bool = False,
        border: str = "reflect",
        **kwargs: Any,
    ) -> None:
        super().__init__(strides, border=border, **kwargs)
        meaning = "the rows and columns of pixels that each output reads"
        self.window = _checks.integer("window", window, 1, meaning, maximum=64)
        self.hidden = _checks.channels("hidden", hidden, "the channels between the two convolutions")
        self.normalization = _checks.one_of("normalization", normalization, ("softmax", "sum"))
        self.start = _checks.one_of("start", start, STARTS)
        self.initial_temperature = _checks.temperature(temperature)
        self.hard = _checks.flag("hard", hard)

    @property
    def phase(self) -> float:
        """Position of output sample 0 in the input, in samples: the middle of its window, 0 or 1/2."""
        return kernels.symmetric_phase(self.window)

    def build(self, input_shape: Any) -> None:
        channels = _checks.image_shape("images", input_shape)[3]
        pixels = self.window**2
        start = gaussian_plane(self.window, self.strides) if self.start == "gaussian" else np.full(pixels, 1 / pixels)
        if self.normalization == "softmax":
            start = self.initial_temperature * logarithm(start)
        size = self.window + 2
        self.features_kernel = self.add_weight(
            name="features_kernel",
            shape=(size, size, channels, self.hidden),
            initializer=keras.initializers.GlorotUniform(),
        )
        self.features_bias = self.add_weight(name="features_bias", shape=(self.hidden,), initializer="zeros")
        self.logits_kernel = self.add_weight(
            name="logits_kernel", shape=(1, 1, self.hidden, pixels), initializer="zeros"
        )
        self.logits_bias = self.add_parameter("logits_bias", np.ravel(start))
        self.temperature = self.add_parameter("temperature", self.initial_temperature, trainable=False)
        super().build(input_shape)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        images = _checks.images(images)
        # The features read one pixel more than the window does on each side, so one extension serves both. In half
        # precision, different logits often round to the same number, and features of large pixels overflow.
        x = tf.cast(images, working_dtype(images.dtype))
        x = convolution.extend(x, self.features_kernel.shape[:2], self.strides, self.border)
        logits = self._logits(x)
        if self.normalization == "softmax":
            weights = straight_through.softmax(logits, self.temperature)
        else:
            weights = kernels.normalize_kernel(logits, "sum", axes=[-1])
        if self.hard:
            weights = straight_through.value_of(straight_through.one_hot_st(logits), weights)
        weights = tf.cast(tf.cast(weights, images.dtype), x.dtype)
        y = tf.cast(windows.combine(x, weights, self.strides, margin=1), images.dtype)
        y.set_shape(self.compute_output_shape(images.shape))
        return y

    def _logits(self, x: tf.Tensor) -> tf.Tensor:
        features_kernel, features_bias, logits_kernel = (
            tf.cast(w, x.dtype) for w in (self.features_kernel, self.features_bias, self.logits_kernel)
        )
        features = tf.nn.relu(convolution.conv2d(x, features_kernel, self.strides) + features_bias)
        logits = convolution.conv2d(features, logits_kernel)
        bias = tf.convert_to_tensor(self.logits_bias)
        return tf.cast(logits, bias.dtype) + bias

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "window": self.window,
            "hidden": self.hidden,
            "normalization": self.normalization,
            "start": self.start,
            "temperature": self.initial_temperature,
            "hard": self.hard,
        }
