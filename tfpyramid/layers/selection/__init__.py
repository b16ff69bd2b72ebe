"""Which level each sample is read at, and the reading."""

from tfpyramid.layers.selection.gumbel_level_selector import GumbelLevelSelector
from tfpyramid.layers.selection.level_router import LevelRouter
from tfpyramid.layers.selection.query_level_selector import QueryLevelSelector

__all__ = ["GumbelLevelSelector", "LevelRouter", "QueryLevelSelector"]
