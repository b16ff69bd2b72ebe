"""A level to the next, coarser one."""

from tfpyramid.layers.downsampling.learnable_downsample import LearnableDownsample2D

__all__ = ["LearnableDownsample2D"]
