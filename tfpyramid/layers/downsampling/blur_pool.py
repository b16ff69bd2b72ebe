"""BlurPool2D."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import register
from tfpyramid.layers.downsampling._strided import StridedLayer
from tfpyramid.ops import convolution, kernels, resample
from tfpyramid.ops.taps import binomial


@register
class BlurPool2D(StridedLayer):
    """A fixed blur, then decimation: pooling that hardly notices a shift of its input.

    Equation:
        `y[i] = sum_k w[k - strides i] m[k]` on each axis, w the binomial taps; `m[k] = x[k]`, or with `pool_size`
        above 1 the largest of `pool_size` by `pool_size` samples of x, which makes it the anti-aliased max-pooling.

    Convention:
        Output sample i sits at i * strides of the input, half a sample later with an even `kernel_size`, such as the
        default; a side of n becomes ceil(n / strides). That is `pyr_down` with `kernel=binomial(kernel_size)`. Pass
        the phase to the layer that aligns the levels: `UpsampleConcat(phase=pyramid.phase)`. The window of the maximum
        has stride 1, lies as `keras.layers.MaxPooling2D(pool_size, 1, "same")` lays it, and leaves out what is beyond
        the border.

    Args:
        kernel_size: number of binomial taps on each axis, from 1 to 1024; 1 decimates only.
        strides: ratio of the sides of input and output, from 2 to 1024.
        pool_size: rows and columns of the maximum in front of the blur, from 1 to 1024; 1 means none.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".
        **kwargs: of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        [batch, height, width, channels], floating point; sides of at least 1, known or not.

    Output shape:
        [batch, ceil(height / strides), ceil(width / strides), channels].

    Attributes:
        phase: where output sample 0 sits in the input, in samples: 0, or 1/2 with an even `kernel_size`, such as the
            default; an even `pool_size` adds 1/2, the middle of the window of its maximum.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> tuple(BlurPool2D(pool_size=2)(tf.ones([1, 33, 47, 3])).shape)
        (1, 17, 24, 3)

    References:
        Zhang, Making Convolutional Networks Shift-Invariant Again, 2019, section 3.2.
    """

    def __init__(
        self, kernel_size: int = 4, strides: int = 2, *, pool_size: int = 1, border: str = "reflect", **kwargs: Any
    ) -> None:
        super().__init__(strides, border=border, **kwargs)
        self.kernel_size = _checks.kernel_size(kernel_size, "the number of binomial taps on each axis")
        meaning = "the rows and columns of the maximum"
        self.pool_size = _checks.integer("pool_size", pool_size, 1, meaning, maximum=_checks.LARGEST)

    @property
    def phase(self) -> float:
        """Where output sample 0 sits in the input, in samples: the middle of its window."""
        return super().phase + kernels.symmetric_phase(self.pool_size)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        taps = binomial(self.kernel_size)
        maxima = convolution.max_filter(_checks.images(images), self.pool_size)
        return resample.pyr_down(maxima, scale_factor=self.strides, kernel=taps, border=self.border)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "pool_size": self.pool_size,
        }
