"""Fovea: find a small object in a large scene, and read only the pixels around it.

Scenes are photographs of 512 by 512 pixels. On each are eight garments of Fashion-MNIST of 20 to 40 pixels, in colored
frames. The question is which garment is in the green frame. Three kinds of networks answer it:

- the full network reads every pixel;
- the coarse networks read an image of 85 by 85 or of 102 by 102 pixels: some fewer and some more than the fovea reads
  with one fixation;
- the fovea searches a view of 64 by 64 pixels. `layers.FixationSampler` returns the most promising places of it,
  `layers.FoveatedPyramid` reads crops of 72 by 72 pixels there, and `layers.SoftmaxMixture` weighs the answers.

No network is told where the frame is; all learn from the answers alone. Training goes from small scenes to large ones:
in scenes of 64 pixels with one garment the networks learn to tell garments, in scenes of 128, 256 and 512 pixels to
find the green frame among others.

The example prints the accuracy of each network, the pixels it reads, how often a fixation is on the frame, and the
time of 100 scenes. It prints how the time grows with the side of the scene. It exports the fovea and asks the export
about scenes of two sizes. It draws `fovea.png`; `metrics.json` has the numbers.

The settings were chosen with `--split validation`, on 10,000 training images that are not used for training, and on
other parts of the photographs; the results are those of the test images. Keras downloads the data set (30 MB), unless
`--data` names a folder with its four idx .gz files, for example that of Debian's package dataset-fashion-mnist.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import running

START = time.perf_counter()

with running.imports("fovea"):
    import fashion_mnist
    import numpy as np
    import tensorflow as tf
    from fashion_mnist import GARMENTS
    from fovea_data import SMALLEST, Scenes, as_floats
    from fovea_figure import draw
    from fovea_measure import flat_cost, print_summary, summary, tested, times
    from fovea_models import CROP, TRAINING_CROP, VIEW, Fovea, convolutions, copied, every_place, head, one_garment
    from tqdm import tqdm

    from tfpyramid import training
    from tfpyramid.export import export_saved_model

keras = tf.keras  # Keras 3; Keras 2 with TensorFlow 2.15 or TF_USE_LEGACY_KERAS=1.
SIDE = 512
# By how much the coarse networks make a scene smaller, and the strides of their convolutions.
COARSE = {6: (1, 1, 2, 1), 5: (1, 2, 1, 1)}
NUM_FIXATIONS = (1, 2, 3)
STEPS_SHOWN = 10  # Steps between two updates of the progress bar.
# Stages of training: side of the scenes, steps, scenes in a step.
SETTINGS: dict[str, Any] = {
    "one garment": [(SMALLEST, 4000, 64)],
    "fovea": [(128, 200, 32), (256, 300, 16), (SIDE, 300, 16)],
    "full": [(128, 300, 32), (256, 200, 16), (SIDE, 200, 8)],
    "coarse": [(128, 300, 32), (256, 300, 16), (SIDE, 300, 16)],
    "tested": 2000,
    "timed": 100,
    "sides": (512, 1024, 2048),
}
RATES = {"one garment": 2e-3, "fovea": 1e-3, "full": 1e-3, "coarse": 1e-3}
SEARCH_RATE = 5e-3  # Of the fovea's predictor.


def main() -> None:
    options = parse_options()
    settings = small(SETTINGS) if options.quick else SETTINGS
    garments, held_out = fashion_mnist.splits("fovea", options)
    scenes, held_out = Scenes(garments, "training"), Scenes(held_out, options.split)
    options.output.mkdir(parents=True, exist_ok=True)
    side = settings["fovea"][-1][0]
    runs = []
    for seed in range(options.seed, options.seed + options.seeds):
        networks, fovea, seconds = trained(seed, settings, scenes)
        accuracy, found = tested(networks, fovea.places(NUM_FIXATIONS[-1]), held_out, settings["tested"], side, CROP)
        images = as_floats(held_out.several(settings["timed"], side, seed=0)[0])
        runs.append({"seed": seed, "seconds": seconds, "accuracy": accuracy, "found": found})
        runs[-1]["milliseconds"] = times({name: (network, images) for name, network in networks.items()})
        print(f"seed {seed}: " + ", ".join(f"{name} {each} %" for name, each in accuracy.items()))
    numbers: dict[str, Any] = {"quick": options.quick, "split": options.split, "settings": settings, "runs": runs}
    numbers["pixels"] = {name: round(pixels(name, side), 4) for name in networks}
    numbers["summary"] = summary(runs)
    numbers["milliseconds by side"] = flat_cost(fovea, networks, held_out, settings["sides"])
    print_summary(numbers)
    serve(networks["fovea, 2 fixations"], options.output / "saved_model", held_out, side)
    with running.written_aside(options.output / "fovea.png") as path:
        draw(fovea, held_out, numbers, side).savefig(path)
    numbers["seconds"] = round(time.perf_counter() - START, 1)
    with running.written_aside(options.output / "metrics.json") as path:
        path.write_text(json.dumps(numbers, indent=2) + "\n")
    print(f"\nWritten to {options.output}: fovea.png, metrics.json, saved_model/")
    print(f"{numbers['seconds']:.0f} seconds")


def parse_options() -> argparse.Namespace:
    quick = "run every step on a few small scenes, which is too little to learn anything"
    parser = running.parser(__doc__, output="fovea_output", quick=quick)
    help = "number of networks of each kind to train, with the seeds from --seed on (default: %(default)s)"
    parser.add_argument("--seeds", type=int, default=1, help=help)
    fashion_mnist.add_options(parser)
    return parser.parse_args()


def small(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings that run every step quickly."""
    stages = {name: [(64, 2, 2), (128, 2, 2)] for name in RATES}
    return {**settings, **stages, "tested": 4, "timed": 2, "sides": (128, 256)}


