"""Metrics for networks with pyramids, and for images."""

from tfpyramid.metrics.multi_scale_ssim import MultiScaleSSIM
from tfpyramid.metrics.shift_consistency import ShiftConsistency, shifted_pair

__all__ = ["MultiScaleSSIM", "ShiftConsistency", "shifted_pair"]
