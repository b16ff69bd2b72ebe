"""What does `models.antialias` change in networks of keras.applications, and in a trained classifier?

    python benchmarks/bench_antialias.py [--data FOLDER] [--output FOLDER] [--only NAME ...] [--quick]

The first table has a row for each family of `keras.applications`, with random weights and unknown sides (known sides
for NASNet): how many layers are replaced, how many weights the copy has from the network, whether all outputs have the
shapes of the network on images of several sizes, and whether they are finite. It also compares a copy with
`kernel_size=1`, which only decimates, with the network: without average pools with strides, the two must be equal but
for rounding.

The second table is by the protocol of bench_downsampling.py: a small classifier of garments that downsamples by max
pooling, or by strided convolutions, is trained as it is and after `antialias`, from the same initial weights on the
same batches.

Results are written after every row, and an interrupted run resumes. `--quick` trains on a few images, and checks two
small families; it does not need the data set.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bench_downsampling
import common
import garments
import numpy as np
import tensorflow as tf
from classifier import Training, parse_options
from families import FAMILIES, KNOWN_SIDES
from tqdm import tqdm

from tfpyramid import layers, metrics, models
from tfpyramid._compat import nested_layers

keras = tf.keras
QUICK_FAMILIES = ["MobileNet", "MobileNetV3Small"]
SIZES = [(224, 224), (100, 100), (97, 131)]
FORMS = {
    "max pooling": ("MaxPooling2D", False),
    "max pooling, `antialias`": ("MaxPooling2D", True),
    "strided convolutions": ("Conv2D, strides 2", False),
    "strided convolutions, `antialias`": ("Conv2D, strides 2", True),
}


def main() -> None:
    options = parse_options(__doc__, [*FAMILIES, *FORMS])
    protocol = bench_downsampling.QUICK if options.quick else bench_downsampling.FULL
    names = options.only or [*(QUICK_FAMILIES if options.quick else FAMILIES), *FORMS]
    results = Results(options.output / "results/antialias.json", protocol)
    for name in tqdm([name for name in FAMILIES if name in names], desc="Families", unit="network"):
        if name not in results.data["families"]:
            results.add_family(name, family(name, SIZES[1:] if options.quick else SIZES))

    todo = [(name, seed) for seed in range(protocol.seeds) for name in names if name in FORMS]
    todo = [run for run in todo if not results.runs(*run)]
    if todo:
        (images, labels), test = garments.part(options.data, protocol.train, protocol.test, options.quick)
        split = garments.centred(images, bench_downsampling.CANVAS), labels
        for name, seed in tqdm(todo, desc="Training", unit="network"):
            training = prepared(name, seed, protocol)
            seconds = bench_downsampling.train(training, split, seed, protocol)
            shares = {**bench_downsampling.worth(training, test), "consistent": consistency(training.model, test[0])}
            results.add_run(name, seed, {**shares, "seconds": round(seconds, 1)})

    for name, table in (("antialias", results.families()), ("antialias_training", results.trainings())):
        common.prepare(options.output, name)
        common.update_table(options.output / "README.md", name, table)
        print(table, end="\n\n")


def family(name: str, sizes: list[tuple[int, int]]) -> dict[str, Any]:
    """Return what `antialias` does to a network of `keras.applications`."""
    row: dict[str, Any] = {"shapes": True, "finite": True, "difference": 0.0}
    copies = None
    for size in sizes:
        if copies is None or name in KNOWN_SIDES:
            copies = Copies(name, size if name in KNOWN_SIDES else (None, None))
            row = {**row, **copies.counts()}
        images = tf.random.stateless_uniform([1, *size, 3], [0, 0]) * 255
        expected, found, decimated = (model(images).numpy() for model in copies.models)
        row["shapes"] &= found.shape == expected.shape
        row["finite"] &= bool(np.isfinite(found).all())
        row["difference"] = max(row["difference"], float(np.abs(decimated - expected).max() / np.abs(expected).max()))
    return {**row, "difference": None} if copies.averages else row


class Copies:
    """A network of `keras.applications`, its anti-aliased copy, and one that only decimates."""

    def __init__(self, name: str, size: tuple[int | None, int | None]) -> None:
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        self.network = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(*size, 3))
        self.copy = models.antialias(self.network)
        self.models = self.network, self.copy, models.antialias(self.network, kernel_size=1)
        pools = [part for part in nested_layers(self.network) if isinstance(part, keras.layers.AveragePooling2D)]
        self.averages = any(max(layer.strides) > 1 for layer in pools)

    def counts(self) -> dict[str, Any]:
        names = {part.name for part in nested_layers(self.network)}
        blurs = [part.name in names for part in nested_layers(self.copy) if isinstance(part, layers.BlurPool2D)]
        return {
            "convolutions": blurs.count(False),
            "pools": blurs.count(True),
            "weights": len(self.network.get_weights()),
            "copied": copied(self.network, self.copy),
            "parameters": self.network.count_params(),
        }


def copied(network: keras.Model, copy: keras.Model) -> int:
    """Return how many weights of the network are in the layers of the copy with the same name, with the same values."""
    pairs = [(layer.get_weights(), copy.get_layer(layer.name).get_weights()) for layer in network.layers]
    return sum(np.array_equal(old, new) for olds, news in pairs for old, new in zip(olds, news))


def prepared(name: str, seed: int, protocol: bench_downsampling.Protocol) -> Training:
    """Return the training of a network, whose copy has the same initial weights."""
    contender, is_copy = FORMS[name]
    keras.utils.set_random_seed(seed)
    network = bench_downsampling.network(bench_downsampling.CONTENDERS[contender], protocol.widths)
    steps = protocol.epochs * (protocol.train // protocol.batch)
    return Training(models.antialias(network) if is_copy else network, protocol.rate, steps)


def consistency(model: keras.Model, images: np.ndarray) -> float:
    metric = metrics.ShiftConsistency()
    pair = (garments.shifted(images, bench_downsampling.CANVAS, shift) for shift in bench_downsampling.SHIFTS)
    for first, second in zip(*(tf.data.Dataset.from_tensor_slices(each).batch(500) for each in pair)):
        metric.update_state(model(first, training=False), model(second, training=False))
    return round(100 * float(metric.result()), 3)


class Results:
    """The results in a file, written after each row; trainings by another protocol are discarded."""

    def __init__(self, path: Path, protocol: bench_downsampling.Protocol) -> None:
        self.path = path
        self.data: dict[str, Any] = common.read_json(path) if path.exists() else {"families": {}}
        settings = {**protocol._asdict(), "widths": list(protocol.widths), "canvas": bench_downsampling.CANVAS}
        if self.data.get("protocol") != settings:
            self.data = {**self.data, "protocol": settings, "runs": []}

    def runs(self, name: str, seed: int | None = None) -> list[dict[str, Any]]:
        return [run for run in self.data["runs"] if run["network"] == name and seed in (None, run["seed"])]

    def add_family(self, name: str, row: dict[str, Any]) -> None:
        self.data["families"][name] = row
        self._write()

    def add_run(self, name: str, seed: int, run: dict[str, Any]) -> None:
        self.data["runs"].append({"network": name, "seed": seed, **run})
        self._write()

    def _write(self) -> None:
        common.write_json(self.path, {**self.data, "environment": common.environment()})

    def families(self) -> str:
        header = ["family", "convolutions", "pools", "weights copied", "shapes equal", "finite", "`kernel_size=1`"]
        rows = []
        for name in (name for name in FAMILIES if name in self.data["families"]):
            row = self.data["families"][name]
            weights = f"{row['copied']} of {row['weights']}"
            flags = ["yes" if row[key] else "no" for key in ("shapes", "finite")]
            difference = "average pools" if row["difference"] is None else f"{row['difference']:.1e}"
            rows.append([f"`{name}`", row["convolutions"], row["pools"], weights, *flags, difference])
        return common.table(header, rows)

    def trainings(self) -> str:
        rows = []
        for name in FORMS:
            runs = self.runs(name)
            if runs:
                keys = (*bench_downsampling.SHARES, "seconds")
                rows.append([name, *(common.mean_and_spread([run[key] for run in runs], 1) for key in keys)])
        header = ["network", *(f"{share}, %" for share in bench_downsampling.SHARES), "seconds of training"]
        return common.table(header, rows)


if __name__ == "__main__":
    main()
