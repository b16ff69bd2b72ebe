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
    """The next level by a fixed blur and decimation, which makes pooling less sensitive to shifts of its input.

    With `pool_size=2` it is the anti-aliased max-pooling. Use that in place of `MaxPooling2D` if a prediction must not
    change when the image shifts.

    Equation:
        `y[i] = sum_k w[k - strides i] m[k]` on each axis, with the binomial taps w. `m[k] = x[k]`, or with `pool_size`
        above 1 the maximum over `pool_size` by `pool_size` samples of x.

    Convention:
        Output sample i sits at i * strides of the input, or half a sample later if `kernel_size` is even, as it is by
        default. A side of n becomes ceil(n / strides). This is `pyr_down` with `kernel=binomial(kernel_size)`. Pass the
        phase to the layer that aligns the levels: `UpsampleConcat(phase=pyramid.phase)`.
        The window of the maximum has stride 1 and the position that `keras.layers.MaxPooling2D(pool_size, 1, "same")`
        gives it. It ignores what lies beyond the border.

    Args:
        kernel_size: number of binomial taps on each axis, from 1 to 1024; 1 only decimates.
        strides: ratio of the sides of input and output, from 2 to 1024.
        pool_size: rows and columns of the maximum before the blur, from 1 to 1024; 1 means none.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        [batch, height, width, channels], floating point. Sides are at least 1 and may be unknown.

    Output shape:
        [batch, ceil(height / strides), ceil(width / strides), channels].

    Attributes:
        phase: position of output sample 0 in the input, in samples: 0, or 1/2 if `kernel_size` is even, as it is by
            default. An even `pool_size` adds 1/2, the middle of the window of its maximum.

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
        """Position of output sample 0 in the input, in samples: the middle of its window."""
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
