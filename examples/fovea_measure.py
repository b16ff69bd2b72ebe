"""The measurements of fovea.py: accuracy, pixels, fixations on the frame, and times."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from fovea_data import Scenes, as_floats
from fovea_models import Fovea

keras = tf.keras
BATCH = 50
REPEATS = 7  # Repetitions of a timed batch.


def tested(
    networks: dict[str, keras.Model], places: keras.Model, scenes: Scenes, count: int, side: int, crop: int
) -> tuple[dict[str, float], list[float]]:
    """Return the accuracy of each network in percent, and how often the frame is at one of the first 1, 2, ... places.

    It is if its center is in the crop.
    """
    ask = {name: tf.function(network, reduce_retracing=True) for name, network in networks.items()}
    look = tf.function(places, reduce_retracing=True)
    right: dict[str, list[bool]] = {name: [] for name in networks}
    found = []
    for start in range(0, count, BATCH):
        images, labels, centers = scenes.several(min(BATCH, count - start), side, seed=start)
        images = as_floats(images)
        for name, network in ask.items():
            right[name].extend(tf.argmax(network(images), 1).numpy() == labels)
        away = np.abs(look(images)[0].numpy() - centers[:, np.newaxis]).max(axis=2) * side
        found.extend(np.logical_or.accumulate(away < crop / 2, axis=1))
    return {name: percentage(each) for name, each in right.items()}, [percentage(each) for each in np.transpose(found)]


def times(contenders: dict[str, tuple[keras.Model, Any]]) -> dict[str, float]:
    """Return the median milliseconds of each network with its inputs; they take turns."""
    ask: dict[str, Callable] = {name: tf.function(network) for name, (network, _) in contenders.items()}
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(REPEATS + 1):  # The first one traces.
        for name, (_, inputs) in contenders.items():
            started = time.perf_counter()
            ask[name](inputs).numpy()
            taken[name].append(1000 * (time.perf_counter() - started))
    return {name: round(statistics.median(values[1:]), 2) for name, values in taken.items()}


def flat_cost(
    fovea: Fovea, networks: dict[str, keras.Model], scenes: Scenes, sides: Sequence[int]
) -> dict[str, dict[int, float]]:
    """Return the milliseconds for one scene of each side: to read three places, and for the whole of two networks."""
    reading = fovea.reading()
    rows: dict[str, dict[int, float]] = {}
    for side in sides:
        image = as_floats(scenes.several(1, side, seed=0)[0])
        places, scores = tf.random.uniform([1, 3, 2], seed=0), tf.zeros([1, 3])
        contenders = {
            "reading 3 places": (reading, [image, places, scores]),
            "fovea, 3 fixations": (networks["fovea, 3 fixations"], image),
            "full": (networks["full"], image),
        }
        for name, taken in times(contenders).items():
            rows.setdefault(name, {})[side] = taken
    return rows


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean and the standard deviation over the seeds."""

    def over(values: list[float]) -> list[float]:
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        return [round(statistics.mean(values), 2), round(spread, 2)]

    names = list(runs[0]["accuracy"])
    found = zip(*(run["found"] for run in runs))
    return {
        "accuracy": {name: over([run["accuracy"][name] for run in runs]) for name in names},
        "found": {str(k): over(list(each)) for k, each in enumerate(found, start=1)},
        "times as fast": {
            name: over([run["milliseconds"]["full"] / run["milliseconds"][name] for run in runs]) for name in names
        },
    }


def print_summary(numbers: dict[str, Any]) -> None:
    totals = numbers["summary"]
    line = "{:<22}{:>18}{:>18}{:>18}"
    print("\n" + line.format("", "accuracy, %", "pixels", "times as fast"))
    for name, accuracy in totals["accuracy"].items():
        cells = (f"{mean:.2f} ± {spread:.2f}" for mean, spread in (accuracy, totals["times as fast"][name]))
        print(line.format(name, next(cells), f"{numbers['pixels'][name]:.4f}", next(cells)))
    found = (f"{mean:.1f} ± {spread:.1f} % in {count}" for count, (mean, spread) in totals["found"].items())
    print("The frame is at a fixation: " + ", ".join(found))
    rows = numbers["milliseconds by side"]
    sides = next(iter(rows.values()))
    line = "{:<22}" + "{:>18}" * len(sides)
    print("\n" + line.format("ms for one scene", *(f"{side} pixels" for side in sides)))
    for name, row in rows.items():
        print(line.format(name, *(f"{each:.1f}" for each in row.values())))


def percentage(right: Any) -> float:
    return round(100 * float(np.mean(right)), 2)
