"""The measurements of visual_questions.py: answers from every level, the error of confidences, and times."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from visual_questions_data import Questions

keras = tf.keras
REPEATS = 15  # Repetitions of a timed batch.
BINS = 15  # Of probabilities, for the calibration error.


def every_level(model: keras.Model, batches: tf.data.Dataset) -> dict[str, np.ndarray]:
    """Return the answers from all levels [n, levels, answers], and P(right) of all levels but the finest."""

    @tf.function(reduce_retracing=True)
    def ask(inputs: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        answers, logits = model.answer_every_level(inputs)
        return answers, model.probabilities(logits)

    answers, probabilities = zip(*(ask(inputs) for inputs, _ in batches))
    return {"answers": np.concatenate(answers), "probabilities": np.concatenate(probabilities)}


def calibration_error(probabilities: np.ndarray, right: np.ndarray) -> float:
    """Return the expected calibration error: how far P is from the rate of right answers, averaged over bins of P."""
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    total = 0.0
    for k in np.unique(bins):
        chosen = bins == k
        total += chosen.mean() * abs(probabilities[chosen].mean() - right[chosen].mean())
    return float(total)


def times(cascade: keras.Model, router: keras.Model, questions: Questions, words: Any, count: int) -> dict[str, float]:
    """Return the median milliseconds of one batch, for both models, the finest level, and the exports of all three."""
    finest = keras.Model(
        cascade.input,
        cascade.decoder(
            [cascade.cascade.encoders[0](cascade.input["image"]), cascade.question_encoder(cascade.input["question"])]
        ),
    )
    inputs, _ = next(iter(questions[:count].batches(words, count)))
    contenders: dict[str, Callable] = {}
    loaded = []  # The endpoint `serve` does not keep the variables of its model alive.
    with tempfile.TemporaryDirectory() as folder:
        for name, each in (("cascade", cascade), ("routed", router), ("finest", finest)):
            contenders[name] = tf.function(each)
            each.export(os.path.join(folder, name), **({"verbose": False} if keras.__version__ >= "3" else {}))
            loaded.append(tf.saved_model.load(os.path.join(folder, name)))
            contenders[f"{name}, exported"] = loaded[-1].serve
        taken: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(REPEATS + 2):  # The first two warm up.
            for name, ask in contenders.items():
                started = time.perf_counter()
                tf.nest.flatten(ask(inputs))[0].numpy()
                taken[name].append(1000 * (time.perf_counter() - started))
    return {name: round(statistics.median(values[2:]), 2) for name, values in taken.items()}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean and the standard deviation over the seeds."""

    def over(values: list[float]) -> list[float]:
        return [round(statistics.mean(values), 4), round(statistics.stdev(values) if len(values) > 1 else 0.0, 4)]

    rows = runs[0]["accuracy"]
    speed = {
        f"{name}{where}": over(
            [run["milliseconds"][f"finest{where}"] / run["milliseconds"][f"{name}{where}"] for run in runs]
        )
        for name in ("cascade", "routed")
        for where in ("", ", exported")
    }
    errors = runs[0]["calibration error"]
    return {
        "accuracy": {
            row: {key: over([run["accuracy"][row][key] for run in runs]) for key in rows[row]} for row in rows
        },
        "calibration error": {key: over([run["calibration error"][key] for run in runs]) for key in errors},
        "times as fast": speed,
    }


def print_summary(numbers: dict[str, Any], runs: list[dict[str, Any]], kinds: Any, sides: Any) -> None:
    line = "{:<22}" + "{:>20}" * (2 + len(kinds))
    print(line.format("accuracy, %", "all", *kinds, "fraction of pixels"))
    for name, row in numbers["accuracy"].items():
        cells = (f"{mean:.3f} ± {spread:.3f}" for mean, spread in row.values())
        print(line.format(name, *cells))
    line = "{:<22}" + "{:>20}" * len(sides)
    print("\n" + line.format("stopped, % of questions", *(f"{side} pixels" for side in sides)))
    for kind in kinds:
        counts = np.sum([run["levels"][kind] for run in runs], axis=0)
        print(line.format(kind, *(f"{100 * count / max(counts.sum(), 1):.1f}" for count in counts)))
    print("\nExpected calibration error: " + stated(numbers["calibration error"], 4))
    print("Times as fast as the finest level: " + stated(numbers["times as fast"], 1))


def stated(values: dict[str, list[float]], digits: int) -> str:
    return "; ".join(f"{name} {mean:.{digits}f} ± {spread:.{digits}f}" for name, (mean, spread) in values.items())
