"""Image pyramids that learn: TensorFlow/Keras layers, models and functions."""

import sys

__version__ = "0.1.0"

try:
    from tfpyramid import export, layers, losses, metrics, models, ops, scale, training, visualize
except Exception:
    # `python -m tfpyramid` imports this file before `__main__`, which reports a broken installation. Meanwhile
    # `sys.argv[0]` is "-m".
    if sys.argv[:1] != ["-m"] or "tfpyramid" not in sys.orig_argv:
        raise

__all__ = ["__version__", "export", "layers", "losses", "metrics", "models", "ops", "scale", "training", "visualize"]
