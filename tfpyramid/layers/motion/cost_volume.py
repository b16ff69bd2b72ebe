"""CostVolume."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import register
from tfpyramid.layers._base import ImageLayer
from tfpyramid.layers._inputs import split, split_shapes
from tfpyramid.ops import correlation, sampling

_INPUTS = ("a list of two tensors, [first, second], or three, [first, second, flow]", [2, 3])


@register
class CostVolume(ImageLayer):
    """The similarity of two feature maps at every displacement of a search window, from which a flow is estimated.

    Each output channel compares the first map with the second one, moved by one displacement. Networks for optical flow
    use it at every level of a pyramid, so that a small window covers large motion. With a flow as a third input, the
    window of each pixel is centred where the flow points; the costs are then those of what is left of the motion.

    Equation:
        `y[p, k] = sum_{l, c} first[p + l, c] second[p + l + (dy, dx), c] / (kernel_size^2 channels)`, with
        `(dy, dx) = step (k // n - r, k % n - r)`, `r = max_displacement // step`, `n = 2 r + 1`, and l over the
        kernel_size by kernel_size positions about 0. With a flow and "warp", `second` is replaced by `warp(second,
        flow)`. With "lookup", `second` is sampled at `p + l + flow[p + l] + (dy, dx)` instead.

    Convention:
        Displacements are ordered row by row; the middle channel is the displacement 0. Both maps are zero beyond their
        borders. The layer reads the flow in its own dtype. A half-precision policy rounds only the maps.
        "lookup" uses the flow of pixel p for all its displacements, and "warp" the flow of each pixel that is compared
        with p: the two differ at borders between motions. See `tfpyramid.ops.cost_volume`.

    Args:
        max_displacement: largest displacement in each direction, in pixels, from 0 to 1024 and at most 32 steps.
        step: distance between two displacements, in pixels, from 1 to 1024.
        kernel_size: rows and columns of the patches that are compared; odd, at most 31.
        sampling: how the flow is used: "warp" or "lookup". It has no effect without a flow.
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        A list of two maps, each [batch, height, width, channels], floating point; and, as an option, a flow [batch,
        height, width, 2], (dx, dy) in pixels from the first map to the second. Sides are at least 1 and may be unknown.

    Output shape:
        [batch, height, width, (2 (max_displacement // step) + 1)^2].

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> first, second = tf.one_hot([[[1, 1, 0, 1, 1]]], 2), tf.one_hot([[[1, 1, 1, 0, 1]]], 2)
        >>> costs = CostVolume(max_displacement=1)([first, second])
        >>> int(tf.argmax(costs[0, 0, 2])), tuple(costs.shape)  # Column 2 moved to column 3: (dy, dx) = (0, 1).
        (5, (1, 1, 5, 9))
        >>> costs = CostVolume(1, sampling="lookup")([first, second, tf.tile([[[[1.0, 0.0]]]], [1, 1, 5, 1])])
        >>> int(tf.argmax(costs[0, 0, 2]))  # The flow is right: what is left is the displacement 0.
        4

    References:
        Sun, Yang, Liu and Kautz, PWC-Net: CNNs for Optical Flow Using Pyramid, Warping, and Cost Volume, 2018,
        section 3, equation 3 ("warp"); Teed and Deng, RAFT: Recurrent All-Pairs Field Transforms for Optical Flow,
        2020, section 3.2 ("lookup"); Hofinger, Rota Bulo, Porzi, Knapitsch, Pock and Kontschieder, Improving Optical
        Flow on a Pyramid Level, 2020 (why to sample instead of warping).
    """

    def __init__(
        self, max_displacement: int = 4, *, step: int = 1, kernel_size: int = 1, sampling: str = "warp", **kwargs: Any
    ) -> None:
        # With autocast, Keras would round the flow to half precision before `call`, and positions would move.
        super().__init__(**{"autocast": False, **kwargs})
        self.max_displacement, self.step, self.kernel_size = correlation.check_search(
            max_displacement, step, kernel_size
        )
        self.sampling = correlation.check_sampling(sampling)

    def build(self, input_shape: Any) -> None:
        self.compute_output_shape(input_shape)
        super().build(input_shape)

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        first, second, *flow = split(inputs, *_INPUTS)
        first = tf.cast(_checks.floating_tensor("first", first), self.compute_dtype)
        second = tf.cast(_checks.floating_tensor("second", second), self.compute_dtype)
        search: dict[str, Any] = {"step": self.step, "kernel_size": self.kernel_size, "sampling": self.sampling}
        return correlation.cost_volume(first, second, self.max_displacement, flow=flow[0] if flow else None, **search)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        first, second, *flow = split_shapes(input_shape, *_INPUTS)
        shape = _checks.image_shape("first", first)
        correlation.check_shapes(shape, _checks.image_shape("second", second))
        if flow:
            sampling.check_flow(_checks.image_shape("flow", flow[0]), shape, "first")
        return (*shape[:3], (2 * (self.max_displacement // self.step) + 1) ** 2)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_displacement": self.max_displacement,
            "step": self.step,
            "kernel_size": self.kernel_size,
            "sampling": self.sampling,
        }
