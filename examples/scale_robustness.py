"""Scale robustness: train a network on garments of one size, and classify them at half and at twice that size.

Garments of Fashion-MNIST are resized to 14 to 56 pixels and placed at random on a black canvas of 64 pixels. A small
network is trained only on sizes of 24 to 32 pixels. Half of its training images are blurred as if they were upsampled
by one or two levels, because upsampled levels are blurred, too. Then it classifies all sizes in three ways, with the
same weights:

- alone, on the original images;
- in `tfpyramid.models.pyramid_classifier`, on a pyramid from an octave finer to an octave coarser than the images. The
  logits are fused by log-sum-exp and, for comparison, by their maximum and by their mean;
- with `early_exit=True`, on the same levels from coarse to fine, until a small confidence layer is sure of the fused
  logits. These layers are trained on images of the trained sizes, which the pyramid resizes by up to an octave. They
  are then calibrated on garments of all sizes. The network sees none of these garments.

Three seeds change the weights, the order, the positions and the sizes. The example prints for bands of sizes the
accuracy, with its mean and standard deviation over the seeds, and the pixels that the early exit reads. It also prints
how well the confidence is calibrated, and the time that each way takes. It draws `scale_robustness.png`. `metrics.json`
has the numbers of every size.

The settings were chosen with `--split validation`, on 10,000 training images that are not used for training; the
results are those of the test images. Keras downloads the data set (30 MB), unless `--data` names a folder with its four
idx .gz files, for example that of Debian's package dataset-fashion-mnist. A seed takes some minutes; `--seeds 1` trains
with one.
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
    from scale_robustness_data import CANVAS, TRAINED, blurred, on_canvas, resized_on_canvas
    from scale_robustness_figure import draw
    from tqdm import tqdm

    from tfpyramid import models, ops

keras = tf.keras  # Keras 3; Keras 2 with TensorFlow 2.15 or TF_USE_LEGACY_KERAS=1.
# A smaller canvas makes training faster. Global max pooling ignores the black pixels around a garment.
TRAINING_CANVAS = 36
TRAINING_WORK = 5 * (TRAINING_CANVAS / CANVAS) ** 2  # Work to train on an image, relative to classifying it.
PYRAMID_WORK = 7.75  # Work to classify an image on all levels, relative to the network alone.
SIZES = range(14, 57, 2)
BANDS = {"14-20": range(14, 21, 2), "24-32": range(24, 33, 2), "36-44": range(36, 45, 2), "48-56": range(48, 57, 2)}
ALONE, PYRAMID, EARLY = "network alone", "pyramid, logsumexp", "early exit"
SHOWN = (ALONE, PYRAMID, EARLY)
FUSIONS = ("max", "mean")  # For comparison with the fusion of the model.
SETTINGS = {
    "train": 34000,
    "epochs": 7,
    "batch": 64,
    "rate": 3e-3,
    "blurred": (0.5, 0.35, 0.15),  # Shares of the training images that are blurred by 0, 1, 2 levels.
    "confidence": 6000,  # Garments to train the confidence layers on.
    "confidence_epochs": 3,
    "confidence_batch": 32,
    "confidence_rate": 1e-2,
    "calibration": 10000,
    "thresholds": (0.61, 0.65, 0.93, 0.86),  # A sample stops at level 1, 2, 3, 4 if it is at least so sure.
    "each_size": 1000,
    "timed": 1000,
}
SMALL = {"train": 24, "epochs": 1, "batch": 8, "confidence": 16, "calibration": 10, "each_size": 2, "timed": 4}
QUICK = {**SETTINGS, **SMALL}
TIMINGS = 5


def main() -> None:
    options = parse_options()
    settings = QUICK if options.quick else SETTINGS
    (garments, labels), held_out = fashion_mnist.splits("scale_robustness", options)
    parts, first = [], 0
    for part in ("train", "confidence", "calibration"):
        parts.append((garments[first : first + settings[part]], labels[first : first + settings[part]]))
        first += settings[part]
    options.output.mkdir(parents=True, exist_ok=True)
    runs = []
    # In units of classifying an image by the network alone.
    work = TRAINING_WORK * settings["train"] * settings["epochs"]
    confidence = settings["confidence"] * settings["confidence_epochs"]
    work += PYRAMID_WORK * (confidence + settings["calibration"] + settings["each_size"] * len(SIZES))
    seeds = range(options.seed, options.seed + (1 if options.quick else options.seeds))
    bar_format = "{desc} {percentage:3.0f}% |{bar:30}| {elapsed}"
    with tqdm(total=len(seeds) * work, leave=False, bar_format=bar_format) as bar:
        for seed in seeds:
            runs.append(run(seed, settings, parts, held_out, bar))
    shown = runs[0].pop("shown")
    for other in runs[1:]:
        del other["shown"]
    bands = summary(runs)
    print_table(runs, bands, settings["timed"])
    with running.written_aside(options.output / "scale_robustness.png") as path:
        draw(
            {name: [each["sizes"][name] for each in runs] for name in SHOWN},
            [each["pixels"] for each in runs],
            bands,
            shown,
            TRAINED,
            CANVAS,
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
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from --seed on (default: %(default)s)")
    return parser.parse_args()


def run(seed: int, settings: dict[str, Any], parts: list[Split], held_out: Split, bar: tqdm) -> dict[str, Any]:
    """Train a network and its confidence layers; return the accuracy at each size, alone and with the pyramid."""
    bar.set_description_str(f"seed {seed}, training ")
    keras.utils.set_random_seed(seed)
    rng, other = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    train, confidence, calibration = parts
    model = models.pyramid_classifier(len(GARMENTS), input_shape=(CANVAS, CANVAS, 1))
    network = model.get_layer("network")
    seconds, started = {}, time.perf_counter()
    fit(network, *train, settings, rng, bar)
    parameters = {ALONE: network.count_params(), PYRAMID: model.count_params()}
    seconds["training"] = round(time.perf_counter() - started, 1)
    early = models.pyramid_classifier(network=network, early_exit=True)
    fit_confidence(early, *confidence, settings, other, bar)
    images = on_canvas(calibration[0], other.integers(SIZES[0], SIZES[-1] + 1, len(calibration[0])), CANVAS, other)
    models.calibrate_confidence(early, tf.data.Dataset.from_tensor_slices((images, calibration[1])).batch(100))
    early.cascade.threshold.assign(settings["thresholds"])
    bar.update(PYRAMID_WORK * len(images))
    seconds["confidence"] = round(time.perf_counter() - started - seconds["training"], 1)
    bar.set_description_str(f"seed {seed}, measuring")
    measured = measure(model, early, settings["each_size"], held_out, rng, bar)
    chosen = other.choice(len(held_out[0]), settings["timed"], replace=False)
    images = on_canvas(held_out[0][chosen], other.choice(SIZES, len(chosen)), CANVAS, other)
    milliseconds = times({ALONE: network, PYRAMID: model, EARLY: early}, images)
    seconds["measuring"] = round(time.perf_counter() - started - sum(seconds.values()), 1)
    parameters[EARLY] = early.count_params()
    return {"seed": seed, "parameters": parameters, "seconds": seconds, "milliseconds": milliseconds, **measured}


def measure(
    model: keras.Model, early: keras.Model, each_size: int, held_out: Split, rng: np.random.Generator, bar: tqdm
) -> dict[str, Any]:
    """Return the accuracy in percent and the pixels at each size, the calibration, and an image of each size."""
    # The logits of the model and of each level; level 2 is the original images.
    answers = keras.Model(model.input, [model.output, *model.get_layer("logits").input])
    sizes: dict[str, dict[int, float]] = {name: {} for name in (*SHOWN, *FUSIONS)}
    pixels, shown, sure, right, stops = {}, [], [], [], []
    for size in SIZES:
        chosen = rng.choice(len(held_out[0]), each_size, replace=False)
        images, classes = on_canvas(held_out[0][chosen], np.full(len(chosen), size), CANVAS, rng), held_out[1][chosen]
        whole, *levels = answers.predict(images, batch_size=100, verbose=0)
        exits = early.predict(images, batch_size=100, verbose=0)
        logits = {ALONE: levels[2], PYRAMID: whole, EARLY: exits["logits"]}
        logits.update({fusion: ops.fuse_logits(levels, fusion).numpy() for fusion in FUSIONS})
        named = {name: each.argmax(axis=1) for name, each in logits.items()}
        for name, found in named.items():
            sizes[name][size] = round(100 * float(np.mean(found == classes)), 2)
        visited = ops.cascade_costs(exits["level_weights"], early.level_costs).numpy()
        pixels[size] = round(float(np.mean(visited)), 3)
        # What the early exit would say of every level, if no sample stopped before.
        fused = levels[-1:]
        for level in levels[-2::-1]:
            fused.insert(0, early.cascade.merge([fused[0], level]))
        stops.append(exits["level_weights"].argmax(axis=1))
        sure.append(early.probabilities(early.cascade.confidence_logits(fused)).numpy())
        right.append(np.stack([np.argmax(each, axis=1) == classes for each in fused[1:]], axis=1))
        first = {name: GARMENTS[named[name][0]] for name in SHOWN}
        truth = GARMENTS[classes[0]]
        shown.append({"size": size, "image": images[0, :, :, 0], "truth": truth, "pixels": float(visited[0]), **first})
        bar.update(PYRAMID_WORK * len(chosen))
    sure, right, stops = (np.concatenate(each) for each in (sure, right, stops))
    early_ones, chosen = np.flatnonzero(stops > 0), stops[stops > 0] - 1
    errors = {f"level {k + 1}": calibration_error(sure[:, k], right[:, k]) for k in range(sure.shape[1])}
    errors["all levels"] = calibration_error(sure.ravel(), right.ravel())
    errors["where samples stop"] = calibration_error(sure[early_ones, chosen], right[early_ones, chosen])
    return {"sizes": sizes, "pixels": pixels, "calibration_errors": errors, "shown": shown}


def calibration_error(sure: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    """Return the expected calibration error of probabilities, in bins of equal width."""
    of_bin = np.minimum((sure * bins).astype(int), bins - 1)
    gaps = [abs(np.sum(sure[of_bin == k]) - np.sum(right[of_bin == k])) for k in range(bins)]
    return round(float(sum(gaps) / max(len(sure), 1)), 4)


def times(contenders: dict[str, keras.Model], images: np.ndarray) -> dict[str, float]:
    """Return the median milliseconds for all images in batches of 100, taken in turns."""
    batches = [tf.constant(images[k : k + 100]) for k in range(0, len(images), 100)]
    functions = {name: tf.function(model, autograph=False, reduce_retracing=True) for name, model in contenders.items()}
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(TIMINGS + 1):
        for name, function in functions.items():
            started = time.perf_counter()
            for batch in batches:
                function(batch)
            taken[name].append(1000 * (time.perf_counter() - started))
    return {name: round(statistics.median(each[1:]), 1) for name, each in taken.items()}  # The first run traces.


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
        levels = rng.choice(len(settings["blurred"]), len(images), p=settings["blurred"])
        for k in range(1, len(settings["blurred"])):
            chosen = np.flatnonzero(levels == k)
            for part in np.array_split(chosen, range(500, len(chosen), 500)):
                images[part] = blurred(images[part], k)
        network.fit(images, labels, batch_size=batch_size, verbose=0, callbacks=[progress])


def fit_confidence(
    model: keras.Model, garments: np.ndarray, labels: np.ndarray, settings: dict[str, Any], rng: Any, bar: tqdm
) -> None:
    """Train the confidence layers of a model with early exit on garments that the network has not seen."""
    model.get_layer("network").trainable = False
    epochs, batch_size = settings["confidence_epochs"], settings["confidence_batch"]
    steps = -(-len(garments) // batch_size)
    rate = keras.optimizers.schedules.CosineDecay(settings["confidence_rate"], epochs * steps)
    model.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    progress = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: bar.update(PYRAMID_WORK * len(garments) / steps)
    )
    images = resized_on_canvas(garments, rng)
    model.fit(images, labels, batch_size=batch_size, epochs=epochs, verbose=0, callbacks=[progress])


def summary(runs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return means over each band of sizes: for each seed, over all seeds, and the standard deviation.

    They are accuracies, and with the key "pixels" the pixels of the early exit.
    """
    result: dict[str, dict[str, Any]] = {}
    for name in (*runs[0]["sizes"], "pixels"):
        result[name] = {}
        for band, sizes in BANDS.items():
            values = [each["pixels"] if name == "pixels" else each["sizes"][name] for each in runs]
            seeds = [round(statistics.mean(each[size] for size in sizes), 2) for each in values]
            mean, spread = statistics.mean(seeds), statistics.stdev(seeds) if len(seeds) > 1 else 0.0
            result[name][band] = {"seeds": seeds, "mean": round(mean, 2), "spread": round(spread, 2)}
    return result


