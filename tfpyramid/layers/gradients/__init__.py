"""Layers that leave the values alone and change the gradient."""

from tfpyramid.layers.gradients.gradient_normalization import GradientNormalization

__all__ = ["GradientNormalization"]
