"""BilinearDownsample2D."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import register
from tfpyramid._sizes import level_sizes
from tfpyramid.layers._base import ImageLayer
from tfpyramid.ops import resize


@register
class BilinearDownsample2D(ImageLayer):
    """The next level by bilinear interpolation, like the resize of image libraries.

    It equals `tf.image.resize` with the method "bilinear". Use it to match an existing pipeline; `BlurPool2D` is less
    sensitive to shifts.

    Equation:
        `y = bilinear_down(x, scale_factor)`: on each axis, a hat function centred on the cell of each output.

    Convention:
        Centres are at half pixels: output sample i sits at (i + 1/2) r - 1/2 of the input, where r is the ratio of the
        two sizes. This differs from i * scale_factor in a Gaussian pyramid. `UpsampleConcat(scale_factor=None)` aligns
        such levels. A side of n becomes ceil(n / scale_factor). Without `antialias` an output reads two samples on each
        axis, and factors above 2 skip some samples.

    Args:
        scale_factor: ratio of the sides of input and output, greater than 1 and at most 1024.
        antialias: widen the hat to the neighbouring outputs, so that every sample is read.
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        [batch, height, width, channels], floating point. Sides are at least 1 and may be unknown.

    Output shape:
        [batch, ceil(height / scale_factor), ceil(width / scale_factor), channels].

    Attributes:
        phase: position of output sample 0 in the input, in samples: (scale_factor - 1) / 2, for sides that
            `scale_factor` divides. On other sides the samples are r < scale_factor apart. Align such levels with
            `scale_factor=None`, which is right for all sides.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> tuple(BilinearDownsample2D()(tf.ones([1, 33, 47, 3])).shape)
        (1, 17, 24, 3)

    References:
        `tf.image.resize` with the method "bilinear", which gives the same result.
    """

    def __init__(self, scale_factor: float = 2.0, *, antialias: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale_factor = _checks.scale_factor(scale_factor)
        self.antialias = _checks.flag("antialias", antialias)

    @property
    def phase(self) -> float:
        """Position of output sample 0 in the input, in samples, for sides that `scale_factor` divides."""
        return (self.scale_factor - 1) / 2

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return resize.bilinear_down(images, self.scale_factor, antialias=self.antialias)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch, height, width, channels = _checks.image_shape("images", input_shape)
        return (batch, *level_sizes((height, width), self.scale_factor), channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale_factor": self.scale_factor, "antialias": self.antialias}
