"""FoveatedPyramid."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _level_checks
from tfpyramid._compat import register
from tfpyramid.layers._inputs import split, split_shapes
from tfpyramid.layers.pyramids._step import FixedStepLayer
from tfpyramid.ops import fovea

_INPUTS = ("a list of two tensors, [images, fixations]", [2])


@register
class FoveatedPyramid(FixedStepLayer):
    """Crops of one size around a fixation, one from each level of a Gaussian pyramid, finest first.

    The first crop shows a small part of the image in full detail. Each of the others shows a part that is wider by
    `scale_factor`, with less detail. A network that reads the crops costs the same for an image of any size, and so
    does this layer. It is differentiable in the images and in the fixations, so `FixationPredictor` learns from the
    task where to look.

    Equation:
        `crop[k][j] = bilinear_sample(level[k], (c - phase[k]) / s^k + j - (size - 1) / 2)` on each axis, with
        `level = gaussian_pyramid(images, num_levels)`, the factor s, the fixation `c = fixation * side - 1/2` in pixels
        of the image, and `phase[k] = ops.phase(kernel, s) (s^k - 1) / (s - 1)`.
        With `hard=True`, forward: the nearest sample of the level, the first of two equally near ones; backward: the
        gradient of the equation.

    Convention:
        A fixation is (y, x) as a fraction of the image: (0, 0) is its top left corner, (0.5, 0.5) its center, and
        (1, 1) its bottom right corner. Where a crop leaves its level, the level is extended by the border rule. This
        includes fixations outside the image, and levels that have fewer samples than a crop. A level has at least one
        sample, however large `num_levels` is. Crops for a fixation that is NaN are NaN.
        The layer reads the fixations in their own dtype. A half-precision policy rounds only the images.
        It computes each level from windows around the fixations, or all levels once if that takes less time. See
        `tfpyramid.ops.foveated_pyramid`.

    Args:
        size: rows and columns of a crop, from 1 to 1024.
        num_levels: number of crops, from 1 to 64.
        scale_factor: ratio of the sample distances of one crop to those of the crop before it, greater than 1 and at
            most 1024. Only at an integer factor is the cost independent of the size of the image.
        kernel: prefilter, as in `GaussianPyramid`.
        border: "reflect", "symmetric", "edge", "constant" or "wrap", as in `numpy.pad`. With "wrap" the cost depends on
            the size of the image.
        hard: read the nearest samples in the forward pass, with a straight-through gradient.
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        A list of two: images [batch, height, width, channels], and fixations [batch, 2], or [batch, n, 2] for n
        fixations of each image; floating point. Sides are at least 1 and may be unknown.

    Output shape:
        A list of `num_levels` times [batch, size, size, channels], or [batch, n, size, size, channels].

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> images = tf.random.uniform([1, 512, 512, 3])
        >>> crops = FoveatedPyramid(size=32, num_levels=3)([images, tf.constant([[0.2, 0.7]])])
        >>> [tuple(crop.shape) for crop in crops]  # 32, 64 and 128 pixels of the image, with 32 samples each.
        [(1, 32, 32, 3), (1, 32, 32, 3), (1, 32, 32, 3)]

    References:
        Mnih, Heess, Graves and Kavukcuoglu, Recurrent Models of Visual Attention, 2014, section 3.1 (the glimpse
        sensor); Burt and Adelson, The Laplacian Pyramid as a Compact Image Code, 1983, section II.A (the pyramid).
    """

    def __init__(
        self, size: int, num_levels: int, scale_factor: float = 2.0, *, hard: bool = False, **kwargs: Any
    ) -> None:
        # With autocast, Keras would round the fixations to half precision before `call`.
        super().__init__(scale_factor=scale_factor, **{"autocast": False, **kwargs})
        self.size = fovea.check_size(size)
        self.num_levels = _checks.num_levels(num_levels)
        self.hard = _checks.flag("hard", hard)

    def build(self, input_shape: Any) -> None:
        self.compute_output_shape(input_shape)
        super().build(input_shape)

    def call(self, inputs: list[tf.Tensor]) -> list[tf.Tensor]:
        images, fixations = split(inputs, *_INPUTS)
        images = tf.cast(_checks.floating_tensor("images", images), self.compute_dtype)
        return fovea.foveated_pyramid(images, fixations, self.size, self.num_levels, hard=self.hard, **self.step)

    def compute_output_shape(self, input_shape: Any) -> list[tuple[int | None, ...]]:
        images, fixations = split_shapes(input_shape, *_INPUTS)
        channels = _checks.image_shape("images", images)[3]
        fixations = tuple(fovea.check_fixations(fixations))
        _level_checks.one_batch({"images": images, "fixations": fixations})
        return [(images[0], *fixations[1:-1], self.size, self.size, channels)] * self.num_levels

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "num_levels": self.num_levels, "hard": self.hard}
