"""Train on two workers of this machine, lose one of them, start again, and end where one alone ends.

    python examples/distributed.py [--quick] [--output FOLDER]

Patches of four photographs, 32 pixels a side, are told apart by a network with a learnable pyramid in it. Two workers
train together, each on its half of every batch, and keep checkpoints; in the second epoch one of them is killed.
TensorFlow notices within half a minute, the other ends with a message, and both are started again. Another process
trains alone and without a break, and the largest difference between its weights and theirs is printed.

On machines of your own, start this file with `--train FOLDER` on each, with its TF_CONFIG, and one FOLDER that all see.
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

import running

with running.imports("distributed"):
    import numpy as np
    import tensorflow as tf
    from skimage import data as photographs

    from tfpyramid import layers, training
    from tfpyramid._compat import keras

SIDE, BATCH, EPOCHS, SAVE_EVERY = 32, 64, 3, 2


def patches(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return patches of photographs, and which photograph each is of."""
    rng = np.random.default_rng(0)
    images = [photographs.astronaut(), photographs.coffee(), photographs.rocket(), photographs.hubble_deep_field()]
    labels = rng.integers(0, len(images), count)
    corners = [rng.integers(0, np.array(images[k].shape[:2]) - SIDE) for k in labels]
    found = [images[k][y : y + SIDE, x : x + SIDE] for k, (y, x) in zip(labels, corners)]
    return np.float32(found) / 255, labels


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input((SIDE, SIDE, 3))
    levels = layers.LearnablePyramid(3)(image)
    features = layers.UpsampleConcat()(layers.PyramidConv2D(8, activation="gelu")(levels))
    logits = keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(features))
    model = keras.Model(image, logits)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Two workers sum in another order than one, and what is compared at the end should be that rounding alone: it grows
    # at the bend of a ReLU, and where Adam divides by gradients that are nearly zero.
    slow, fast = (keras.optimizers.SGD(rate, momentum=0.9, global_clipnorm=1.0) for rate in (0.001, 0.01))
    model.compile(training.discriminative_optimizer(model, pyramid=slow, task=fast), loss)
    return model


def train(folder: Path, count: int) -> None:
    """Train on this worker, of those that TF_CONFIG names; the first writes its weights."""
    images, labels = patches(count)

    def batches(epoch: int) -> tf.data.Dataset:
        order = np.random.default_rng(epoch).permutation(count)
        return tf.data.Dataset.from_tensor_slices((images[order], labels[order])).batch(BATCH)

    strategy = training.multi_worker_strategy(timeout=600)
    with strategy.scope():
        model = network()
    ended = training.fit_distributed(model, batches, EPOCHS, checkpoint_folder=folder, save_every=SAVE_EVERY)
    print("loss of the epochs that were ended:", ", ".join(f"{loss:.4f}" for loss in ended["loss"]))
    np.savez(folder / f"weights_{os.getpid()}.npz", *model.get_weights())


def start(folder: Path, count: int, addresses: list[str]) -> list[subprocess.Popen]:
    """Start a worker at each address; none is one worker that knows of no others."""
    workers = []
    for index in range(max(len(addresses), 1)):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(config) if addresses else ""}
        command = [sys.executable, __file__, "--train", str(folder), "--count", str(count)]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        workers.append(subprocess.Popen(command, env=environment, **streams))
    return workers


def ended(worker: subprocess.Popen) -> tuple[str, str]:
    """Wait for a worker; return its output, and the last line of what went wrong."""
    output, errors = worker.communicate()
    return output.strip(), (errors.strip().splitlines() or [""])[-1]


def free_addresses(count: int) -> list[str]:
    """Return addresses of this machine that nobody listens at."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return addresses


def weights(folder: Path) -> list[list[np.ndarray]]:
    """Return the weights that each worker ended with."""
    archives = [np.load(path, allow_pickle=False) for path in sorted(folder.glob("weights_*.npz"))]
    return [[archive[name] for name in archive.files] for archive in archives]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer patches")
    parser.add_argument("--output", type=Path, default=Path("distributed_output"), help="folder of the checkpoints")
    parser.add_argument("--train", type=Path, metavar="FOLDER", help="be a worker, with checkpoints in FOLDER")
    parser.add_argument("--count", type=int, default=4000, help="patches that a worker trains on")
    options = parser.parse_args()
    if options.train:
        train(options.train, options.count)
        return
    count = 700 if options.quick else options.count
    together, alone = options.output / "together", options.output / "alone"
    shutil.rmtree(options.output, ignore_errors=True)
    together.mkdir(parents=True)
    alone.mkdir()

    print("Two workers begin.", flush=True)
    first, second = start(together, count, free_addresses(2))
    saves_in_an_epoch = -(-count // BATCH) // SAVE_EVERY + 1
    while first.poll() is None and not (together / f"ckpt-{saves_in_an_epoch + 2}.index").exists():
        time.sleep(0.01)
    second.kill()
    second.communicate()
    print("The second is killed, in the second epoch. The first ends with:", flush=True)
    print("   ", ended(first)[1], flush=True)

    print("Both are started again.", flush=True)
    for worker in start(together, count, free_addresses(2)):
        output, error = ended(worker)
        if worker.returncode != 0:
            sys.exit(f"distributed: a worker failed: {error}")
        print("   ", output, flush=True)
    print("One alone trains without a break.", flush=True)
    (single,) = start(alone, count, [])
    output, error = ended(single)
    if single.returncode != 0:
        sys.exit(f"distributed: the worker failed: {error}")
    print("   ", output, flush=True)
    (expected,) = weights(alone)
    difference = max(np.abs(a - b).max() for each in weights(together) for a, b in zip(each, expected))
    print(f"Largest difference between their weights and those of one alone: {difference:.1e}")


if __name__ == "__main__":
    running.run("distributed", main)
