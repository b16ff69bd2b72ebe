"""Metrics for networks with pyramids, for images and for optical flows."""

from tfpyramid.metrics.end_point_error import EndPointError
from tfpyramid.metrics.multi_scale_ssim import MultiScaleSSIM
from tfpyramid.metrics.shift_consistency import ShiftConsistency, shifted_pair

__all__ = ["EndPointError", "MultiScaleSSIM", "ShiftConsistency", "shifted_pair"]
