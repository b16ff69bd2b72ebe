"""Layers that look closely at one place of an image: where to look, and what is seen there."""

from tfpyramid.layers.fovea.fixation_predictor import FixationPredictor
from tfpyramid.layers.fovea.foveated_pyramid import FoveatedPyramid

__all__ = ["FixationPredictor", "FoveatedPyramid"]
