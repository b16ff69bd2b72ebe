"""Image pyramids that learn: TensorFlow/Keras layers, models and functions."""

import importlib
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tfpyramid import export, scale, visualize

try:
    # Keras can load files with classes of these, because their import registers the classes.
    from tfpyramid import layers, losses, metrics, models, ops, training
except Exception:
    # `python -m tfpyramid` imports this file before `__main__`, which reports a broken installation. Meanwhile
    # `sys.argv[0]` is "-m".
    if sys.argv[:1] != ["-m"] or "tfpyramid" not in sys.orig_argv:
        raise

__all__ = ["__version__", "export", "layers", "losses", "metrics", "models", "ops", "scale", "training", "visualize"]


def __getattr__(name: str) -> Any:
    """Import a package at its first use: most programs need none of the others, and start sooner without them."""
    if name in ("export", "scale", "visualize"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
