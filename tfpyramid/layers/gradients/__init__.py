"""Layers that return their input unchanged and change its gradient."""

from tfpyramid.layers.gradients.gradient_normalization import GradientNormalization

__all__ = ["GradientNormalization"]
