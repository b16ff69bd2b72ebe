"""Scale robustness: train a network on garments of one size, and classify them at half and at twice that size.

Garments of Fashion-MNIST are resized to 14 to 56 pixels and placed at random on a black canvas of 64 pixels. A small
network is trained only on sizes of 24 to 32 pixels. Half of its training images are blurred, because upsampled levels
are blurred, too. Then it classifies all sizes in two ways, with the same weights:

- alone, on the original images;
- in `tfpyramid.models.pyramid_classifier`, on a pyramid from an octave finer to an octave coarser than the images. The
  logits are fused by log-sum-exp and, for comparison, by their maximum and by their mean.

Three seeds change the weights, the order, the positions and the sizes. The example prints the accuracy for bands of
sizes, with its mean and standard deviation over the seeds, and draws `scale_robustness.png`. `metrics.json` has the
accuracy at every size.

The settings were chosen with `--split validation`, on 10,000 training images that are not used for training; the
results are those of the test images. Keras downloads the data set (30 MB), unless `--data` names a folder with its four
idx .gz files, for example that of Debian's package dataset-fashion-mnist. The example takes some minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import running

START = time.perf_counter()

with running.imports("scale_robustness"):
    import fashion_mnist
    import numpy as np
    import tensorflow as tf
    from fashion_mnist import GARMENTS, Split
    from scale_robustness_figure import draw
    from tqdm import tqdm

    from tfpyramid import models, ops

keras = tf.keras  # Keras 3; Keras 2 with TensorFlow 2.15 or TF_USE_LEGACY_KERAS=1.
CANVAS = 64
# A smaller canvas makes training faster. Global max pooling ignores the black pixels around a garment.
TRAINING_CANVAS = 40
TRAINING_WORK = 3 * (TRAINING_CANVAS / CANVAS) ** 2  # Work to train on an image, relative to classifying it.
SIZES = range(14, 57, 2)
TRAINED = (24, 32)
BANDS = {"14-20": range(14, 21, 2), "24-32": range(24, 33, 2), "36-44": range(36, 45, 2), "48-56": range(48, 57, 2)}
ALONE, PYRAMID = "network alone", "pyramid, logsumexp"
FUSIONS = ("max", "mean")  # For comparison with the fusion of the model.
SETTINGS = {"train": 30000, "epochs": 5, "batch": 64, "rate": 3e-3, "each_size": 1000, "seeds": 3}
QUICK = {"train": 64, "epochs": 1, "batch": 32, "rate": 3e-3, "each_size": 2, "seeds": 1}


def main() -> None:
    options = parse_options()
    settings = QUICK if options.quick else SETTINGS
    (garments, labels), held_out = fashion_mnist.splits("scale_robustness", options)
    train = garments[: settings["train"]], labels[: settings["train"]]
    options.output.mkdir(parents=True, exist_ok=True)
    runs = []
    # In units of classifying an image by the network alone; the pyramid costs 7.7 times as much.
    work = TRAINING_WORK * settings["train"] * settings["epochs"] + 7.7 * settings["each_size"] * len(SIZES)
    with tqdm(
        total=settings["seeds"] * work, leave=False, bar_format="{desc} {percentage:3.0f}% |{bar:30}| {elapsed}"
    ) as bar:
        for seed in range(options.seed, options.seed + settings["seeds"]):
            runs.append(run(seed, settings, train, held_out, bar))
    shown = runs[0].pop("shown")
    for other in runs[1:]:
        del other["shown"]
    bands = summary(runs)
    print_table(runs, bands)
    with running.written_aside(options.output / "scale_robustness.png") as path:
        draw(
            {name: [each["sizes"][name] for each in runs] for name in (ALONE, PYRAMID)}, bands, shown, TRAINED, CANVAS
        ).savefig(path)
    numbers = {"quick": options.quick, "split": options.split, "settings": settings, "bands": bands, "runs": runs}
    numbers["seconds"] = round(time.perf_counter() - START, 1)
    with running.written_aside(options.output / "metrics.json") as path:
        path.write_text(json.dumps(numbers, indent=2) + "\n")
    print(f"\nWritten to {options.output}: scale_robustness.png, metrics.json")
    print(f"{numbers['seconds']:.0f} seconds")


def parse_options() -> argparse.Namespace:
    quick = "run every step on a few images of noise, which takes seconds and learns nothing"
    parser = running.parser(__doc__, output="scale_robustness_output", quick=quick)
    fashion_mnist.add_options(parser)
    return parser.parse_args()


def run(seed: int, settings: dict[str, Any], train: Split, held_out: Split, bar: tqdm) -> dict[str, Any]:
    """Train a network; return its accuracy at each size, alone and with the pyramid."""
    bar.set_description_str(f"seed {seed}, training ")
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    model = models.pyramid_classifier(len(GARMENTS), input_shape=(CANVAS, CANVAS, 1))
    network = model.get_layer("network")
    started = time.perf_counter()
    fit(network, *train, settings, rng, bar)
    trained = time.perf_counter()
    bar.set_description_str(f"seed {seed}, measuring")
    # The logits of the model and of each level; level 2 is the original images.
    answers = keras.Model(model.input, [model.output, *model.get_layer("logits").input])
    sizes: dict[str, dict[int, float]] = {name: {} for name in (ALONE, PYRAMID, *FUSIONS)}
    shown = []
    for size in SIZES:
        chosen = rng.choice(len(held_out[0]), settings["each_size"], replace=False)
        images = on_canvas(held_out[0][chosen], np.full(len(chosen), size), CANVAS, rng)
        whole, *levels = answers.predict(images, batch_size=100, verbose=0)
        logits = {ALONE: levels[2], PYRAMID: whole}
        logits.update({fusion: ops.fuse_logits(levels, fusion).numpy() for fusion in FUSIONS})
        named = {name: each.argmax(axis=1) for name, each in logits.items()}
        for name, classes in named.items():
            sizes[name][size] = round(100 * float(np.mean(classes == held_out[1][chosen])), 2)
        first = {name: GARMENTS[named[name][0]] for name in (ALONE, PYRAMID)}
        shown.append({"size": size, "image": images[0, :, :, 0], "truth": GARMENTS[held_out[1][chosen[0]]], **first})
        bar.update(7.7 * len(chosen))
    return {
        "seed": seed,
        "parameters": {ALONE: network.count_params(), PYRAMID: model.count_params()},
        "seconds": {"training": round(trained - started, 1), "measuring": round(time.perf_counter() - trained, 1)},
        "sizes": sizes,
        "shown": shown,
    }


def fit(
    network: keras.Model, garments: np.ndarray, labels: np.ndarray, settings: dict[str, Any], rng: Any, bar: tqdm
) -> None:
    """Train the network alone on garments of TRAINED sizes, with a new size and position in each epoch."""
    epochs, batch_size = settings["epochs"], settings["batch"]
    steps = -(-len(garments) // batch_size)
    rate = keras.optimizers.schedules.CosineDecay(settings["rate"], epochs * steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(rate), loss)
    progress = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: bar.update(TRAINING_WORK * len(garments) / steps)
    )
    for _ in range(epochs):
        images = on_canvas(garments, rng.integers(TRAINED[0], TRAINED[1] + 1, len(garments)), TRAINING_CANVAS, rng)
        half = np.flatnonzero(rng.random(len(images)) < 0.5)
        for part in np.array_split(half, -(-len(half) // 500)):
            images[part] = blurred(images[part])
        network.fit(images, labels, batch_size=batch_size, verbose=0, callbacks=[progress])


def blurred(images: np.ndarray) -> np.ndarray:
    """Blur images as the upsampled levels of a pyramid are: downsample to the next level, and upsample again."""
    level = ops.pyr_down(images, scale_factor=2**0.5)
    return ops.resize_by(level, 2**0.5, images.shape[1:3]).numpy()


def on_canvas(garments: np.ndarray, sizes: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Resize garments [n, 28, 28], and place each at random on a black canvas; return [n, side, side, 1]."""
    canvas = np.zeros((len(garments), side, side, 1), np.float32)
    for size in np.unique(sizes):
        (chosen,) = np.nonzero(sizes == size)
        resized = tf.image.resize(garments[chosen, :, :, np.newaxis], (size, size), antialias=True).numpy()
        corners = rng.integers(0, side - size + 1, size=(len(chosen), 2))
        for index, image, (y, x) in zip(chosen, resized, corners):
            canvas[index, y : y + size, x : x + size] = image
    return canvas


