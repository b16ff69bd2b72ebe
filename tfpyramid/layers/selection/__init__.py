"""Layers that select a level for each sample, and that compute features from the selected level."""

from tfpyramid.layers.selection.gumbel_level_selector import GumbelLevelSelector
from tfpyramid.layers.selection.level_cascade import LevelCascade
from tfpyramid.layers.selection.level_router import LevelRouter
from tfpyramid.layers.selection.query_level_selector import QueryLevelSelector

__all__ = ["GumbelLevelSelector", "LevelCascade", "LevelRouter", "QueryLevelSelector"]
