"""Image pyramids that learn: TensorFlow/Keras layers and functions."""

__version__ = "0.1.0"
