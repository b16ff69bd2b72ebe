"""Does a learned stride recover from a wrong initial value?

    python benchmarks/bench_strides.py [--data FOLDER] [--output FOLDER] [--quick]

Garments of 28 pixels are at most 3 pixels from the upper left corner of a canvas of 64 pixels. After a first
convolution, a `LearnableStrideConv2D` returns 12 by 12 outputs, starting at that corner. Strides of 2.2 cover the
garment; strides of 5.6 cover the canvas, most of which is empty; strides of 1 cover a part of the garment. With strides
of exactly 1 every output lies on a pixel, where the two-sided derivative of linear interpolation is 0. The layer uses
the one-sided derivative, so these strides can change.

Strides are fixed at each value, or learned from there. One optimizer, Adam, trains all weights at one rate;
`stride_speed` is 10, the default, or 1. "Recovered" is the gain in accuracy from learning, relative to the difference
between the fixed initial strides and the fixed strides of 2.2. Results, with the history of the strides, are written
after every training, and an interrupted run resumes. The strides of the first seed are drawn in docs/strides.png, or in
the folder of `--output`. `--quick` trains on a few images, too few to measure anything; it does not need the data set.
"""

from __future__ import annotations

import statistics
from typing import Any, NamedTuple

import common
import garments
import numpy as np
import tensorflow as tf
from classifier import Training, activated, batches, classifier, convolution, parse_options, percentage
from tqdm import tqdm

from tfpyramid import layers, visualize

keras = tf.keras
CANVAS = 64
MARGIN = 3
OUTPUTS = 12
RIGHT = 2.2
EVERY = 15  # Steps between two records of the strides.


class Protocol(NamedTuple):
    """The settings of every training."""

    train: int
    test: int
    epochs: int
    seeds: int
    batch: int = 64
    rate: float = 8e-3


FULL = Protocol(train=8_000, test=10_000, epochs=3, seeds=3)
QUICK = Protocol(train=16, test=16, epochs=1, seeds=1, batch=16)


class Case(NamedTuple):
    """The initial strides, whether they are learned, and arguments of the layer other than the defaults."""

    start: float
    learned: bool = False
    arguments: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        how = f"learned from {self.start}" if self.learned else f"fixed at {self.start}"
        return ", ".join([how, *(f"`{name}={value:g}`" for name, value in self.arguments)])


CASES = [
    Case(RIGHT),
    Case(5.6),
    Case(5.6, learned=True),
    Case(5.6, learned=True, arguments=(("stride_speed", 1),)),
    Case(1.0),
    Case(1.0, learned=True),
]


def main() -> None:
    options = parse_options(__doc__)
    protocol = QUICK if options.quick else FULL
    path = options.output / "results/strides.json"
    results = common.read_json(path) if path.exists() else {}
    if results.get("protocol") != protocol._asdict():
        results = {"protocol": protocol._asdict(), "runs": []}
    runs = results["runs"]
    split, test = (
        (garments.cornered(images, CANVAS, MARGIN, seed), labels)
        for seed, (images, labels) in enumerate(
            garments.part(options.data, protocol.train, protocol.test, options.quick)
        )
    )

    done = {(run["strides"], run["seed"]) for run in runs}
    todo = [(case, seed) for seed in range(protocol.seeds) for case in CASES if (str(case), seed) not in done]
    with tqdm(todo, desc="Training", unit="network") as bar:
        for case, seed in bar:
            run = measured(case, seed, split, test, protocol=protocol)
            runs.append({"strides": str(case), "seed": seed, **run})
            common.write_json(path, {**results, "environment": common.environment()})
            y, x = run["history"][-1]
            bar.write(f"{case}, seed {seed}: {run['accuracy']:.1f} %, strides {y:.2f} and {x:.2f}")

    common.prepare(options.output, "strides")
    common.update_table(options.output / "README.md", "strides", table(runs))
    print(table(runs))
    picture = (common.FOLDER.parent / "docs" if options.output == common.FOLDER else options.output) / "strides.png"
    with common.written_aside(picture) as aside:
        visualize.show_strides(histories(runs)).savefig(aside)


def network(case: Case) -> tuple[keras.Model, layers.LearnableStrideConv2D]:
    strided = layers.LearnableStrideConv2D(
        8, 3, case.start, output_size=OUTPUTS, use_bias=False, **dict(case.arguments)
    )

    def features(x: tf.Tensor) -> tf.Tensor:
        # Neighbouring samples of the input must be similar, or the derivative for the strides is mostly noise.
        x = activated(convolution(8, size=5)(x))
        return activated(convolution(32)(activated(strided(x))))

    return classifier(CANVAS, features), strided


def measured(
    case: Case, seed: int, split: garments.Split, test: garments.Split, *, protocol: Protocol
) -> dict[str, Any]:
    keras.utils.set_random_seed(seed)
    model, strided = network(case)
    steps = protocol.epochs * (protocol.train // protocol.batch)
    fixed = [] if case.learned else [strided.scaled_log_strides]
    training = Training(model, protocol.rate, steps, fixed=fixed)
    history = []
    for step, batch in enumerate(batches(*split, protocol.batch, epochs=protocol.epochs, seed=seed)):
        if step % EVERY == 0:
            history.append(strided.strides.numpy().astype(float).round(4).tolist())
        training.step(*batch)
    history.append(strided.strides.numpy().astype(float).round(4).tolist())
    images, labels = test
    return {"accuracy": percentage(training.answers(images) == labels), "history": history}


def of(case: Case, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [run for run in runs if run["strides"] == str(case)]


def histories(runs: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Return the learned strides of the first seed after each step, interpolated between the records."""
    found = {}
    for case in CASES:
        if case.learned:
            records = np.array(of(case, runs)[0]["history"])
            at = np.arange(len(records)) * EVERY
            found[str(case)] = np.stack([np.interp(np.arange(at[-1] + 1), at, axis) for axis in records.T], axis=1)
    return found


def table(runs: list[dict[str, Any]]) -> str:
    """Return the table: accuracies and strides, with mean and standard deviation over the seeds, and the recovery."""
    accuracies = {case: [run["accuracy"] for run in of(case, runs)] for case in CASES}
    right = statistics.fmean(accuracies[Case(RIGHT)])
    rows = []
    for case in CASES:
        recovered, ends = "", [str(case.start)] * 2
        if case.learned:
            wrong = statistics.fmean(accuracies[Case(case.start)])
            gain = statistics.fmean(accuracies[case]) - wrong
            recovered = f"{100 * gain / (right - wrong):.0f} %" if right > wrong else "nothing to recover"
            last = [run["history"][-1] for run in of(case, runs)]
            ends = [common.mean_and_spread(strides) for strides in zip(*last)]
        rows.append([case, common.mean_and_spread(accuracies[case], 1), *ends, recovered])
    return common.table(["strides", "accuracy, %", "s_y at the end", "s_x at the end", "recovered"], rows)


if __name__ == "__main__":
    main()
