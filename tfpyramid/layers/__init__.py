"""Keras layers: pyramids, learned downsampling, features and fusion of levels, choice of levels, fovea, and motion."""

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
from tfpyramid.layers.fovea import FixationPredictor, FixationSampler, FoveatedPyramid
from tfpyramid.layers.fusion import (
    FeaturePyramid,
    LogitFusion,
    PerLevel,
    PyramidBlock,
    PyramidConv2D,
    SoftmaxMixture,
    UpsampleConcat,
    WeightedFusion,
)
from tfpyramid.layers.gradients import GradientNormalization
from tfpyramid.layers.motion import CostVolume, Warp2D
from tfpyramid.layers.pyramids import (
    AdaptiveDepthPyramid,
    GaussianPyramid,
    LaplacianPyramid,
    LaplacianReconstruction,
    LearnableLaplacianPyramid,
    LearnableLaplacianReconstruction,
    LearnablePyramid,
)
from tfpyramid.layers.selection import GumbelLevelSelector, LevelCascade, LevelRouter, QueryLevelSelector

__all__ = [
    "AdaptiveDepthPyramid",
    "AntiAliasedDownsample2D",
    "BilinearDownsample2D",
    "BlurPool2D",
    "ChannelAdaptiveDownsample2D",
    "ContentAdaptiveDownsample2D",
    "CostVolume",
    "FeaturePyramid",
    "FixationPredictor",
    "FixationSampler",
    "FoveatedPyramid",
    "GaussianPyramid",
    "GradientNormalization",
    "GumbelLevelSelector",
    "LaplacianPyramid",
    "LaplacianReconstruction",
    "LearnableDownsample2D",
    "LearnableLaplacianPyramid",
    "LearnableLaplacianReconstruction",
    "LearnablePyramid",
    "LearnableStrideConv2D",
    "LevelCascade",
    "LevelRouter",
    "LogitFusion",
    "PerLevel",
    "PyramidBlock",
    "PyramidConv2D",
    "QueryLevelSelector",
    "SoftmaxMixture",
    "SpatialTransformerDownsample2D",
    "SpectralDownsample2D",
    "UpsampleConcat",
    "Warp2D",
    "WeightedFusion",
]
