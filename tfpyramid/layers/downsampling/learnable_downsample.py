"""LearnableDownsample2D."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _size_checks
from tfpyramid._compat import keras, register
from tfpyramid.layers._base import check_regularizer
from tfpyramid.layers.downsampling._start import dense_start, gaussian_plane
from tfpyramid.layers.downsampling._strided import StridedLayer
from tfpyramid.ops import convolution, straight_through


@register
class LearnableDownsample2D(StridedLayer):
    """A strided convolution that starts as the filter of the Gaussian pyramid and is trained from there.

    Its kernel connects every input channel with every filter, like that of `Conv2D`. `AntiAliasedDownsample2D` has
    fewer weights and can keep the kernel a low-pass.

    Equation:
        `y = conv_down(x, w) + b`, where w connects all channels and starts as the Gaussian on each channel separately.
        With `hard=True`, forward: `w` rounded to fixed point with steps of 2^-kernel_bits and clipped to [-1, 1];
        backward: the gradient of the quantised kernel passes to `w` where it was not clipped
        (`tfpyramid.ops.quantize_st`).

    Convention:
        Output sample i sits at i * strides of the input, or half a sample later if `kernel_size` is even. A side of n
        becomes ceil(n / strides), as in `pyr_down`.
        Untrained, with 5 taps and strides of 2, it is OpenCV's `pyrDown`, soft and hard. With other numbers it is a
        Gaussian of sigma strides / 3. Each axis has its own filter; an axis with a stride of 1 starts without a blur.
        Filter f starts on channel f modulo the channels. With fewer filters than channels it starts on the mean of the
        channels that are equal to f modulo the filters.
        `LearnablePyramid` accepts strides that differ on the two axes. No `scale_factor` describes such levels, so
        align them with `UpsampleConcat(scale_factor=None)`.

    Args:
        filters: channels of the output, from 1 to 65536. None means those of the input.
        kernel_size: rows and columns of the kernel, from 1 to 1024, as one number or two.
        strides: ratio of the sides of input and output, from 2 to 1024; or that of the heights and that of the widths,
            one of which may be 1.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".
        use_bias: add a learned bias to each filter; it starts at 0.
        hard: quantise the kernel in the forward pass, with a straight-through gradient.
        kernel_bits: bits of a quantised tap's magnitude, 1 to 23. 8 bits represent the binomial start exactly.
        kernel_regularizer: Keras regularizer of the kernel.
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        [batch, height, width, channels], floating point. Sides are at least 1 and may be unknown.

    Output shape:
        [batch, ceil(height / strides), ceil(width / strides), filters].

    Attributes:
        kernel: the learned kernel, [rows, columns, channels, filters], not quantised.
        phase: position of output sample 0 in the input, in samples: 0, or 1/2 if `kernel_size` is even; (rows, columns)
            if the two differ. This describes the untrained layer; learned taps can move the image by a fraction of a
            sample.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> images = tf.random.uniform([1, 33, 47, 3])
        >>> level = LearnableDownsample2D()(images)
        >>> bool(tf.reduce_max(tf.abs(level - ops.pyr_down(images))) < 1e-6)
        True
        >>> tuple(LearnableDownsample2D(kernel_size=(3, 5), strides=(2, 1))(images).shape)
        (1, 17, 47, 3)

    References:
        Burt and Adelson, The Laplacian Pyramid as a Compact Image Code, 1983, section II.A (the initial kernel);
        Hubara et al., Quantized Neural Networks, 2018, section 3.1 (the surrogate gradient of `hard`).
    """

    strides_may_differ = True

    def __init__(
        self,
        filters: int | None = None,
        kernel_size: int | tuple[int, int] = 5,
        strides: int | tuple[int, int] = 2,
        *,
        border: str = "reflect",
        use_bias: bool = False,
        hard: bool = False,
        kernel_bits: int = 8,
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(strides, border=border, **kwargs)
        self.filters = _checks.filters(filters)
        self.kernel_size = _size_checks.size_or_pair(
            "kernel_size", kernel_size, 1, "the rows and columns of the kernel"
        )
        self.use_bias = _checks.flag("use_bias", use_bias)
        self.hard = _checks.flag("hard", hard)
        self.kernel_bits = straight_through.check_bits("kernel_bits", kernel_bits)
        self.kernel_regularizer = check_regularizer("kernel_regularizer", kernel_regularizer)
        self.kernel = self.bias = None  # `build` creates them.

    def build(self, input_shape: Any) -> None:
        channels = _checks.image_shape("images", input_shape)[3]
        filters = self.filters or channels
        start = dense_start(gaussian_plane(self.kernel_size, self.strides), channels, filters)
        self.kernel = self.add_weight(
            name="kernel",
            shape=start.shape,
            initializer=lambda shape, dtype=None: tf.constant(start, dtype),
            regularizer=self.kernel_regularizer,
        )
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(filters,), initializer="zeros")
        super().build(input_shape)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        kernel = tf.convert_to_tensor(self.kernel)
        if self.hard:
            kernel = straight_through.quantize_st(kernel, self.kernel_bits)
        level = convolution.conv_down(images, kernel, self.strides, border=self.border)
        return level if self.bias is None else level + tf.convert_to_tensor(self.bias)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "use_bias": self.use_bias,
            "hard": self.hard,
            "kernel_bits": self.kernel_bits,
            "kernel_regularizer": keras.saving.serialize_keras_object(self.kernel_regularizer),
        }
