"""Detection: find garments of 14 to 48 pixels on photographs, with a feature pyramid and with one level.

Garments of Fashion-MNIST are pasted on photographs and textures (`pasted_garments.py`). Their ten classes are merged to
five, because a coat and a pullover look alike at 14 pixels. Three detectors with the same heads
(`tfpyramid.models.pyramid_detector`) are trained on the same images, for the same number of steps:

- on a pyramid of levels with strides of 4, 8 and 16 pixels;
- on one level, the last of the same backbone, with a stride of 16 pixels;
- on one level with a stride of 8 pixels, where the backbone ends there: the better of the two on validation images.

pycocotools measures the average precision at an IoU of 0.5 (AP50), and the mean over IoU thresholds from 0.5 to 0.95
(AP), for all garments and for bands of sizes. Three seeds change the weights and the order of the images. The example
prints the results, and draws detections on test images in `detection.png`.

The strides, the reach, the batch and the rate were chosen with one seed and `--split validation`: on garments and parts
of the photographs that are used neither for training nor for the results, which are those of `--split test`. Keras
downloads Fashion-MNIST (30 MB), unless `--data` names a folder with its four idx .gz files. `--seeds 1` takes a third
of the time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import fashion_mnist
import running

START = time.perf_counter()

with running.imports("detection"):
    import numpy as np
    import pasted_garments
    import tensorflow as tf
    from average_precision import BANDS, average_precision
    from detection_figure import draw
    from tqdm import tqdm

    from tfpyramid import models

keras = tf.keras  # Keras 3; Keras 2 with TensorFlow 2.15 or TF_USE_LEGACY_KERAS=1.
PYRAMID, COARSE, MIDDLE = "pyramid", "one level, stride 16", "one level, stride 8"
NAMES = ("upper", "trousers", "dress", "shoe", "bag")
KINDS = np.array([0, 1, 0, 2, 0, 3, 0, 3, 4, 3])  # Of the ten classes of Fashion-MNIST.
STRIDES = {PYRAMID: (4, 8, 16), COARSE: (16,), MIDDLE: (8,)}
WORK = {PYRAMID: 2.8, COARSE: 1.0, MIDDLE: 1.2}  # Relative time of a training step, for the progress bar.
HEADS = {"extra_levels": 0, "filters": 32, "num_convolutions": 1, "reach": 4.0}
SETTINGS = {"train": 12000, "batch": 16, "rate": 3e-3, "measured": 1000, "heads": HEADS}
QUICK = {
    **SETTINGS,
    **{"train": 32, "batch": 16, "measured": 16},
    "heads": {**HEADS, "filters": 4},
}

Scenes = Any  # `pasted_garments.Scenes`.


def main() -> None:
    options = parse_options()
    settings = QUICK if options.quick else SETTINGS
    train, held_out = (
        pasted_garments.scenes((looks, KINDS[classes]), pasted_garments.backgrounds(split), count, seed=seed)
        for (looks, classes), split, count, seed in zip(
            fashion_mnist.splits("detection", options),
            ("training", options.split),
            (settings["train"], settings["measured"]),
            (0, 1),  # The same scenes for every seed.
        )
    )
    options.output.mkdir(parents=True, exist_ok=True)
    runs, shown = [], {}
    seeds = range(options.seed, options.seed + (1 if options.quick else options.seeds))
    work = len(seeds) * settings["train"] * sum(WORK.values())
    with tqdm(total=work, leave=False, bar_format="{desc} {percentage:3.0f}% |{bar:30}| {elapsed}") as bar:
        for seed in seeds:
            measured = {}
            for name in STRIDES:
                bar.set_description_str(f"seed {seed}, {name}")
                measured[name], found = run(name, seed, settings, train, held_out, bar)
                shown.setdefault(name, found)  # Of the first seed.
            runs.append({"seed": seed, "models": measured})
    bands = summary(runs)
    print_table(runs, bands)
    with running.written_aside(options.output / "detection.png") as path:
        draw(held_out, shown, NAMES, bands).savefig(path, pil_kwargs={"optimize": True})
    numbers = {"quick": options.quick, "split": options.split, "settings": settings, "bands": bands, "runs": runs}
    numbers["seconds"] = round(time.perf_counter() - START, 1)
    with running.written_aside(options.output / "metrics.json") as path:
        path.write_text(json.dumps(numbers, indent=2) + "\n")
    print(f"\nWritten to {options.output}: detection.png, metrics.json")
    print(f"{numbers['seconds']:.0f} seconds")


def parse_options() -> argparse.Namespace:
    quick = "run every step on a few images, which takes seconds and learns nothing"
    parser = running.parser(__doc__, output="detection_output", quick=quick)
    fashion_mnist.add_options(parser)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from --seed on (default: %(default)s)")
    return parser.parse_args()


def run(
    name: str, seed: int, settings: dict[str, Any], train: Scenes, held_out: Scenes, bar: tqdm
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Train a detector; return its average precision with other numbers, and its detections."""
    keras.utils.set_random_seed(seed)
    model = models.pyramid_detector(len(NAMES), strides=STRIDES[name], **settings["heads"])
    steps = -(-len(train.images) // settings["batch"])
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(settings["rate"], steps)))
    each = WORK[name] * len(train.images) / steps
    progress = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: bar.update(each))
    data = tf.data.Dataset.from_tensor_slices((train.images, {"boxes": train.boxes, "classes": train.classes}))
    data = data.shuffle(len(train.images), seed=seed).batch(settings["batch"])
    data = data.map(lambda images, targets: (scaled(images), targets)).prefetch(2)
    started = time.perf_counter()
    fitted = model.fit(data, shuffle=False, verbose=0, callbacks=[progress])
    trained = time.perf_counter()
    found = model.predict(scaled(held_out.images), batch_size=100, verbose=0)
    predicted = time.perf_counter()
    truth = {"boxes": held_out.boxes, "classes": held_out.classes}
    result = {
        "parameters": model.count_params(),
        "losses": {part: round(values[-1], 4) for part, values in sorted(fitted.history.items())},
        "seconds": {"training": round(trained - started, 1), "predicting": round(predicted - trained, 1)},
        "precision": average_precision(truth, found, len(NAMES)),
    }
    return result, found


