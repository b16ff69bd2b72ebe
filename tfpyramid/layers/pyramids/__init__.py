"""Layers that map images to levels and back."""

from tfpyramid.layers.pyramids.adaptive_depth_pyramid import AdaptiveDepthPyramid
from tfpyramid.layers.pyramids.gaussian_pyramid import GaussianPyramid
from tfpyramid.layers.pyramids.laplacian_pyramid import LaplacianPyramid
from tfpyramid.layers.pyramids.laplacian_reconstruction import LaplacianReconstruction
from tfpyramid.layers.pyramids.learnable_laplacian_pyramid import LearnableLaplacianPyramid
from tfpyramid.layers.pyramids.learnable_laplacian_reconstruction import LearnableLaplacianReconstruction
from tfpyramid.layers.pyramids.learnable_pyramid import LearnablePyramid

__all__ = [
    "AdaptiveDepthPyramid",
    "GaussianPyramid",
    "LaplacianPyramid",
    "LaplacianReconstruction",
    "LearnableLaplacianPyramid",
    "LearnableLaplacianReconstruction",
    "LearnablePyramid",
]
