"""SpectralDownsample2D."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import register
from tfpyramid.layers.downsampling._learned_strides import LearnedStrides
from tfpyramid.ops import spectral, straight_through


@register
class SpectralDownsample2D(LearnedStrides):
    """The next level by a low-pass crop in the Fourier domain, with learned strides.

    The crop keeps the low frequencies, so the output is stable under shifts of the image. Use it if the border may be
    periodic and the strides, which need not be integers, are to be learned.

    Equation:
        `y = spectral_pool(x, s)`, `s = max(1, initial_strides exp(k v))` on each axis, where the weight v,
        `scaled_log_strides`, starts at 0, and k is `stride_speed`; see `tfpyramid.ops.spectral_pool`. A `cost_weight`
        adds the loss `cost_weight / (s_y s_x)`: the pixels of the output relative to those of the input, which rewards
        larger strides.

    Forward:  strides of at least 1; with `hard=True`, the crop of their rounded size without a soft mask.
    Backward: the gradient ignores the lower bound of 1 (`tfpyramid.ops.surrogate_st`), so that a stride below 1 can
        return; with `hard=True`, the gradient of the soft mask. `dv = dlog(s) / k`, where the derivative is k dlog(s).
        So a step of Adam at the rate r moves log(s) by about k r, and a step of SGD by r dlog(s), as if log(s) were the
        weight. With the derivative, SGD would move the strides k^2 times as far, and they would diverge.

    Convention:
        Output sample i sits at i n / m of the input, where n and m are the sides of input and output. The border is
        periodic, and the DC gain is 1. Untrained, the layer is a low-pass. The slope of its mask weakens the
        frequencies just below the cut; with `hard=True` there is no slope, only the crop.
        The gradient of the strides is that of the mask. The size of the output follows the strides in steps and has no
        gradient. A side of 1, or one shorter than twice its stride, gives the stride no gradient.
        With `hard=True` the gradient depends only on the frequencies that are kept. The layer then learns more easily
        to drop frequencies than to keep them: start with strides that are too small.

    Args:
        initial_strides: (s_y, s_x), or one number for both, from 1 to 1024.
        output_size: (height, width) of the output, or one number for both. None derives it from the learned strides;
            the layer then has no static shapes.
        smoothness: width of the mask's slope, in cycles per image, from 1e-30 to 1e30. Only the frequencies on the
            slope contribute to the gradient of the strides.
        cost_weight: weight of the added loss, from 0 to 1e30.
        hard: crop without a mask in the forward pass, with a straight-through gradient.
        stride_speed: k, from 1e-30 to 1024, by which Adam, and other optimizers whose steps do not depend on the size
            of the gradient, move log(strides) faster than other weights.
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        [batch, height, width, channels], floating point. Sides are at least 1 and may be unknown.

    Output shape:
        [batch, *output_size, channels]. With `output_size=None`,
        [batch, ceil(height / s_y), ceil(width / s_x), channels]; with `hard=True` these sides are rounded to the
        nearest integer, at least 1. They change while the strides are learned, so `compute_output_shape` returns None
        for them.

    Attributes:
        strides: tensor [2], the current (s_y, s_x), at least 1.
        phase: position of output sample 0 in the input, in samples: 0. The samples of the output are n / m apart, which
            is `strides` only if the strides divide the sides.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> layer = SpectralDownsample2D((2, 1.5))
        >>> layer(tf.random.uniform([1, 33, 48, 3])).shape
        TensorShape([1, 17, 32, 3])
        >>> layer.strides.numpy().tolist()
        [2.0, 1.5]

    References:
        Riad, Teboul, Grangier and Zeghidour, Learning Strides in Convolutional Neural Networks, 2022, section 2. There
        the weight is the strides themselves, and every call clips it by an assignment.
    """

    def __init__(
        self,
        initial_strides: float | tuple[float, float] = (2.0, 2.0),
        output_size: int | tuple[int, int] | None = None,
        *,
        smoothness: float = 4.0,
        cost_weight: float = 0.0,
        hard: bool = False,
        stride_speed: float = 10.0,
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
        meaning = "the width of the slope in cycles per image"
        self.smoothness = _checks.number("smoothness", smoothness, above=0, meaning=meaning)

    def _check_stride(self, value: object) -> float:
        return spectral.check_stride("initial_strides", value)

    @property
    def strides(self) -> tf.Tensor:
        """The current strides (s_y, s_x), [2], at least 1."""
        strides = self._soft_strides()
        return straight_through.surrogate_st(tf.maximum(strides, 1), strides)

    @property
    def phase(self) -> float:
        """Position of output sample 0 in the input, in samples: 0."""
        return 0.0

    def call(self, images: tf.Tensor) -> tf.Tensor:
        self.add_cost()
        return spectral.spectral_pool(
            images, self.strides, self.output_size, smoothness=self.smoothness, hard=self.hard
        )

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch, _, _, channels = _checks.image_shape("images", input_shape)
        return (batch, *(self.output_size or (None, None)), channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "smoothness": self.smoothness}
