"""A fovea: find the one framed garment on a photograph, and read its class from 3 to 7 % of the pixels.

Cards of 20 to 40 pixels with garments of Fashion-MNIST lie anywhere on a photograph of 512 by 512 pixels, among cards
with colors, stripes and parts of photographs. One garment has a green frame, and the question is which of ten it is.
The networks share their convolutions, and differ in what they read:

- full resolution: the whole image;
- coarse image alone: the image at 128 by 128 pixels, nearly as many as a fovea with three fixations reads;
- fovea: a view of 64 by 64 pixels, where the frame is a faint ring, and crops around the one, two or three fixations
  that `layers.FixationPredictor` chooses on it. Around each, `layers.FoveatedPyramid` makes two crops of 48 by 48
  pixels, which show 48 and 96 pixels of the image. The class alone trains the whole model.

Training starts on scenes of 56 pixels, which hold little more than the framed garment, and continues on larger ones.
The first part is the same for the network of full resolution and for the foveas, which start from its weights.

The example prints the accuracy on photographs that no network was trained on, with the mean and the standard deviation
over three seeds; the pixels read; the time of 100 images, for the models and their exports; and the time on canvases of
up to 2048 pixels. It draws `fovea.png`, writes `metrics.json`, and exports a fovea as a SavedModel. An interrupted run
resumes. The settings were chosen with `--split validation`: on garments and photographs that are used neither for
training nor for the results.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fashion_mnist
import running

START = time.perf_counter()

with running.imports("fovea"):
    import fovea_data as made
    import fovea_models as networks
    import numpy as np
    import tensorflow as tf
    from fovea_figure import draw
    from fovea_models import COARSE, FIXATIONS, FULL, NAMES
    from fovea_times import growth, speed
    from tqdm import tqdm

    from tfpyramid import export

keras = tf.keras  # Keras 3; Keras 2 with TensorFlow 2.15 or TF_USE_LEGACY_KERAS=1.
NEAR = 16  # A fixation within so many pixels from the middle of the frame is counted as a hit.
BATCH = 25  # Of measured scenes.
SETTINGS: dict[str, Any] = {
    "networks": NAMES,
    "side": 512,
    "others": 16,
    # Side of the scenes, most cards without a frame, scenes in a batch, batches. Small scenes cost little, and are more
    # crowded than the measured ones. The learning rate falls from `rate` to 0 in each part.
    "first": [[56, 0, 64, 500]],
    "then": {
        "whole": [[112, 4, 32, 150], [192, 8, 16, 200], [384, 16, 8, 40]],
        "fovea": [[72, 1, 32, 100], [128, 6, 32, 250], [192, 12, 32, 200], [384, 16, 16, 100], [512, 16, 16, 100]],
    },
    "rate": 3e-3,
    "measured": 1000,
    "timed": 100,
    "canvases": [512, 1024, 2048],
}
QUICK: dict[str, Any] = {
    **SETTINGS,
    **{"networks": (FULL, COARSE, NAMES[-1])},
    **{"side": 128, "first": [[56, 0, 2, 1]], "then": {"whole": [[64, 1, 2, 1]], "fovea": [[64, 1, 2, 1]]}},
    **{"measured": 4, "timed": 2, "canvases": [128, 256]},
}

Scenes = made.Scenes


def main() -> None:
    options = parse_options()
    settings = QUICK if options.quick else SETTINGS
    train, held_out = fashion_mnist.splits("fovea", options)
    options.output.mkdir(parents=True, exist_ok=True)
    seeds = range(options.seed, options.seed + (1 if options.quick else options.seeds))
    weights = trained(train, seeds, settings, options)
    photographs = made.photographs(options.split)
    scenes = made.scenes(
        held_out, photographs, settings["measured"], settings["side"], settings["others"], np.random.default_rng(12345)
    )
    runs, models = [], {name: networks.build(name) for name in settings["networks"]}
    for seed in reversed(seeds):  # The models keep the weights of the first seed.
        for name, model in models.items():
            model.set_weights(weights[seed][name])
        runs.insert(0, {"seed": seed, "models": {name: measured(model, scenes) for name, model in models.items()}})
    table = summary(runs, settings["side"])
    print_table(table, [run["seed"] for run in runs])
    sample = tf.constant(scaled(scenes.images[: settings["timed"]]))
    times = {"images": len(sample), "seconds": speed(models, sample)}
    times["canvases"] = growth(models, settings["canvases"])
    print_times(times)
    best = max(FIXATIONS.keys() & models, key=lambda name: table[name]["accuracy"]["mean"])
    answers = exported(models[best], options.output / "saved_model", scenes)
    with running.written_aside(options.output / "fovea.png") as path:
        draw(scenes, answers, fashion_mnist.GARMENTS, table).savefig(path)
    numbers = {"quick": options.quick, "split": options.split, "settings": settings, "table": table, "times": times}
    numbers["training seconds"] = {seed: each["seconds"] for seed, each in weights.items()}
    numbers["seconds"] = round(time.perf_counter() - START, 1)
    with running.written_aside(options.output / "metrics.json") as path:
        path.write_text(json.dumps(numbers, indent=2) + "\n")
    print(f"\nWritten to {options.output}: fovea.png, metrics.json, saved_model")
    print(f"{numbers['seconds']:.0f} seconds")


def parse_options() -> argparse.Namespace:
    quick = "run every step on a few scenes, which takes seconds and learns nothing"
    parser = running.parser(__doc__, output="fovea_output", quick=quick)
    fashion_mnist.add_options(parser)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from --seed on (default: %(default)s)")
    return parser.parse_args()


def trained(
    garments: fashion_mnist.Split, seeds: range, settings: dict[str, Any], options: argparse.Namespace
) -> dict[int, dict[str, Any]]:
    """Return for each seed the weights of all models, and the seconds of their training; read those of earlier runs."""
    results: dict[int, dict[str, Any]] = {}
    first, then = settings["first"], settings["then"]
    plan = [(f"{FULL}, first part", FULL, None, first), (FULL, FULL, f"{FULL}, first part", then["whole"])]
    plan += [(COARSE, COARSE, None, [*first, *then["whole"]])]
    plan += [(name, name, f"{FULL}, first part", then["fovea"]) for name in settings["networks"] if name in FIXATIONS]
    photographs = made.photographs("training")
    work = len(seeds) * sum(steps * batch for *_, stages in plan for *_, batch, steps in stages)
    with tqdm(total=work, leave=False, bar_format="{desc} {percentage:3.0f}% |{bar:30}| {elapsed}") as bar:
        for seed in seeds:
            results[seed] = {"seconds": {}}
            for title, name, start, stages in plan:
                bar.set_description_str(f"seed {seed}, {title}")
                path = options.output / f"weights_{seed}_{title.replace(', ', '_').replace(' ', '_')}.npz"
                description = json.dumps([settings["rate"], first, stages])
                if not is_trained(path, description):
                    started = time.perf_counter()
                    model = networks.build(name)
                    if start:
                        networks.start_from(model, results[seed][start])
                    fit(model, garments, photographs, stages, settings["rate"], seed, bar)
                    seconds = round(time.perf_counter() - started, 1)
                    with running.written_aside(path) as aside, aside.open("wb") as file:
                        np.savez(file, *model.get_weights(), description=description, seconds=seconds)
                with np.load(path) as saved:
                    results[seed]["seconds"][title] = float(saved["seconds"])
                    results[seed][title] = [saved[f"arr_{k}"] for k in range(len(saved.files) - 2)]
    return results


def is_trained(path: Path, description: str) -> bool:
    """Return whether an earlier run, which may have been interrupted later, wrote weights with the same settings."""
    if not path.exists():
        return False
    with np.load(path) as saved:
        return str(saved["description"]) == description


def fit(
    model: keras.Model,
    garments: fashion_mnist.Split,
    photographs: list[np.ndarray],
    stages: list[list[int]],
    start: float,
    seed: int,
    bar: tqdm,
) -> None:
    """Train a model on scenes that are made in passing."""
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    rate = keras.optimizers.schedules.CosineDecay(start, sum(steps for *_, steps in stages))
    logits = keras.Model(model.input, model.output["logits"])
    logits.compile(
        keras.optimizers.Adam(rate, clipnorm=1.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    for side, others, batch, steps in stages:
        progress = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda step, logs=None, batch=batch: bar.update(batch)
        )
        data = batches(garments, photographs, side, others, batch, rng)
        logits.fit(data, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[progress])


def batches(
    garments: fashion_mnist.Split,
    photographs: list[np.ndarray],
    side: int,
    others: int,
    batch: int,
    rng: np.random.Generator,
) -> tf.data.Dataset:
    """Return endless batches of scenes and the classes of their framed garments."""

    def endless() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        while True:
            scenes = made.scenes(garments, photographs, batch, side, others, rng)
            yield scenes.images, scenes.classes

    signature = (tf.TensorSpec([batch, side, side, 3], tf.uint8), tf.TensorSpec([batch], tf.int32))
    data = tf.data.Dataset.from_generator(endless, output_signature=signature)
    return data.map(lambda images, classes: (tf.cast(images, tf.float32) / 255, classes)).prefetch(2)


def scaled(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / 255


def answered(ask: Any, scenes: Scenes) -> dict[str, np.ndarray]:
    """Return the outputs of a model for all scenes."""
    parts = [ask(tf.constant(scaled(scenes.images[k : k + BATCH]))) for k in range(0, len(scenes.images), BATCH)]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def measured(model: keras.Model, scenes: Scenes) -> dict[str, float]:
    """Return the accuracy of a model in percent, and how often a fixation of a fovea is near the frame."""
    outputs = answered(tf.function(model), scenes)
    result = {"accuracy": percentage(outputs["logits"].argmax(axis=1) == scenes.classes)}
    if "fixations" in outputs:
        distances = np.linalg.norm(outputs["fixations"] - scenes.centers[:, np.newaxis], axis=-1)
        result["hits"] = percentage((distances * scenes.images.shape[1] < NEAR).any(axis=1))
    return result


def percentage(right: np.ndarray) -> float:
    return round(100 * float(np.mean(right)), 2)


def summary(runs: list[dict[str, Any]], side: int) -> dict[str, dict[str, Any]]:
    """Return for each model the fraction of pixels, and for each measure all seeds, their mean and spread."""
    result: dict[str, dict[str, Any]] = {}
    for name in runs[0]["models"]:
        result[name] = {"pixels": round(networks.pixels(name, side) / side**2, 4)}
        for measure in runs[0]["models"][name]:
            seeds = [run["models"][name][measure] for run in runs]
            mean, spread = statistics.mean(seeds), statistics.stdev(seeds) if len(seeds) > 1 else 0.0
            result[name][measure] = {"seeds": seeds, "mean": round(mean, 2), "spread": round(spread, 2)}
    return result


def print_table(table: dict[str, dict[str, Any]], seeds: list[int]) -> None:
    line = "{:<20}" + "{:>16}" * (3 + len(seeds))
    print(line.format("", "accuracy, %", *(f"seed {seed}" for seed in seeds), "hits, %", "pixels read"))
    for name, row in table.items():
        cells = [
            f"{row[key]['mean']:.1f} ± {row[key]['spread']:.1f}" if key in row else "" for key in ("accuracy", "hits")
        ]
        each = [f"{value:.1f}" for value in row["accuracy"]["seeds"]]
        print(line.format(name, cells[0], *each, cells[1], f"{row['pixels']:.4f}"))


def print_times(times: dict[str, Any]) -> None:
    slowest = times["seconds"][FULL]
    print(f"\nseconds for {times['images']} images, and times as fast as {FULL}; exported likewise")
    for name, row in times["seconds"].items():
        cells = [f"{row[key]:8.3f} {slowest[key] / row[key]:6.1f}" for key in ("live", "exported")]
        print(f"{name:<20} {'    '.join(cells)}")
    print("\nmilliseconds for an image, by the side of the canvas")
    for name, row in times["canvases"].items():
        print(f"{name:<44}" + "".join(f"{side:>7}: {value:8.2f}" for side, value in row.items()))


def exported(model: keras.Model, folder: Path, scenes: Scenes) -> dict[str, np.ndarray]:
    """Write a SavedModel, ask it about some scenes, and compare the answers with those of the model."""
    shown = Scenes(*(each[:BATCH] for each in scenes))
    served = export.load_saved_model(export.export_saved_model(model, folder, overwrite=True))
    answers, expected = answered(lambda images: served(image=images), shown), answered(model, shown)
    for key, values in expected.items():
        np.testing.assert_allclose(answers[key], values, atol=1e-3)
    return answers


if __name__ == "__main__":
    running.run("fovea", main)
