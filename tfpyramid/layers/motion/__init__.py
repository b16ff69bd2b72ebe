"""Layers for the motion between two images."""

from tfpyramid.layers.motion.cost_volume import CostVolume
from tfpyramid.layers.motion.warp import Warp2D

__all__ = ["CostVolume", "Warp2D"]
