"""Image pyramids that learn: TensorFlow/Keras layers and functions."""

from tfpyramid import export, layers, models, ops, visualize

__version__ = "0.1.0"

__all__ = ["__version__", "export", "layers", "models", "ops", "visualize"]
