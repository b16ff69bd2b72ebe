"""Losses that compare images or levels with targets, and one that makes levels diverse."""

from tfpyramid.losses.charbonnier import Charbonnier
from tfpyramid.losses.end_point_error import EndPointError
from tfpyramid.losses.generalized_iou import GeneralizedIoU
from tfpyramid.losses.laplacian_pyramid_loss import LaplacianPyramidLoss, laplacian_pyramid_loss
from tfpyramid.losses.multi_scale_loss import MultiScaleLoss, multi_scale_loss
from tfpyramid.losses.multi_scale_ssim import MultiScaleSSIM
from tfpyramid.losses.pyramid_diversity import PyramidDiversity, pyramid_diversity_loss

__all__ = [
    "Charbonnier",
    "EndPointError",
    "GeneralizedIoU",
    "LaplacianPyramidLoss",
    "MultiScaleLoss",
    "MultiScaleSSIM",
    "PyramidDiversity",
    "laplacian_pyramid_loss",
    "multi_scale_loss",
    "pyramid_diversity_loss",
]
