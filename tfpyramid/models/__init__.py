"""Functions that build whole models; each returns an ordinary `keras.Model`."""

from tfpyramid.models.antialias import antialias
from tfpyramid.models.calibrate_confidence import calibrate_confidence
from tfpyramid.models.cost_curve import cost_curve
from tfpyramid.models.feature_levels import feature_levels
from tfpyramid.models.pyramid_classifier import pyramid_classifier
from tfpyramid.models.pyramid_detector import pyramid_detector
from tfpyramid.models.pyramid_flow import pyramid_flow
from tfpyramid.models.pyramid_segmenter import pyramid_segmenter
from tfpyramid.models.pyramid_super_resolution import pyramid_super_resolution
from tfpyramid.models.pyramid_vlm import pyramid_vlm
from tfpyramid.models.with_text_input import with_text_input

__all__ = [
    "antialias",
    "calibrate_confidence",
    "cost_curve",
    "feature_levels",
    "pyramid_classifier",
    "pyramid_detector",
    "pyramid_flow",
    "pyramid_segmenter",
    "pyramid_super_resolution",
    "pyramid_vlm",
    "with_text_input",
]
