"""Export models for servers and other runtimes."""

from tfpyramid.export.load import load_saved_model
from tfpyramid.export.pixels import Pixels
from tfpyramid.export.saved_model import export_saved_model

__all__ = ["Pixels", "export_saved_model", "load_saved_model"]