def trained(
    seed: int, settings: dict[str, Any], scenes: Scenes
) -> tuple[dict[str, keras.Model], Fovea, dict[str, float]]:
    """Return the trained networks by name, the fovea, and the seconds that each training took."""
    keras.utils.set_random_seed(seed)
    seconds = {}

    def fit(name: str, network: keras.Model, kind: str, searching: Sequence[keras.Model] = ()) -> None:
        started = time.perf_counter()
        fit_stages(network, scenes, settings[kind], RATES[kind], seed, f"seed {seed}, {name}", searching)
        seconds[name] = round(time.perf_counter() - started, 1)

    trunk, classify = convolutions(), head()
    fit("one garment", one_garment(trunk, classify), "one garment")
    # The full network and the fovea continue from equal weights.
    full = every_place(copied(trunk), copied(classify))
    fit("full", full, "full")
    fovea = Fovea(trunk, classify, seed)
    fit("fovea", fovea.model(2, TRAINING_CROP), "fovea", [fovea.predictor])
    networks = {"full": full}
    for pooling, strides in COARSE.items():
        trunk, classify = convolutions(strides), head()
        fit(f"coarse, 1/{pooling}, one garment", one_garment(trunk, classify, pooling), "one garment")
        networks[f"coarse, 1/{pooling}"] = every_place(trunk, classify, pooling)
        fit(f"coarse, 1/{pooling}", networks[f"coarse, 1/{pooling}"], "coarse")
    networks |= {f"fovea, {n} fixation{'s' * (n > 1)}": fovea.model(n) for n in NUM_FIXATIONS}
    return networks, fovea, seconds


def fit_stages(
    network: keras.Model,
    scenes: Scenes,
    stages: list[tuple[int, int, int]],
    rate: float,
    seed: int,
    title: str,
    searching: Sequence[keras.Model],
) -> None:
    """Train a network on scenes that become larger; its parts `searching` learn at SEARCH_RATE."""
    rng = np.random.default_rng(seed)
    layout = "{desc} {percentage:3.0f}% |{bar:30}| {elapsed}{postfix}"
    with tqdm(total=sum(n for _, n, _ in stages), desc=title, leave=False, bar_format=layout) as bar:

        def show(batch: int, logs: dict[str, float]) -> None:
            bar.set_postfix_str(f"scenes of {side} pixels, accuracy {logs['accuracy']:.3f}", refresh=False)
            bar.update(min(STEPS_SHOWN, bar.total - bar.n))

        for side, steps, count in stages:
            optimizer = adam(rate, steps)
            if searching:
                optimizer = training.discriminative_optimizer(
                    network, pyramid_layers=searching, pyramid=adam(SEARCH_RATE, steps), task=optimizer
                )
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            network.compile(optimizer, loss, metrics=["accuracy"], steps_per_execution=min(STEPS_SHOWN, steps))
            progress = keras.callbacks.LambdaCallback(on_train_batch_end=show)
            batches = scenes.batches(count, side, rng)
            network.fit(batches, steps_per_epoch=steps, epochs=1, shuffle=False, verbose=0, callbacks=[progress])


def adam(rate: float, steps: int) -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps), clipnorm=1.0)


def pixels(name: str, side: int) -> float:
    """Return the pixels that a network reads, relative to those of the scene."""
    kind, _, detail = name.partition(", ")
    if kind == "coarse":
        return (side // int(detail[2:])) ** 2 / side**2
    if kind == "fovea":
        return ((side // VIEW) ** 2 + int(detail[0]) * CROP**2) / side**2
    return 1.0


def serve(network: keras.Model, path: Path, scenes: Scenes, side: int) -> None:
    """Export a network, and ask the export about scenes of two sizes."""
    export_saved_model(network, path, sample=as_floats(scenes.several(1, side, seed=0)[0]), overwrite=True)
    served = tf.saved_model.load(str(path))
    print("\nThe exported fovea:")
    for each in (side, side * 3 // 2):
        images, labels, _ = scenes.several(4, each, seed=1)
        images = as_floats(images)
        answers = tf.nest.flatten(served.serve(images))[0].numpy()
        away = np.abs(answers - network.predict(images, verbose=0)).max()
        given = ", ".join(
            f"{GARMENTS[answer]} ({GARMENTS[label]})" for answer, label in zip(answers.argmax(axis=1), labels)
        )
        print(f"  {each} pixels: {given}; at most {away:.1g} from the model")


if __name__ == "__main__":
    running.run("fovea", main)
