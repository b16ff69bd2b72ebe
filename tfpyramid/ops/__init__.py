"""Pure functions on tensors: no Keras, no state."""

from tfpyramid.ops.blending import blend, exposure_fusion, focus_stack
from tfpyramid.ops.boxes import generalized_iou
from tfpyramid.ops.convolution import conv_down, depthwise_down
from tfpyramid.ops.correlation import cost_volume
from tfpyramid.ops.fovea import foveated_pyramid
from tfpyramid.ops.fusion import align_levels, fusion_weights
from tfpyramid.ops.gates import cumulative_gates
from tfpyramid.ops.gradients import normalize_gradient, scale_gradient
from tfpyramid.ops.halting import cascade_costs
from tfpyramid.ops.kernels import normalize_kernel, phase
from tfpyramid.ops.logits import fuse_logits, softmax_mixture
from tfpyramid.ops.maxima import local_maxima, soft_argmax
from tfpyramid.ops.pyramid import gaussian_pyramid, laplacian_pyramid, reconstruct
from tfpyramid.ops.resample import pyr_down, pyr_up, resize_by
from tfpyramid.ops.resize import bilinear_down
from tfpyramid.ops.routing import pixel_costs
from tfpyramid.ops.sampling import affine_grid, bilinear_sample, warp
from tfpyramid.ops.similarity import multi_scale_ssim
from tfpyramid.ops.spectral import spectral_pool
from tfpyramid.ops.straight_through import gumbel_softmax, heaviside_st, one_hot_st, quantize_st, round_st, surrogate_st
from tfpyramid.ops.strided_convolution import strided_conv2d
from tfpyramid.ops.taps import binomial, box, gaussian
from tfpyramid.ops.windows import window_mean

__all__ = [
    "affine_grid",
    "align_levels",
    "bilinear_down",
    "bilinear_sample",
    "binomial",
    "blend",
    "box",
    "cascade_costs",
    "conv_down",
    "cost_volume",
    "cumulative_gates",
    "depthwise_down",
    "exposure_fusion",
    "focus_stack",
    "foveated_pyramid",
    "fuse_logits",
    "fusion_weights",
    "gaussian",
    "gaussian_pyramid",
    "generalized_iou",
    "gumbel_softmax",
    "heaviside_st",
    "laplacian_pyramid",
    "local_maxima",
    "multi_scale_ssim",
    "normalize_gradient",
    "normalize_kernel",
    "one_hot_st",
    "phase",
    "pixel_costs",
    "pyr_down",
    "pyr_up",
    "quantize_st",
    "reconstruct",
    "resize_by",
    "round_st",
    "scale_gradient",
    "soft_argmax",
    "softmax_mixture",
    "spectral_pool",
    "strided_conv2d",
    "surrogate_st",
    "warp",
    "window_mean",
]
