"""Layers that map a level to the next coarser one."""

from tfpyramid.layers.downsampling.anti_aliased_downsample import AntiAliasedDownsample2D
from tfpyramid.layers.downsampling.bilinear_downsample import BilinearDownsample2D
from tfpyramid.layers.downsampling.blur_pool import BlurPool2D
from tfpyramid.layers.downsampling.channel_adaptive_downsample import ChannelAdaptiveDownsample2D
from tfpyramid.layers.downsampling.content_adaptive_downsample import ContentAdaptiveDownsample2D
from tfpyramid.layers.downsampling.learnable_downsample import LearnableDownsample2D
from tfpyramid.layers.downsampling.learnable_stride_conv import LearnableStrideConv2D
from tfpyramid.layers.downsampling.spatial_transformer_downsample import SpatialTransformerDownsample2D
from tfpyramid.layers.downsampling.spectral_downsample import SpectralDownsample2D

__all__ = [
    "AntiAliasedDownsample2D",
    "BilinearDownsample2D",
    "BlurPool2D",
    "ChannelAdaptiveDownsample2D",
    "ContentAdaptiveDownsample2D",
    "LearnableDownsample2D",
    "LearnableStrideConv2D",
    "SpatialTransformerDownsample2D",
    "SpectralDownsample2D",
]
