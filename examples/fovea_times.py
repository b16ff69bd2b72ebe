"""How long the networks of fovea.py take: on a batch, live and exported, and on larger and larger canvases."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
from fovea_models import FIXATIONS, VIEW, Shrink

from tfpyramid import export

keras = tf.keras  # Keras 3; Keras 2 with TensorFlow 2.15 or TF_USE_LEGACY_KERAS=1.
REPEATS = 5


def speed(models: dict[str, keras.Model], images: tf.Tensor) -> dict[str, dict[str, float]]:
    """Return the median seconds of each model on a batch of images, live and exported; all take turns."""
    contenders: dict[tuple[str, str], Callable] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, model in models.items():
            path = Path(folder) / name.replace(" ", "_")
            served = export.load_saved_model(export.export_saved_model(model, path))
            contenders[name, "live"] = tf.function(model)
            contenders[name, "exported"] = lambda images, served=served: served(image=images)
        taken = turns({key: lambda ask=ask: ask(images) for key, ask in contenders.items()}, REPEATS)
    found: dict[str, dict[str, float]] = {name: {} for name in models}
    for (name, where), seconds in taken.items():
        found[name][where] = round(seconds, 4)
    return found


def growth(models: dict[str, keras.Model], sides: list[int]) -> dict[str, dict[int, float]]:
    """Return the median milliseconds of a fovea on one canvas of each side, with its view given and with all of it.

    The view has the same number of pixels for every canvas. To make it reads each pixel of the canvas once.
    """
    found: dict[str, dict[int, float]] = {}
    for side in sides:
        images = tf.random.uniform([1, side, side, 3])
        shrink = tf.function(Shrink(side * VIEW // sides[0]))
        view = shrink(images)
        contenders: dict[str, Callable] = {"making the view": lambda shrink=shrink: shrink(images)}
        for name in FIXATIONS.keys() & models:
            fovea = tf.function(models[name].get_layer("fovea"))
            contenders[f"{name}, view given"] = lambda fovea=fovea: fovea([images, view])
        for name, seconds in turns(contenders, 4 * REPEATS).items():
            found.setdefault(name, {})[side] = round(1000 * seconds, 3)
    return found


def turns(contenders: dict, repeats: int) -> dict:
    """Return the median seconds of contenders that take turns, after two rounds to warm up."""
    taken: dict = {key: [] for key in contenders}
    for _ in range(repeats + 2):
        for key, ask in contenders.items():
            started = time.perf_counter()
            tf.nest.map_structure(lambda output: output.numpy(), ask())
            taken[key].append(time.perf_counter() - started)
    return {key: statistics.median(values[2:]) for key, values in taken.items()}
