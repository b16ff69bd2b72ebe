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
    """A low-pass crop in the Fourier domain whose strides are learned with the task.

    Equation:
        `y = spectral_pool(x, s)`, `s = max(1, initial_strides exp(v))` on each axis, v = `log_strides` the weight, at
        the start 0; see `tfpyramid.ops.spectral_pool`. With a `cost_weight`, the loss `cost_weight / (s_y s_x)` is
        added, the pixels of the output relative to the input's, which rewards larger strides.

    Forward:  strides of at least 1; with `hard=True` the crop of their rounded size, without a soft mask.
    Backward: the gradient passes a stride that is held at 1 as if it were not (`tfpyramid.ops.surrogate_st`), so that a
        stride below 1 can come back; with `hard=True`, the gradient of the soft mask.

    Convention:
        Output sample i sits at i n / m of the input, n and m the sides of input and output; the border is periodic; DC
        gain is 1. Untrained, the layer is that low-pass: with the slope of its mask, which weakens the frequencies just
        below the cut, or with `hard=True` the plain crop. The gradient of the strides is that of the mask: the size of
        the output, which follows the strides in steps, has none. A side shorter than twice its stride, or of 1, gives
        it no gradient. A hard crop hears from the frequencies that it keeps alone, and learns to drop more easily than
        to keep: start it with strides that are too small.

    Args:
        initial_strides: (s_y, s_x), or a number for both, from 1 to 1024.
        output_size: (height, width) to return, or a number for both; None to let the learned strides say, which costs
            the layer static shapes.
        smoothness: width of the mask's slope, in cycles per image, from 1e-30 to 1e30. The strides hear from the
            frequencies on the slope alone.
        cost_weight: weight of the added loss, from 0 to 1e30.
        hard: crop without a mask in the forward pass, straight-through.
        **kwargs: of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        [batch, height, width, channels], floating point; sides of at least 1, known or not.

    Output shape:
        [batch, *output_size, channels]; with `output_size=None` [batch, ceil(height / s_y), ceil(width / s_x),
        channels], with `hard=True` rounded to the nearest, at least 1. Those sides change while the strides are
        learned: `compute_output_shape` gives None for them.

    Attributes:
        strides: tensor [2], (s_y, s_x) as they are now, at least 1.
        phase: where output sample 0 sits in the input, in samples: 0. The output's samples are n / m apart, so they are
            `strides` apart only where the strides divide the sides.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> layer = SpectralDownsample2D((2, 1.5))
        >>> layer(tf.random.uniform([1, 33, 48, 3])).shape
        TensorShape([1, 17, 32, 3])
        >>> layer.strides.numpy().tolist()
        [2.0, 1.5]

    References:
        Riad, Teboul, Grangier and Zeghidour, Learning Strides in Convolutional Neural Networks, 2022, section 2 (there
        the strides are the weight itself, clipped by an assignment in every call).
    """

    def __init__(
        self,
        initial_strides: float | tuple[float, float] = (2.0, 2.0),
        output_size: int | tuple[int, int] | None = None,
        *,
        smoothness: float = 4.0,
        cost_weight: float = 0.0,
        hard: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(initial_strides, output_size=output_size, cost_weight=cost_weight, hard=hard, **kwargs)
        self.smoothness = _checks.number("smoothness", smoothness, above=0, meaning="in cycles per image")

    def _check_stride(self, value: object) -> float:
        return spectral.check_stride("initial_strides", value)

    @property
    def strides(self) -> tf.Tensor:
        """The strides (s_y, s_x) as they are now, [2], of at least 1."""
        strides = self._soft_strides()
        return straight_through.surrogate_st(tf.maximum(strides, 1), strides)

    @property
    def phase(self) -> float:
        """Where output sample 0 sits in the input, in samples: 0."""
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
