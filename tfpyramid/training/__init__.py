"""Tools to train models with pyramids: an optimizer with groups, callbacks, and training on several workers."""

from tfpyramid.training.discriminative_optimizer import discriminative_optimizer
from tfpyramid.training.fit_distributed import fit_distributed
from tfpyramid.training.multi_worker_strategy import multi_worker_strategy
from tfpyramid.training.pyramid_monitor import PyramidMonitor
from tfpyramid.training.temperature_annealing import TemperatureAnnealing

__all__ = [
    "PyramidMonitor",
    "TemperatureAnnealing",
    "discriminative_optimizer",
    "fit_distributed",
    "multi_worker_strategy",
]
