"""Layers that look closely at places of an image: where to look, and what is seen there."""

from tfpyramid.layers.fovea.fixation_predictor import FixationPredictor
from tfpyramid.layers.fovea.fixation_sampler import FixationSampler
from tfpyramid.layers.fovea.foveated_pyramid import FoveatedPyramid

__all__ = ["FixationPredictor", "FixationSampler", "FoveatedPyramid"]
