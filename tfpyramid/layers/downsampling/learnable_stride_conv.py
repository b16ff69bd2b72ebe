"""LearnableStrideConv2D."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras, register
from tfpyramid.layers._base import check_initializer, check_regularizer
from tfpyramid.layers.downsampling._learned_strides import LearnedStrides
from tfpyramid.ops import strided_convolution
from tfpyramid.ops.shapes import sides


@register
class LearnableStrideConv2D(LearnedStrides):
    """A convolution with learned strides, which need not be integers.

    Pixels are read bilinearly, so the distance between two outputs has a gradient. Use it if the right stride is not
    known. If the initial strides are already right, it has nothing to gain over `Conv2D`.

    Equation:
        `y[p] = sum_k w[k] x(p s + k) + b`, where x is read bilinearly between pixels and is zero outside, with learned
        strides `s = initial_strides exp(k v)`. The weight v, `scaled_log_strides`, starts at 0; k is `stride_speed`.
        The exponential keeps the strides positive.

    Forward:  s, or with `hard=True` s rounded to integers of at least 1.
    Backward: the gradient for s; with `hard=True` that for the rounded strides. Then `dv = dlog(s) / k`, where the
        derivative is k dlog(s). So a step of Adam at the rate r moves log(s) by about k r, and a step of SGD by
        r dlog(s), as if log(s) were the weight. With the derivative, SGD would move the strides k^2 times as far, and
        they would diverge.

    Convention:
        The first window begins at the first pixel, so output sample i sits at i s + (kernel_size - 1) / 2.
        Without `output_size` every window lies inside the image, as with `padding="valid"`, and a side of n becomes
        floor((n - kernel_size) / s) + 1. At integer strides this is `keras.layers.Conv2D`. With `output_size` the
        number of outputs is fixed, and the strides decide how far they spread; pixels outside the image are zero.
        Learned strides then have a limit, the largest of the initial strides and (side - 1) / (outputs - 1), with which
        the last window begins at the last pixel; `hard=True` rounds it down. A call uses at most the limit, but the
        gradient ignores it, so that strides above it can return. Without it, strides that overshoot in the first steps
        stay beyond the image, where outputs are zero.
        At an integer position the derivative is the one to the right, so that strides that start as integers move
        (`tfpyramid.ops.strided_conv2d`).

    Args:
        filters: channels of the output, from 1 to 65536. None means those of the input.
        kernel_size: rows and columns of the kernel, from 1 to 1024.
        initial_strides: (s_y, s_x) in pixels, or one number for both, from 1 / 1024 to 1024.
        output_size: (height, width) of the output, or one number for both. None derives it from the learned strides;
            the layer then has no static shapes, and XLA cannot compile it.
        cost_weight: weight, at least 0, of an added loss: 1 / (s_y s_x), the fraction of the pixels that remains. It
            rewards larger strides.
        use_bias: add a learned bias to each filter; it starts at 0.
        stride_speed: k, from 1e-30 to 1024, by which Adam, and other optimizers whose steps do not depend on the size
            of the gradient, move log(strides) faster than other weights. With 1 a wrong start seldom recovers; see
            benchmarks/README.md.
        hard: round the strides in the forward pass, with a straight-through gradient.
        kernel_initializer: Keras initializer of the kernel.
        kernel_regularizer: Keras regularizer of the kernel.
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        [batch, height, width, channels], floating point. Sides are at least `kernel_size`, or at least 1 with
        `output_size`, and may be unknown.

    Output shape:
        [batch, *output_size, filters]; the sides are unknown if `output_size` is None.

    Attributes:
        kernel: the learned kernel, [kernel_size, kernel_size, channels, filters].
        strides: tensor [2], the current (s_y, s_x); integers if `hard`. A call uses at most the limit above.
        phase: position of output sample 0 in the input, in samples: (kernel_size - 1) / 2, the middle of the first
            window. The distance between samples is learned.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> layer = LearnableStrideConv2D(8, 3, initial_strides=(2.6, 1.7), output_size=(12, 16))
        >>> tuple(layer(tf.ones([1, 33, 47, 3])).shape), layer.strides.numpy().round(3).tolist()
        ((1, 12, 16, 8), [2.5999999046325684, 1.7000000476837158])

    References:
        Dai, Qi, Xiong, Li, Zhang, Hu and Wei, Deformable Convolutional Networks, 2017, section 2.1 (gradients of
        sampling positions); Riad, Teboul, Grangier and Zeghidour, Learning Strides in Convolutional Neural Networks,
        2022, section 2 (the loss for larger strides).
    """

    def __init__(
        self,
        filters: int | None = None,
        kernel_size: int = 3,
        initial_strides: float | tuple[float, float] = (2.0, 2.0),
        *,
        output_size: int | tuple[int, int] | None = None,
        cost_weight: float = 0.0,
        use_bias: bool = True,
        hard: bool = False,
        stride_speed: float = 10.0,
        kernel_initializer: Any = "glorot_uniform",
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            initial_strides,
            output_size=output_size,
            cost_weight=cost_weight,
            hard=hard,
            stride_speed=stride_speed,
            **kwargs,
        )
        self.filters = _checks.filters(filters)
        self.kernel_size = _checks.kernel_size(kernel_size)
        self.use_bias = _checks.flag("use_bias", use_bias)
        self.kernel_initializer = check_initializer("kernel_initializer", kernel_initializer)
        self.kernel_regularizer = check_regularizer("kernel_regularizer", kernel_regularizer)
        self.kernel = self.bias = None  # `build` creates them.

    def build(self, input_shape: Any) -> None:
        channels = _checks.image_shape("images", input_shape)[3]
        filters = self.filters or channels
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.kernel_size, channels, filters),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
        )
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(filters,), initializer="zeros")
        super().build(input_shape)

    @property
    def phase(self) -> float:
        """Position of output sample 0 in the input, in samples: the middle of the first window."""
        return (self.kernel_size - 1) / 2

    def call(self, images: tf.Tensor) -> tf.Tensor:
        self.add_cost()
        kernel = tf.convert_to_tensor(self.kernel)
        strides = self._on_the_image(self.strides, images)
        y = strided_convolution.strided_conv2d(images, kernel, strides, output_size=self.output_size)
        return y if self.bias is None else y + tf.convert_to_tensor(self.bias)

    def _on_the_image(self, strides: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        """Return the strides, at most the largest ones of the convention, with the gradient of the strides."""
        if self.output_size is None:
            return strides
        gaps = [max(outputs - 1, 1) for outputs in self.output_size]
        largest = tf.cast(tf.stack(sides(images)) - 1, strides.dtype) / gaps
        initial = tf.constant(self.initial_strides, strides.dtype)
        if self.hard:
            largest, initial = tf.floor(largest), tf.round(initial)
        # Not `ops.surrogate_st`: a tape outside `tf.vectorized_map` loses custom gradients.
        return strides + tf.stop_gradient(tf.minimum(strides, tf.maximum(largest, initial)) - strides)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch, height, width, channels = _checks.image_shape("images", input_shape)
        if self.output_size is None:
            strided_convolution.check_fit((batch, height, width), (self.kernel_size, self.kernel_size))
        return (batch, *(self.output_size or (None, None)), self.filters or channels)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.saving.serialize_keras_object(self.kernel_initializer),
            "kernel_regularizer": keras.saving.serialize_keras_object(self.kernel_regularizer),
        }
