"""Warp2D."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import register
from tfpyramid.layers._base import ImageLayer
from tfpyramid.layers.motion._pair import pair, pair_shapes
from tfpyramid.ops import borders, sampling


@register
class Warp2D(ImageLayer):
    """Images read at the positions that a flow points to: the backward warp, differentiable in both inputs.

    With the flow from a first image to a second, it aligns the second image with the first.

    Equation:
        `y[p] = bilinear_sample(images, (p_y + flow[p, 1], p_x + flow[p, 0]))`.

    Convention:
        A flow is (dx, dy) in pixels and is added to the position. See `tfpyramid.ops.warp`.
        Before a flow of a coarser level is used on a finer one, resize it, and multiply it by the ratio of the sides.
        The layer reads the flow in its own dtype. A half-precision policy rounds only the images.

    Args:
        border: rule for positions outside the images: "reflect", "symmetric", "edge", "constant" (zeros) or "wrap".
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        A list of two: images [batch, height, width, channels] and flow [batch, height, width, 2], floating point. Sides
        are at least 1 and may be unknown.

    Output shape:
        That of the images.

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

    def __init__(self, border: str = "constant", **kwargs: Any) -> None:
        # With autocast, Keras would round the flow to half precision before `call`, and positions would move.
        super().__init__(**{"autocast": False, **kwargs})
        self.border = borders.check(border)

    def build(self, input_shape: Any) -> None:
        self.compute_output_shape(input_shape)
        super().build(input_shape)

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        images, flow = pair(inputs, "[images, flow]")
        return sampling.warp(tf.cast(images, self.compute_dtype), flow, border=self.border)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        images, flow = pair_shapes(input_shape, "[images, flow]")
        shape = _checks.image_shape("images", images)
        sampling.check_flow(_checks.image_shape("flow", flow), shape)
        return shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "border": self.border}
