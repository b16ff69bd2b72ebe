"""Keras layers: pyramids, learned downsampling, features of levels and their fusion."""

from tfpyramid.layers.downsampling import (
    AntiAliasedDownsample2D,
    BilinearDownsample2D,
    BlurPool2D,
    ChannelAdaptiveDownsample2D,
    ContentAdaptiveDownsample2D,
    LearnableDownsample2D,
    LearnableStrideConv2D,
    SpatialTransformerDownsample2D,
    SpectralDownsample2D,
)
from tfpyramid.layers.fusion import PerLevel, PyramidConv2D, UpsampleConcat, WeightedFusion
from tfpyramid.layers.pyramids import GaussianPyramid, LaplacianPyramid, LaplacianReconstruction, LearnablePyramid

__all__ = [
    "AntiAliasedDownsample2D",
    "BilinearDownsample2D",
    "BlurPool2D",
    "ChannelAdaptiveDownsample2D",
    "ContentAdaptiveDownsample2D",
    "GaussianPyramid",
    "LaplacianPyramid",
    "LaplacianReconstruction",
    "LearnableDownsample2D",
    "LearnablePyramid",
    "LearnableStrideConv2D",
    "PerLevel",
    "PyramidConv2D",
    "SpatialTransformerDownsample2D",
    "SpectralDownsample2D",
    "UpsampleConcat",
    "WeightedFusion",
]