def print_table(runs: list[dict[str, Any]], bands: dict[str, dict[str, Any]], timed: int) -> None:
    line = "{:<20}" + "{:>16}" * len(BANDS)
    print(line.format("accuracy, %", *(f"{band} px" for band in BANDS)))
    for name, each in bands.items():
        label, digits = ("early exit, pixels", 2) if name == "pixels" else (name, 1)
        if len(runs) == 1:
            print(line.format(label, *(f"{band['mean']:.{digits}f}" for band in each.values())))
            continue
        values = (f"{band['mean']:.{digits}f} ± {band['spread']:.{digits}f}" for band in each.values())
        print(line.format(label, *values))
        for k, run in enumerate(runs):
            print(line.format(f"  seed {run['seed']}", *(f"{band['seeds'][k]:.{digits}f}" for band in each.values())))
    mean = statistics.mean(band["mean"] for band in bands["pixels"].values())
    print(f"\npixels of the early exit, relative to the image, mean over the bands: {mean:.2f}; the pyramid: 7.75")
    for run in runs:
        times = ", ".join(f"{name} {each:.0f} ms" for name, each in run["milliseconds"].items())
        errors = ", ".join(f"{name} {each:.3f}" for name, each in run["calibration_errors"].items())
        print(f"seed {run['seed']}: calibration errors: {errors}; time of {timed} images: {times}")
    seconds = [sum(each["seconds"].values()) for each in runs]
    print(f"parameters: {runs[0]['parameters']}; seconds per seed: {', '.join(f'{each:.0f}' for each in seconds)}")


if __name__ == "__main__":
    running.run("scale_robustness", main)
