"""Train on two workers, kill one of them, resume, and compare the weights with those of a single worker.

1. Two worker processes of this machine train a network with a learnable pyramid, each on half of every batch. The
   network classifies patches of 32 by 32 pixels by the photograph that they come from. The workers write checkpoints.
2. In the second epoch, one worker is killed. TensorFlow notices within half a minute, and the other worker ends with an
   error message.
3. Both workers are started again and resume from the last checkpoint.
4. A single worker trains without interruption. The example prints the largest difference between its weights and the
   weights of the two workers, and draws `distributed.png`.

On several machines, start this file on each with `--train FOLDER` and the TF_CONFIG of that machine. All machines must
share FOLDER.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import running

with running.imports("distributed"):
    import numpy as np
    import tensorflow as tf
    from distributed_figure import draw
    from skimage import data as photographs
    from tqdm import tqdm

    from tfpyramid import layers, training
    from tfpyramid._compat import keras

SIDE, BATCH, EPOCHS, SAVE_EVERY = 32, 64, 3, 2
RESULT = "loss of the finished epochs: "


class Run(NamedTuple):
    """A run of one or two workers: times in seconds since the example began, and the last line of each output."""

    name: str
    start: float
    ends: list[float]
    checkpoints: list[tuple[float, int]]
    killed: float | None
    outputs: list[str]


def patches(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return patches of photographs, and the index of the photograph of each patch."""
    rng = np.random.default_rng(seed)
    images = [photographs.astronaut(), photographs.coffee(), photographs.rocket(), photographs.hubble_deep_field()]
    labels = rng.integers(0, len(images), count)
    corners = [rng.integers(0, np.array(images[k].shape[:2]) - SIDE) for k in labels]
    found = [images[k][y : y + SIDE, x : x + SIDE] for k, (y, x) in zip(labels, corners)]
    return np.float32(found) / 255, labels


def network(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    image = keras.Input((SIDE, SIDE, 3))
    levels = layers.LearnablePyramid(3)(image)
    features = layers.UpsampleConcat()(layers.PyramidConv2D(8, activation="gelu")(levels))
    logits = keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(features))
    model = keras.Model(image, logits)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Two workers add numbers in another order than one worker, which changes the rounding. GELU and SGD keep this
    # difference small; ReLU amplifies it at 0, and Adam where it divides by nearly zero gradients.
    slow, fast = (keras.optimizers.SGD(rate, momentum=0.9, global_clipnorm=1.0) for rate in (0.001, 0.01))
    model.compile(training.discriminative_optimizer(model, pyramid=slow, task=fast), loss)
    return model


def train(folder: Path, count: int, seed: int) -> None:
    """Train as the worker that TF_CONFIG describes, and write the weights to the folder."""
    images, labels = patches(count, seed)

    def batches(epoch: int) -> tf.data.Dataset:
        order = np.random.default_rng([seed, epoch]).permutation(count)
        return tf.data.Dataset.from_tensor_slices((images[order], labels[order])).batch(BATCH)

    strategy = training.multi_worker_strategy(timeout=600)
    with strategy.scope():
        model = network(seed)
    history = training.fit_distributed(model, batches, EPOCHS, checkpoint_folder=folder, save_every=SAVE_EVERY)
    print(RESULT + ", ".join(f"{loss:.4f}" for loss in history["loss"]))
    np.savez(folder / f"weights_{os.getpid()}.npz", *model.get_weights())


