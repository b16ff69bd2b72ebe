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
    """The next level by bilinear interpolation, as image libraries resize.

    Equation:
        `y = bilinear_down(x, scale_factor)`: on each axis the hat about the centre of each output's cell.

    Convention:
        Half-pixel centres: output sample i lies at (i + 1/2) r - 1/2 of the input, r the ratio of the two sizes, so not
        at i * scale_factor as in a Gaussian pyramid. `UpsampleConcat(scale_factor=None)` aligns such levels. A side of
        n becomes ceil(n / scale_factor). Without `antialias` two samples are read on each axis, and factors above 2
        skip some.

    Args:
        scale_factor: ratio of the sides of input and output, greater than 1 and at most 1024.
        antialias: read every sample, by a hat that reaches the neighbouring outputs.
        **kwargs: of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        [batch, height, width, channels], floating point; sides of at least 1, known or not.

    Output shape:
        [batch, ceil(height / scale_factor), ceil(width / scale_factor), channels].

    Attributes:
        phase: where output sample 0 sits in the input, in samples: (scale_factor - 1) / 2, on sides that `scale_factor`
            divides. On other sides the samples are r < scale_factor apart: align such levels with
            `scale_factor=None`, which is right for all sides.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> tuple(BilinearDownsample2D()(tf.ones([1, 33, 47, 3])).shape)
        (1, 17, 24, 3)

    References:
        `tf.image.resize`, method "bilinear", to which it is equal.
    """

    def __init__(self, scale_factor: float = 2.0, *, antialias: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale_factor = _checks.scale_factor(scale_factor)
        self.antialias = _checks.flag("antialias", antialias)

    @property
    def phase(self) -> float:
        """Where output sample 0 sits in the input, in samples, on sides that `scale_factor` divides."""
        return (self.scale_factor - 1) / 2

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return resize.bilinear_down(images, self.scale_factor, antialias=self.antialias)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch, height, width, channels = _checks.image_shape("images", input_shape)
        return (batch, *level_sizes((height, width), self.scale_factor), channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale_factor": self.scale_factor, "antialias": self.antialias}
