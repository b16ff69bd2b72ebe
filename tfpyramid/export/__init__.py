"""Models that leave Python behind."""

from tfpyramid.export.saved_model import export_saved_model

__all__ = ["export_saved_model"]
