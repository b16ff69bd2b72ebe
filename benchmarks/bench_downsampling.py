"""How accurate and how shift-consistent is a classifier with each downsampler?

    python benchmarks/bench_downsampling.py [--data FOLDER] [--output FOLDER] [--only NAME ...] [--quick]

The network has four 3 by 3 convolutions with 8, 16, 32 and 64 filters, each with batch normalization and ReLU, then
global average pooling and ten logits. A downsampler by 2 follows each of the first three. The strided convolution and
`LearnableStrideConv2D` replace the convolution. Every network is trained in the same way on the first 20,000 garments
of Fashion-MNIST, each in the center of a canvas of 36 pixels; no training image is shifted. It is tested on the 10,000
test garments in the center, and twice with random shifts of up to 4 pixels on both axes:

* clean: accuracy without shifts;
* shifted: accuracy, mean over the two shifts;
* consistent: how often both shifts have the same prediction, right or wrong.

Results are written after every training, and an interrupted run resumes. `--quick` trains on a few images, too few to
measure anything; it does not need the data set.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import common
import garments
import numpy as np
import tensorflow as tf
from classifier import Training, activated, batches, classifier, convolution, parse_options, percentage
from tqdm import tqdm

from tfpyramid import layers

keras = tf.keras
CANVAS = 36
SHIFTS = (1001, 1002)  # Seeds of the two shifts, the same for every network.


class Protocol(NamedTuple):
    """The settings of every training."""

    train: int
    test: int
    epochs: int
    seeds: int
    rounds: int  # Timed steps.
    widths: tuple[int, ...] = (8, 16, 32, 64)
    batch: int = 128
    rate: float = 4e-3


FULL = Protocol(train=20_000, test=10_000, epochs=3, seeds=3, rounds=15)
QUICK = Protocol(train=16, test=16, epochs=1, seeds=1, rounds=1, widths=(4, 4), batch=16)


class Contender(NamedTuple):
    """A downsampler, which follows a convolution and its activation, or replaces the convolution."""

    make: Callable[[int, int], keras.layers.Layer]  # Takes the number of filters and the side of the output.
    convolves: bool = False

    def stage(self, x: tf.Tensor, filters: int) -> tf.Tensor:
        downsample = self.make(filters, -(-x.shape[1] // 2))
        if self.convolves:
            return activated(downsample(x))
        return downsample(activated(convolution(filters)(x)))


def strided(filters: int, side: int) -> keras.layers.Layer:
    return keras.layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)


def stride_learning(filters: int, side: int) -> keras.layers.Layer:
    return layers.LearnableStrideConv2D(filters, output_size=side, use_bias=False)


def spectral(filters: int, side: int) -> keras.layers.Layer:
    return layers.SpectralDownsample2D(output_size=side)


def plain(layer: type, *args: Any, **options: Any) -> Contender:
    """Return a contender that does not depend on the filters or the side."""
    return Contender(lambda filters, side: layer(*args, **options))


CONTENDERS = {
    "Conv2D, strides 2": Contender(strided, convolves=True),
    "MaxPooling2D": plain(keras.layers.MaxPooling2D, 2, padding="same"),
    "AveragePooling2D": plain(keras.layers.AveragePooling2D, 2, padding="same"),
    "BilinearDownsample2D": plain(layers.BilinearDownsample2D),
    "BilinearDownsample2D, antialias": plain(layers.BilinearDownsample2D, antialias=True),
    "BlurPool2D": plain(layers.BlurPool2D),
    "BlurPool2D, pool_size 2": plain(layers.BlurPool2D, pool_size=2),
    "AntiAliasedDownsample2D, sum": plain(layers.AntiAliasedDownsample2D),
    "AntiAliasedDownsample2D, softmax": plain(layers.AntiAliasedDownsample2D, normalization="softmax"),
    "AntiAliasedDownsample2D, None": plain(layers.AntiAliasedDownsample2D, normalization=None),
    "LearnableDownsample2D": plain(layers.LearnableDownsample2D),
    "ChannelAdaptiveDownsample2D": plain(layers.ChannelAdaptiveDownsample2D),
    "ContentAdaptiveDownsample2D": plain(layers.ContentAdaptiveDownsample2D),
    "SpatialTransformerDownsample2D": plain(layers.SpatialTransformerDownsample2D),
    "LearnableStrideConv2D": Contender(stride_learning, convolves=True),
    "SpectralDownsample2D": Contender(spectral),
}
SHARES = ("clean", "shifted", "consistent")


def main() -> None:
    options = parse_options(__doc__, list(CONTENDERS))
    protocol = QUICK if options.quick else FULL
    names = options.only or list(CONTENDERS)
    results = Results(options.output / "results/downsampling.json", protocol)
    (images, labels), test = garments.part(options.data, protocol.train, protocol.test, options.quick)
    split = garments.centred(images, CANVAS), labels
    trainings = {}

    todo = [(name, seed) for seed in range(protocol.seeds) for name in names if not results.has(name, seed)]
    with tqdm(todo, desc="Training", unit="network") as bar:
        for name, seed in bar:
            keras.utils.set_random_seed(seed)
            trainings[name] = prepared(CONTENDERS[name], protocol)
            seconds = train(trainings[name], split, seed, protocol)
            shares = worth(trainings[name], test)
            model = trainings[name].model
            run: dict[str, Any] = {"parameters": sum(int(np.prod(v.shape)) for v in model.trainable_weights), **shares}
            strides = [layer.strides.numpy() for layer in model.layers if hasattr(layer, "scaled_log_strides")]
            if strides:
                run["strides"] = np.array(strides, float).round(4).tolist()
            results.add(name, seed, {**run, "seconds": round(seconds, 1)})
            bar.write(f"{name}, seed {seed}: {', '.join(f'{shares[key]:.1f}' for key in SHARES)}, {seconds:.0f} s")

    trainings = {name: trainings.get(name) or prepared(CONTENDERS[name], protocol) for name in names}
    results.time(step_times(trainings, next(batches(*split, protocol.batch, epochs=1, seed=0)), protocol.rounds))

    common.prepare(options.output, "downsampling")
    common.update_table(options.output / "README.md", "downsampling", results.table())
    print(results.table())


def network(contender: Contender, widths: tuple[int, ...]) -> keras.Model:
    def features(x: tf.Tensor) -> tf.Tensor:
        for filters in widths[:-1]:
            x = contender.stage(x, filters)
        return activated(convolution(widths[-1])(x))

    return classifier(CANVAS, features)


def prepared(contender: Contender, protocol: Protocol) -> Training:
    steps = protocol.epochs * (protocol.train // protocol.batch)
    return Training(network(contender, protocol.widths), protocol.rate, steps)


def train(training: Training, split: garments.Split, seed: int, protocol: Protocol) -> float:
    """Train the network; return the processor time in seconds."""
    start = time.process_time()
    for batch in batches(*split, protocol.batch, epochs=protocol.epochs, seed=seed):
        training.step(*batch)
    return time.process_time() - start


def worth(training: Training, test: garments.Split) -> dict[str, float]:
    """Return the results on the test images, in percent."""
    images, labels = test
    centred = training.answers(garments.centred(images, CANVAS))
    first, second = (training.answers(garments.shifted(images, CANVAS, shift)) for shift in SHIFTS)
    return {
        "clean": percentage(centred == labels),
        "shifted": percentage(np.concatenate([first == labels, second == labels])),
        "consistent": percentage(first == second),
    }


def step_times(trainings: dict[str, Training], batch: tuple, rounds: int) -> dict[str, list[float]]:
    """Return the processor time of training steps in milliseconds, with the contenders interleaved."""
    for training in trainings.values():
        training.step(*batch)  # The first step traces the graph.
    times: dict[str, list[float]] = {name: [] for name in trainings}
    for _ in tqdm(range(rounds), desc="Timing", unit="round"):
        for name, training in trainings.items():
            start = time.process_time()
            training.step(*batch)
            times[name].append(1000 * (time.process_time() - start))
    return times


class Results:
    """The results in a file, written after each run; a file with another protocol is discarded."""

    def __init__(self, path: Path, protocol: Protocol) -> None:
        self.path = path
        kept = common.read_json(path) if path.exists() else {}
        settings = {**protocol._asdict(), "widths": list(protocol.widths), "canvas": CANVAS}
        if kept.get("protocol") != settings:
            kept = {"protocol": settings, "runs": [], "steps": []}
        self.data: dict[str, Any] = kept

    def runs(self, name: str) -> list[dict[str, Any]]:
        return [run for run in self.data["runs"] if run["downsampler"] == name]

    def has(self, name: str, seed: int) -> bool:
        return any(run["seed"] == seed for run in self.runs(name))

    def add(self, name: str, seed: int, run: dict[str, Any]) -> None:
        self.data["runs"].append({"downsampler": name, "seed": seed, **run})
        self._write()

    def time(self, times: dict[str, list[float]]) -> None:
        others = [step for step in self.data["steps"] if step["downsampler"] not in times]
        new = [{"downsampler": name, "milliseconds": np.round(times[name], 2).tolist()} for name in times]
        self.data["steps"] = others + new
        self._write()

    def _write(self) -> None:
        common.write_json(self.path, {**self.data, "environment": common.environment()})

    def table(self) -> str:
        """Return a row for each measured contender, with mean and standard deviation over the seeds."""
        header = ["downsampler", *(f"{share}, %" for share in SHARES), "parameters", "ms per step"]
        times = {step["downsampler"]: f"{statistics.median(step['milliseconds']):.0f}" for step in self.data["steps"]}
        rows = []
        for name in CONTENDERS:
            runs = self.runs(name)
            if runs:
                cells = [common.mean_and_spread([run[share] for run in runs], 1) for share in SHARES]
                layer, *options = name.split(",")
                title = ",".join([f"`{layer}`", *options])
                rows.append([title, *cells, runs[0]["parameters"], times.get(name, "")])
        return common.table(header, rows)


if __name__ == "__main__":
    main()
