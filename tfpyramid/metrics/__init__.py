"""Metrics for networks with pyramids."""

from tfpyramid.metrics.shift_consistency import ShiftConsistency, shifted_pair

__all__ = ["ShiftConsistency", "shifted_pair"]
