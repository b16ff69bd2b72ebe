"""Layers that compute features of every level, and that fuse the levels into one map or one answer."""

from tfpyramid.layers.fusion.feature_pyramid import FeaturePyramid
from tfpyramid.layers.fusion.logit_fusion import LogitFusion
from tfpyramid.layers.fusion.per_level import PerLevel
from tfpyramid.layers.fusion.pyramid_block import PyramidBlock
from tfpyramid.layers.fusion.pyramid_conv2d import PyramidConv2D
from tfpyramid.layers.fusion.softmax_mixture import SoftmaxMixture
from tfpyramid.layers.fusion.upsample_concat import UpsampleConcat
from tfpyramid.layers.fusion.weighted_fusion import WeightedFusion

__all__ = [
    "FeaturePyramid",
    "LogitFusion",
    "PerLevel",
    "PyramidBlock",
    "PyramidConv2D",
    "SoftmaxMixture",
    "UpsampleConcat",
    "WeightedFusion",
]
