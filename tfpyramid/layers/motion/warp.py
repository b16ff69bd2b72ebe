"""Warp2D."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import register
from tfpyramid.layers._base import ImageLayer
from tfpyramid.layers._inputs import split, split_shapes
from tfpyramid.ops import borders, sampling

_INPUTS = ("a list of two tensors, [images, flow]", [2])


@register
class Warp2D(ImageLayer):
    """Images read at the positions that a flow points to: the backward warp, differentiable in both inputs.

    With the flow from a first image to a second, it aligns the second image with the first.

    Equation:
        `y[p] = bilinear_sample(images, (p_y + flow[p, 1], p_x + flow[p, 0]))`. The mask is 1 where this position lies
        between the first and the last pixel of both axes, and 0 elsewhere, also where the flow is NaN.

    Convention:
        A flow is (dx, dy) in pixels and is added to the position. See `tfpyramid.ops.warp`.
        Before a flow of a coarser level is used on a finer one, resize it, and multiply it by the ratio of the sides.
        The layer reads the flow in its own dtype. A half-precision policy rounds only the images.

    Args:
        border: rule for positions outside the images: "reflect", "symmetric", "edge", "constant" (zeros) or "wrap".
        return_mask: whether to return the mask of the positions inside the images, too. It has no gradient.
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        A list of two: images [batch, height, width, channels] and flow [batch, height, width, 2], floating point. Sides
        are at least 1 and may be unknown.

    Output shape:
        That of the images. With `return_mask=True`, a tuple of this and of the mask, [batch, height, width, 1].

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> images = tf.reshape(tf.range(4.0), [1, 1, 4, 1])
        >>> flow = tf.tile([[[[0.5, 0.0]]]], [1, 1, 4, 1])
        >>> Warp2D(border="edge")([images, flow])[0, 0, :, 0].numpy().tolist()
        [0.5, 1.5, 2.5, 3.0]

    References:
        Sun, Yang, Liu and Kautz, PWC-Net: CNNs for Optical Flow Using Pyramid, Warping, and Cost Volume, 2018,
        section 3, equation 2.
    """

    def __init__(self, border: str = "constant", *, return_mask: bool = False, **kwargs: Any) -> None:
        # With autocast, Keras would round the flow to half precision before `call`, and positions would move.
        super().__init__(**{"autocast": False, **kwargs})
        self.border = borders.check(border)
        self.return_mask = _checks.flag("return_mask", return_mask)

    def build(self, input_shape: Any) -> None:
        self.compute_output_shape(input_shape)
        super().build(input_shape)

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        images, flow = split(inputs, *_INPUTS)
        images = tf.cast(_checks.floating_tensor("images", images), self.compute_dtype)
        return sampling.warp(images, flow, border=self.border, return_mask=self.return_mask)

    def compute_output_shape(self, input_shape: Any) -> Any:
        images, flow = split_shapes(input_shape, *_INPUTS)
        shape = _checks.image_shape("images", images)
        sampling.check_flow(_checks.image_shape("flow", flow), shape)
        return (shape, (*shape[:3], 1)) if self.return_mask else shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "border": self.border, "return_mask": self.return_mask}
