"""Image pyramids that learn: TensorFlow/Keras layers, models and functions."""

from tfpyramid import export, layers, losses, metrics, models, ops, scale, training, visualize

__version__ = "0.1.0"

__all__ = ["__version__", "export", "layers", "losses", "metrics", "models", "ops", "scale", "training", "visualize"]
