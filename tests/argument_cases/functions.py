"""Losses, metrics and training."""

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from tests.argument_cases.row import IMAGES, LEVELS, Row
from tfpyramid import layers, losses, metrics, training
from tfpyramid._compat import keras

BOXES = np.float32([[[0, 0, 2, 3], [1, 1, 4, 2]]])
SCORES = np.float32([[0.2, 0.8], [0.7, 0.3]])
STEP = {"scale_factor": 2, "kernel": [1.0, 2.0, 1.0], "border": "edge"}
LOSS = {"loss": "mae", "decay": 0.25, **STEP, "scale_factor": 2.0, "phase": 0.5}
SIMILARITY = {
    "max_val": 2.0,
    "power_factors": (0.5, 0.25),
    "filter_size": 3,
    "filter_sigma": 1.5,
    "k1": 0.25,
    "k2": 0.5,
}


@functools.cache
def trained() -> keras.Model:
    model = keras.Sequential([keras.Input((5, 5, 2)), keras.layers.ReLU(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


@functools.cache
def _dataset() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensors((IMAGES, IMAGES[..., :1]))


@functools.cache
def _parts() -> tuple[keras.Model, keras.layers.Layer, keras.layers.Layer, keras.layers.Layer]:
    images = keras.Input((5, 5, 2))
    down, head, tail = layers.LearnableDownsample2D(), keras.layers.Dense(2), keras.layers.Dense(2)
    return keras.Model(images, tail(head(down(images)))), down, head, tail


def _optimizer() -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(0.5)


def _groups() -> dict[str, Any]:
    model, down, head, tail = _parts()
    return {
        "model": model,
        "pyramid": _optimizer(),
        "task": _optimizer(),
        "pyramid_layers": [down],
        "task_layers": [head],
        "groups": {"tail": ([tail], _optimizer())},
    }


ROWS = [
    Row(
        losses.GeneralizedIoU,
        lambda: {"name": "loss"},
        use=lambda loss: (loss.get_config(), loss(BOXES, BOXES + 1)),
    ),
    Row(
        losses.multi_scale_loss,
        lambda: {"targets": IMAGES, "predictions": LEVELS, "weights": (1.0, 0.5), "mask": IMAGES[..., 0], **LOSS},
        no_lists=frozenset({"targets"}),
    ),
    Row(
        losses.multi_scale_loss,
        lambda: {"targets": LEVELS, "predictions": LEVELS, "weights": None, "mask": None, **LOSS},
        label="targets of each size",
    ),
    Row(
        losses.multi_scale_loss,
        lambda: {"targets": IMAGES, "predictions": IMAGES + 1, "weights": None, "mask": IMAGES[..., 0], **LOSS},
        no_lists=frozenset({"targets", "predictions"}),
        label="one prediction",
    ),
    Row(
        losses.MultiScaleLoss,
        lambda: {**LOSS, "name": "loss"},
        use=lambda loss: (loss.get_config(), loss(IMAGES, IMAGES[:, ::2, ::2])),
    ),
    Row(
        losses.Charbonnier,
        lambda: {"epsilon": 0.5, "name": "loss"},
        use=lambda loss: (loss.get_config(), loss(IMAGES, IMAGES + 1)),
    ),
    Row(
        losses.EndPointError,
        lambda: {"hardest": 0.5, "name": "loss"},
        use=lambda loss: (loss.get_config(), loss(IMAGES, IMAGES + 1)),
    ),
    Row(
        losses.laplacian_pyramid_loss,
        lambda: {
            "targets": IMAGES,
            "predictions": IMAGES + 1,
            "num_levels": 2,
            "weights": (1.0, 0.5),
            "norm": 2,
            "mask": IMAGES[..., 0],
        },
    ),
    Row(
        losses.LaplacianPyramidLoss,
        lambda: {"num_levels": 2, "weights": (1.0, 0.5), "norm": 2, "name": "loss"},
        use=lambda loss: (loss.get_config(), loss(IMAGES, IMAGES + 1)),
    ),
    Row(
        losses.MultiScaleSSIM,
        lambda: {**SIMILARITY, "name": "loss"},
        use=lambda loss: (loss.get_config(), loss(IMAGES, IMAGES + 1)),
    ),
    Row(losses.pyramid_diversity_loss, lambda: {"levels": LEVELS, "scale_factor": 2.0, "phase": 0.5}),
    Row(
        metrics.EndPointError,
        lambda: {"name": "error"},
        use=lambda metric: (metric.get_config(), metric.update_state(IMAGES, IMAGES + 1)),
    ),
    Row(
        metrics.MultiScaleSSIM,
        lambda: {**SIMILARITY, "name": "similarity"},
        use=lambda metric: (metric.get_config(), metric.update_state(IMAGES, IMAGES + 1)),
    ),
    Row(
        metrics.ShiftConsistency,
        lambda: {"name": "consistency"},
        use=lambda metric: (metric.name, metric.update_state(SCORES, SCORES)),
    ),
    Row(metrics.shifted_pair, lambda: {"images": IMAGES, "max_shift": 2, "seed": 3}),
    Row(
        training.PyramidMonitor,
        lambda: {"log_dir": "logs", "sample": (IMAGES, IMAGES)},
        use=lambda callback: (callback.log_dir, callback.sample),
    ),
    Row(
        training.TemperatureAnnealing,
        lambda: {"start": 1.0, "end": 0.5, "steps": 3, "schedule": "linear", "layers": [layers.GumbelLevelSelector()]},
        use=lambda callback: callback.temperature_at(1),
    ),
    Row(training.discriminative_optimizer, _groups, use=lambda optimizer: sorted(optimizer.groups)),
    Row(
        training.fit_distributed,
        lambda: {
            "model": trained(),
            "data": _dataset(),
            "epochs": 1,
            "checkpoint_folder": "checkpoints",
            "save_every": 2,
            "verbose": False,
        },
        stopped=("DistributedTraining._train",),
    ),
    Row(training.multi_worker_strategy, lambda: {"timeout": 1.0}),
]
