"""What pyramids are trained by: losses at every level, and a loss that keeps levels apart."""

from tfpyramid.losses.multi_scale_loss import MultiScaleLoss, multi_scale_loss
from tfpyramid.losses.pyramid_diversity import PyramidDiversity, pyramid_diversity_loss

__all__ = ["MultiScaleLoss", "PyramidDiversity", "multi_scale_loss", "pyramid_diversity_loss"]