def scaled(images: np.ndarray | tf.Tensor) -> tf.Tensor:
    return tf.cast(images, tf.float32) / 255


def summary(runs: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return for each model, band and measure the numbers of all seeds, their mean and standard deviation."""
    result: dict[str, dict[str, dict[str, Any]]] = {}
    for name in STRIDES:
        result[name] = {}
        for band in BANDS:
            result[name][band] = {}
            for measure in ("AP50", "AP"):
                seeds = [run["models"][name]["precision"][band][measure] for run in runs]
                mean, spread = statistics.mean(seeds), statistics.stdev(seeds) if len(seeds) > 1 else 0.0
                result[name][band][measure] = {"seeds": seeds, "mean": round(mean, 2), "spread": round(spread, 2)}
    return result


def print_table(runs: list[dict[str, Any]], bands: dict[str, dict[str, dict[str, Any]]]) -> None:
    line = "{:<22}" + "{:>16}" * (len(BANDS) + 1)
    print(line.format("AP50, %", *BANDS, "AP of all"))
    for name, each in bands.items():
        columns = [*(band["AP50"] for band in each.values()), each["all"]["AP"]]
        print(line.format(name, *(f"{column['mean']:.1f} ± {column['spread']:.1f}" for column in columns)))
        for k, run in enumerate(runs):
            print(line.format(f"  seed {run['seed']}", *(f"{column['seeds'][k]:.1f}" for column in columns)))
    for name in STRIDES:
        measured = [run["models"][name] for run in runs]
        seconds = ", ".join(f"{each['seconds']['training']:.0f}" for each in measured)
        print(f"{name}: {measured[0]['parameters']} parameters; seconds of training: {seconds}")


if __name__ == "__main__":
    running.run("detection", main)