def summary(runs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the mean accuracy of each band of sizes: for each seed, over all seeds, and the standard deviation."""
    result: dict[str, dict[str, Any]] = {}
    for name in runs[0]["sizes"]:
        result[name] = {}
        for band, sizes in BANDS.items():
            seeds = [round(statistics.mean(each["sizes"][name][size] for size in sizes), 2) for each in runs]
            mean, spread = statistics.mean(seeds), statistics.stdev(seeds) if len(seeds) > 1 else 0.0
            result[name][band] = {"seeds": seeds, "mean": round(mean, 2), "spread": round(spread, 2)}
    return result


def print_table(runs: list[dict[str, Any]], bands: dict[str, dict[str, Any]]) -> None:
    line = "{:<20}" + "{:>16}" * len(BANDS)
    print(line.format("accuracy, %", *(f"{band} px" for band in BANDS)))
    for name, each in bands.items():
        print(line.format(name, *(f"{band['mean']:.1f} ± {band['spread']:.1f}" for band in each.values())))
        for k, run in enumerate(runs):
            print(line.format(f"  seed {run['seed']}", *(f"{band['seeds'][k]:.1f}" for band in each.values())))
    parameters = runs[0]["parameters"]
    seconds = [sum(each["seconds"].values()) for each in runs]
    print(f"\nparameters: {parameters}; seconds per seed: {', '.join(f'{each:.0f}' for each in seconds)}")


if __name__ == "__main__":
    running.run("scale_robustness", main)
