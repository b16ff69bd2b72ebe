"""AntiAliasedDownsample2D."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import register
from tfpyramid.layers._base import check_built
from tfpyramid.layers.downsampling._start import dense_start, gaussian_plane, logarithm
from tfpyramid.layers.downsampling._strided import StridedLayer
from tfpyramid.ops import convolution, kernels, straight_through


@register
class AntiAliasedDownsample2D(StridedLayer):
    """The next level by a learned blur of DC gain 1 for each channel, then decimation or a strided convolution.

    The normalisation of the taps decides what the blur can become. Use "sum" with 6 or 8 taps to keep detail in the
    small image, and "softmax" if the output must change little when the image shifts.

    Equation:
        `y = depthwise_down(x, w, strides)`, `w = normalize_kernel(v, normalization)` for learned values v. With
        `filters`, `y = conv_down(depthwise_down(x, w, 1), u, strides)` for a learned 3 by 3 kernel u. With `hard=True`,
        forward: w and u rounded to fixed point with steps of 2^-kernel_bits and clipped to [-1, 1]; backward: the
        gradient of the quantised kernel passes where it was not clipped (`tfpyramid.ops.quantize_st`).

    Convention:
        Output sample i sits at i * strides of the input, or half a sample later if `kernel_size` is even. A side of n
        becomes ceil(n / strides). Untrained, it is the next level of a Gaussian pyramid, and with 5 taps and strides of
        2 OpenCV's `pyrDown`. u starts as the identity, and its filters start on the channels that
        `LearnableDownsample2D` assigns to them.

        About `normalization`: "sum" allows negative taps, keeps most detail and can sharpen. "softmax" keeps the taps
        positive: the blur is always a low-pass, and the output is the most stable under shifts of the input. None
        leaves the taps free, and training moves them away from the low-pass.

    Args:
        filters: channels of the output, from 1 to 65536. None means those of the input, without the convolution.
        kernel_size: rows and columns of the blur, from 1 to 1024. Even sizes keep slightly more detail.
        strides: ratio of the sides of input and output, from 2 to 1024.
        normalization: "sum", "softmax" or None.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".
        hard: quantise the kernels in the forward pass, with a straight-through gradient.
        kernel_bits: bits of a quantised tap's magnitude, 1 to 23. 8 bits represent the binomial start exactly.
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        [batch, height, width, channels], floating point. Sides are at least 1 and may be unknown.

    Output shape:
        [batch, ceil(height / strides), ceil(width / strides), filters].

    Attributes:
        blur: the current kernels w, [kernel_size, kernel_size, channels, 1].
        kernel: the kernel u, or None.
        phase: position of output sample 0 in the input, in samples: 0, or 1/2 if `kernel_size` is even. This describes
            the untrained layer; learned taps can move the image by a fraction of a sample.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> images = tf.random.uniform([1, 33, 47, 3])
        >>> level = AntiAliasedDownsample2D()(images)
        >>> bool(tf.reduce_max(tf.abs(level - ops.pyr_down(images))) < 1e-6)
        True

    References:
        Zhang, Making Convolutional Networks Shift-Invariant Again, 2019, section 3.2 (blur before the stride);
        Zou, Xiao, Yu and Lee, Delving Deeper into Anti-aliasing in ConvNets, 2020, section 3 (softmax of learned taps).
    """

    def __init__(
        self,
        filters: int | None = None,
        kernel_size: int = 5,
        strides: int = 2,
        *,
        normalization: str | None = "sum",
        border: str = "reflect",
        hard: bool = False,
        kernel_bits: int = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(strides, border=border, **kwargs)
        self.filters = _checks.filters(filters)
        self.kernel_size = _checks.kernel_size(kernel_size, "the rows and columns of the blur")
        self.normalization = kernels.check_normalization(normalization)
        self.hard = _checks.flag("hard", hard)
        self.kernel_bits = straight_through.check_bits("kernel_bits", kernel_bits)
        self.blur_values = self.kernel = None  # `build` creates them.

    def build(self, input_shape: Any) -> None:
        channels = _checks.image_shape("images", input_shape)[3]
        start = gaussian_plane(self.kernel_size, self.strides)
        if self.normalization == "softmax":
            start = logarithm(start)
        shape = (self.kernel_size, self.kernel_size, channels, 1)
        self.blur_values = self.add_parameter("blur_values", np.broadcast_to(start[:, :, None, None], shape))
        if self.filters is not None:
            identity = dense_start(np.outer([0, 1, 0], [0, 1, 0]), channels, self.filters)
            self.kernel = self.add_weight(
                name="kernel",
                shape=identity.shape,
                initializer=lambda shape, dtype=None: tf.constant(identity, dtype),
            )
        super().build(input_shape)

    @property
    def blur(self) -> tf.Tensor:
        """The current kernels w, [kernel_size, kernel_size, channels, 1], quantised if `hard`."""
        check_built(self, "blur")
        return self._used(kernels.normalize_kernel(self.blur_values, self.normalization))

    def call(self, images: tf.Tensor) -> tf.Tensor:
        if self.filters is None:
            return convolution.depthwise_down(images, self.blur, self.strides, border=self.border)
        blurred = convolution.depthwise_down(images, self.blur, 1, border=self.border)
        kernel = self._used(tf.convert_to_tensor(self.kernel))
        return convolution.conv_down(blurred, kernel, self.strides, border=self.border)

    def _used(self, kernel: tf.Tensor) -> tf.Tensor:
        return straight_through.quantize_st(kernel, self.kernel_bits) if self.hard else kernel

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "normalization": self.normalization,
            "hard": self.hard,
            "kernel_bits": self.kernel_bits,
        }
