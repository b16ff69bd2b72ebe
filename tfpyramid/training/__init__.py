"""How models with pyramids in them are trained: an optimizer of groups, and callbacks."""

from tfpyramid.training.discriminative_optimizer import discriminative_optimizer
from tfpyramid.training.pyramid_monitor import PyramidMonitor
from tfpyramid.training.temperature_annealing import TemperatureAnnealing

__all__ = ["PyramidMonitor", "TemperatureAnnealing", "discriminative_optimizer"]