class Example:
    """Starts workers, watches their checkpoints, and records when they started and ended."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.count = 700 if options.quick else options.count
        self.seed, self.began = options.seed, time.monotonic()
        self.saves_per_epoch = -(-self.count // BATCH) // SAVE_EVERY + 1

    def run(self, name: str, folder: Path, addresses: list[str], kill_at: int = 0) -> Run:
        """Run workers to their end; kill the last of them at checkpoint `kill_at`, if that is not 0."""
        workers = [self._start(folder, addresses, index) for index in range(max(len(addresses), 1))]
        started, killed = self._now(), None
        ends: dict[int, float] = {}
        checkpoints: list[tuple[float, int]] = []
        last = newest(folder)
        total = EPOCHS * self.saves_per_epoch
        with tqdm(total=total, initial=last, desc=name, unit=" checkpoints", leave=False, file=sys.stdout) as bar:
            while len(ends) < len(workers):
                time.sleep(0.02)
                if newest(folder) > last:
                    last = newest(folder)
                    checkpoints.append((self._now(), last))
                    bar.update(last - bar.n)
                if kill_at and last >= kill_at and killed is None:
                    workers[-1].kill()
                    killed = self._now()
                    bar.set_description_str(f"{name}, until the other worker notices")
                for index, worker in enumerate(workers):
                    if worker.poll() is not None:
                        ends.setdefault(index, self._now())
        outputs = [last_line(worker) for worker in workers]
        if not kill_at and any(worker.returncode for worker in workers):
            sys.exit(f"distributed: a worker failed: {outputs}")
        return Run(name, started, [ends[index] for index in sorted(ends)], checkpoints, killed, outputs)

    def _start(self, folder: Path, addresses: list[str], index: int) -> subprocess.Popen:
        """Start the worker at an address; without addresses, start a single worker."""
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(config) if addresses else ""}
        options = {"--train": folder, "--count": self.count, "--seed": self.seed}
        command = [sys.executable, __file__, *(str(part) for option in options.items() for part in option)]
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=environment, **streams)

    def _now(self) -> float:
        return time.monotonic() - self.began


def newest(folder: Path) -> int:
    """Return the number of the newest checkpoint in a folder, 0 if there is none."""
    return max((int(path.stem.split("-")[1]) for path in folder.glob("ckpt-*.index")), default=0)


def last_line(worker: subprocess.Popen) -> str:
    """Return the last line that a worker wrote: its losses, or its error message."""
    output, errors = worker.communicate()
    text = errors if worker.returncode else output
    return (text.strip().splitlines() or [""])[-1]


def free_addresses(count: int) -> list[str]:
    """Return addresses of this machine with free ports."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return addresses


def weights(folder: Path) -> list[list[np.ndarray]]:
    """Return the weights of each worker after training."""
    archives = [np.load(path, allow_pickle=False) for path in sorted(folder.glob("weights_*.npz"))]
    return [[archive[name] for name in archive.files] for archive in archives]


def parse_options() -> argparse.Namespace:
    parser = running.parser(__doc__, output="distributed_output", quick="train on fewer patches")
    parser.add_argument("--count", type=int, default=4000, help="number of patches (default: %(default)s)")
    parser.add_argument("--train", type=Path, metavar="FOLDER", help="run one worker, with checkpoints in FOLDER")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    if options.train:
        train(options.train, options.count, options.seed)
        return
    together, alone = options.output / "together", options.output / "alone"
    shutil.rmtree(options.output, ignore_errors=True)
    together.mkdir(parents=True)
    alone.mkdir()
    example = Example(options)

    print("Two workers train. The second is killed in the second epoch.", flush=True)
    runs = [example.run("two workers", together, free_addresses(2), kill_at=example.saves_per_epoch + 2)]
    print(f"The first worker ended with:\n    {runs[0].outputs[0]}", flush=True)
    print("Both workers are started again.", flush=True)
    runs.append(example.run("two workers, resumed", together, free_addresses(2)))
    print("\n".join(f"    {line}" for line in runs[1].outputs), flush=True)
    print("A single worker trains without interruption.", flush=True)
    runs.append(example.run("single worker", alone, []))
    print(f"    {runs[2].outputs[0]}", flush=True)

    (expected,) = weights(alone)
    difference = max(np.abs(a - b).max() for each in weights(together) for a, b in zip(each, expected))
    losses = {run.name: list(map(float, run.outputs[0].removeprefix(RESULT).split(", "))) for run in runs[1:]}
    with running.written_aside(options.output / "distributed.png") as path:
        draw([run._asdict() for run in runs], losses, EPOCHS, float(difference)).savefig(path, format="png")
    print(f"Written to {options.output}: distributed.png")
    print(f"Largest difference between the weights of two workers and of a single worker: {difference:.1e}")


if __name__ == "__main__":
    running.run("distributed", main)
