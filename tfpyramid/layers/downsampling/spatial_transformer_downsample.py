"""SpatialTransformerDownsample2D."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras, register
from tfpyramid._sizes import level_sizes
from tfpyramid.layers._base import ImageLayer, as_called
from tfpyramid.ops import borders, convolution, resample, resize, sampling, straight_through
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.shapes import sides


@register
class SpatialTransformerDownsample2D(ImageLayer):
    """A resize with learned sampling positions: an affine map and a grid of offsets, predicted from the image.

    Untrained it is a plain bilinear resize. Use it if the task can crop, rotate or zoom into each image by itself. It
    is more sensitive to shifts than the plain resize.

    Equation:
        `y[p] = bilinear_sample(x, q[p])`, `q = affine_grid(I + M) + size / 2 * resize(d)`. The matrix M and the offsets
        d, [grid_size, grid_size, 2] in normalised coordinates, are a dense function of the summary
        `area_resize(relu(conv_down(x, u, 2) + b), grid_size)`, divided by the number of its entries. The learned kernel
        u is 3 by 3, at stride 2 with the border "reflect". With `hard=True`, forward: `y[p] = x[round(q[p])]`, the
        first of two equally near pixels; backward: the gradient of the bilinear sample.

    Convention:
        Untrained, M and d are 0, and the layer is the resize with half-pixel centres, `BilinearDownsample2D` without
        `antialias`. Coordinates are (y, x), with -1 and 1 at the outer edges of the image. The border rule applies
        outside the image. Positions are computed in at least float32, whatever the dtype policy is.

    Args:
        output_size: (height, width) of the output, or one number for both. None derives it from `scale_factor`.
        scale_factor: ratio of the sides of input and output, greater than 1 and at most 1024. It applies only if
            `output_size` is None.
        filters: channels of the convolution that predicts the positions, from 1 to 65536.
        grid_size: rows and columns of the summary of that convolution, and of the grid of offsets, from 1 to 32.
        affine: learn the affine map.
        offsets: learn the grid of offsets. `affine` or `offsets` must be True.
        hard: read the nearest pixel in the forward pass, with a straight-through gradient.
        border: "reflect", "symmetric", "edge", "constant" or "wrap".
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        [batch, height, width, channels], floating point. Sides are at least 1 and may be unknown.

    Output shape:
        [batch, *output_size, channels], or [batch, ceil(height / scale_factor), ceil(width / scale_factor), channels].

    Attributes:
        phase: position of output sample 0 in the input, in samples: (scale_factor - 1) / 2, as in
            `BilinearDownsample2D`. This describes the untrained layer without `output_size`. After training it depends
            on the image.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> images = tf.random.uniform([1, 33, 47, 3])
        >>> level = SpatialTransformerDownsample2D(scale_factor=2.0)(images)
        >>> bool(tf.reduce_max(tf.abs(level - ops.bilinear_down(images))) < 1e-5)
        True

    References:
        Jaderberg, Simonyan, Zisserman and Kavukcuoglu, Spatial Transformer Networks, 2015, section 3.
    """

    def __init__(
        self,
        output_size: int | tuple[int, int] | None = None,
        scale_factor: float = 2.0,
        *,
        filters: int = 16,
        grid_size: int = 4,
        affine: bool = True,
        offsets: bool = True,
        hard: bool = False,
        border: str = "constant",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.output_size = None if output_size is None else _checks.output_size(output_size)
        self.scale_factor = _checks.scale_factor(scale_factor)
        self.filters = _checks.channels("filters", filters, "the channels of the localisation's convolution")
        self.grid_size = _checks.integer("grid_size", grid_size, 1, "the rows and columns of the summary", maximum=32)
        self.affine = _checks.flag("affine", affine)
        self.offsets = _checks.flag("offsets", offsets)
        if not (affine or offsets):
            raise ValueError("`affine` or `offsets` must be True. Received: affine=False, offsets=False")
        self.hard = _checks.flag("hard", hard)
        self.border = borders.check(border)

    @property
    def phase(self) -> float:
        """Position of output sample 0 of the untrained layer in the input, in samples, as in `BilinearDownsample2D`."""
        return (self.scale_factor - 1) / 2

    def build(self, input_shape: Any) -> None:
        channels = _checks.image_shape("images", input_shape)[3]
        glorot = keras.initializers.GlorotUniform()
        cells = self.grid_size**2
        numbers = 6 * self.affine + 2 * cells * self.offsets
        self.features_kernel = self.add_precise_weight("features_kernel", (3, 3, channels, self.filters), glorot)
        self.features_bias = self.add_precise_weight("features_bias", (self.filters,))
        self.map_kernel = self.add_precise_weight("map_kernel", (cells * self.filters, numbers))
        self.map_bias = self.add_precise_weight("map_bias", (numbers,))
        super().build(input_shape)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        images = _checks.images(images)
        points = self.points(images)
        level = sampling.read_points(images, points, self.border)
        if self.hard:
            level = straight_through.value_of(sampling.read_nearest(images, points, self.border), level)
        return level

    @as_called
    def points(self, images: tf.Tensor) -> tf.Tensor:
        """Return the position q that each output reads, [batch, *output size, 2], as (y, x) in pixels."""
        # In half precision 1000.4 is 1000.5, so positions, and the network that predicts them, use at least float32.
        work = working_dtype(images.dtype)
        kernel, bias, map_kernel, map_bias = (
            tf.cast(w, work) for w in (self.features_kernel, self.features_bias, self.map_kernel, self.map_bias)
        )
        features = tf.nn.relu(convolution.conv_down(tf.cast(images, work), kernel) + bias)
        summary = resize.area_resize(features, (self.grid_size, self.grid_size))
        summary = tf.reshape(summary, [-1, self.grid_size**2 * self.filters])
        # The mean, not the sum: with hundreds of features, one training step would move the grid off the image, where
        # it has no gradient to return.
        numbers = (summary / summary.shape[1]) @ map_kernel + map_bias
        size, output_size = sides(images), self._output_size(sides(images))
        matrices = tf.tile(tf.constant(np.eye(2, 3)[None], numbers.dtype), [tf.shape(images)[0], 1, 1])
        if self.affine:
            matrices = matrices + tf.reshape(numbers[:, :6], [-1, 2, 3])
        points = sampling.affine_grid(matrices, size, output_size)
        if self.offsets:
            grid = tf.reshape(numbers[:, 6 * self.affine :], [-1, self.grid_size, self.grid_size, 2])
            offsets = resample.resize_by(grid, None, output_size)
            points = points + offsets * tf.cast(tf.stack(size), offsets.dtype) / 2
        return points

    def _output_size(self, size: Any) -> tuple:
        return self.output_size or level_sizes(size, self.scale_factor)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch, height, width, channels = _checks.image_shape("images", input_shape)
        return (batch, *self._output_size((height, width)), channels)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "output_size": self.output_size,
            "scale_factor": self.scale_factor,
            "filters": self.filters,
            "grid_size": self.grid_size,
            "affine": self.affine,
            "offsets": self.offsets,
            "hard": self.hard,
            "border": self.border,
        }
