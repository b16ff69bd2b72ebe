"""Builders of whole models."""

from tfpyramid.models.pyramid_segmenter import pyramid_segmenter
from tfpyramid.models.pyramid_vlm import pyramid_vlm
from tfpyramid.models.with_text_input import with_text_input

__all__ = ["pyramid_segmenter", "pyramid_vlm", "with_text_input"]
