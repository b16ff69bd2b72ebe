"""Everything the layers compute, repeated in NumPy and SciPy in float64, from the equations alone."""

from tests.references.blending import blend, exposure_fusion, focus_stack
from tests.references.boxes import fcos_targets, generalized_iou
from tests.references.convolutions import (
    batch_norm,
    conv_down,
    conv_same,
    correlate,
    depthwise_down,
    strided_conv2d,
    window_mean,
    windows,
)
from tests.references.estimators import complex_step, hard, soft, straight_through
from tests.references.fusion import (
    align,
    feature_pyramid,
    fusion_weights,
    normalized,
    pyramid_block,
    relu,
    sigmoid,
    softmax,
)
from tests.references.kernels import along, phase_of, taps_of
from tests.references.pyramids import (
    blurred_samples,
    coarse_sample,
    down_line,
    gaussian_pyramid,
    laplacian_pyramid,
    pyr_down,
    pyr_up,
    reconstruct,
    up_line,
    window_centre,
    window_maxima,
)
from tests.references.sampling import affine_grid, area_resize, bilinear_down, bilinear_sample, cost_volume, warp
from tests.references.sizes import fraction, level_side
from tests.references.spectral import spectral_pool

__all__ = [
    "affine_grid",
    "align",
    "along",
    "area_resize",
    "batch_norm",
    "bilinear_down",
    "bilinear_sample",
    "blend",
    "blurred_samples",
    "coarse_sample",
    "complex_step",
    "conv_down",
    "conv_same",
    "correlate",
    "cost_volume",
    "depthwise_down",
    "down_line",
    "exposure_fusion",
    "fcos_targets",
    "feature_pyramid",
    "focus_stack",
    "fraction",
    "fusion_weights",
    "gaussian_pyramid",
    "generalized_iou",
    "hard",
    "laplacian_pyramid",
    "level_side",
    "normalized",
    "phase_of",
    "pyr_down",
    "pyr_up",
    "pyramid_block",
    "reconstruct",
    "relu",
    "sigmoid",
    "soft",
    "softmax",
    "spectral_pool",
    "straight_through",
    "strided_conv2d",
    "taps_of",
    "up_line",
    "warp",
    "window_mean",
    "windows",
    "window_centre",
    "window_maxima",
]
