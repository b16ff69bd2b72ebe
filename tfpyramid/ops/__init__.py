"""Pure functions on tensors: no Keras, no state."""

from tfpyramid.ops.convolution import conv_down
from tfpyramid.ops.fusion import align_levels, fusion_weights
from tfpyramid.ops.gradients import normalize_gradient, scale_gradient
from tfpyramid.ops.kernels import binomial, box, gaussian
from tfpyramid.ops.pyramid import gaussian_pyramid, laplacian_pyramid, reconstruct
from tfpyramid.ops.resample import pyr_down, pyr_up, resize_by
from tfpyramid.ops.straight_through import heaviside_st, one_hot_st, quantize_st, round_st, surrogate_st

__all__ = [
    "align_levels",
    "binomial",
    "box",
    "conv_down",
    "fusion_weights",
    "gaussian",
    "gaussian_pyramid",
    "heaviside_st",
    "laplacian_pyramid",
    "normalize_gradient",
    "one_hot_st",
    "pyr_down",
    "pyr_up",
    "quantize_st",
    "reconstruct",
    "resize_by",
    "round_st",
    "scale_gradient",
    "surrogate_st",
]
