"""Losses for pyramids: one that compares every level with a target, and one that makes levels diverse."""

from tfpyramid.losses.generalized_iou import GeneralizedIoU
from tfpyramid.losses.multi_scale_loss import MultiScaleLoss, multi_scale_loss
from tfpyramid.losses.pyramid_diversity import PyramidDiversity, pyramid_diversity_loss

__all__ = ["GeneralizedIoU", "MultiScaleLoss", "PyramidDiversity", "multi_scale_loss", "pyramid_diversity_loss"]
