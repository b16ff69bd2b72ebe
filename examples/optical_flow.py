"""Optical flow: train a small coarse-to-fine network on made pairs, and run it on a real one.

`tfpyramid.models.pyramid_flow` is trained on pairs that are made from photographs of scikit-image: a photograph that
moves by a smooth random flow, with up to five moving cut-outs of other photographs before it, which hide parts of it.
Their flow is known exactly. The loss is the end-point error at each level, `losses.MultiScaleLoss` of
`losses.EndPointError`: the distance between the ends of the true and the estimated vector, in pixels.

It competes with no flow at all, OpenCV's DIS (preset "medium") and Farneback, and TV-L1 of scikit-image, on

- pairs that are made in the same way from four photographs that the network has not seen;
- the two views of a motorcycle (Middlebury's stereo data, `skimage.data.stereo_motorcycle`), at a half of their size
  and in full. The network was trained on nothing of it. The motion is up to 60 pixels there. The weights fit a pyramid
  of any depth, so the network gets more levels for larger images.

The weights are those of three seeds. The settings were chosen on two other photographs, which `--split validation`
keeps from training. The example draws `optical_flow.png`, writes every number to `metrics.json`, and exports a
SavedModel that takes two images of any size. An interrupted run resumes. On made pairs, DIS is slightly better than the
network, and on the motorcycle by an eighth to a quarter. The example took 17 minutes on a busy machine with two cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import running

START = time.perf_counter()

with running.imports("optical_flow"):
    import cv2
    import numpy as np
    import optical_flow_data as made
    import tensorflow as tf
    from optical_flow_figure import draw
    from skimage.registration import optical_flow_tvl1
    from tqdm import tqdm

    from tfpyramid import export, losses, models

keras = tf.keras  # Keras 3; Keras 2 with TensorFlow 2.15 or TF_USE_LEGACY_KERAS=1.
COARSEST = 12  # The least side of the coarsest level: images of 96 pixels have 4 levels.
# The weights fit these, too. The network was not trained for them, because they cost more.
INFERENCE: dict[str, Any] = {"finest_level": 0, "sampling": "lookup"}
POOL_SIDE = 112  # The side of the pairs from which the images of a training are cut.
NO_FLOW, DIS, FARNEBACK, TV_L1, OURS = "no flow", "DIS", "Farneback", "TV-L1", "pyramid_flow"
LUMA = np.float32([0.299, 0.587, 0.114])
SETTINGS: dict[str, Any] = {
    "pairs": 1200,
    "test_pairs": 64,
    "test_side": 128,
    # Steps, batch, side of the images, finest level. Coarse levels are cheap, so they are trained first.
    "stages": [[600, 8, 96, 2], [1500, 4, 96, 1], [1500, 4, 96, 1]],
    "rate": 3e-3,  # It falls to 0 over all stages.
    "hidden_weight": 0.3,  # Of a pixel that the second image hides, in the loss.
}
QUICK: dict[str, Any] = {
    **SETTINGS,
    "pairs": 4,
    "test_pairs": 2,
    "test_side": 48,
    "stages": [[1, 2, 32, 2], [1, 2, 32, 1]],
}

Estimate = Callable[[np.ndarray, np.ndarray], np.ndarray]  # Two images to the flow from the first to the second.


def main() -> None:
    options = parse_options()
    settings = QUICK if options.quick else SETTINGS
    options.output.mkdir(parents=True, exist_ok=True)
    training, measured = made.TRAINING, made.VALIDATION
    if options.split == "test":
        training, measured = training + made.VALIDATION, made.TEST
    side = settings["test_side"]
    tests = made.pairs(made.copies(measured, side), settings["test_pairs"], side, np.random.default_rng(12345))
    scenes = {f"motorcycle, 1/{step}": made.motorcycle(step) for step in ((4,) if options.quick else (2, 1))}
    estimates: dict[str, list[Estimate]] = {name: [each] for name, each in CLASSIC.items()}
    weights, runs = trained(training, settings, options)
    estimates[OURS] = [network(each) for each in weights]
    table = {"made pairs": {name: errors_of_pairs(each, tests) for name, each in estimates.items()}}
    flows: dict[str, dict[str, np.ndarray]] = {}
    for scene, (first, second, truth) in scenes.items():
        found = {name: [one(first, second) for one in each] for name, each in estimates.items()}
        table[scene] = {name: {"error": [error(flow, truth) for flow in each]} for name, each in found.items()}
        flows[scene] = {"true": truth, **{name: each[0] for name, each in found.items()}}
    print_table(table)
    shown = [(tests.first[k], tests.second[k], {"true": tests.flow[k]}) for k in range(min(3, len(tests.first)))]
    for first, second, each in shown:
        each.update({name: estimates[name][0](first, second) for name in (OURS, DIS)})
    scene = next(iter(scenes))
    shown.append((*scenes[scene][:2], {name: flows[scene][name] for name in ("true", OURS, DIS)}))
    with running.written_aside(options.output / "optical_flow.png") as path:
        draw(shown, table).savefig(path)
    exported(weights[0], options.output / "saved_model", scenes[scene][:2])
    numbers = {"quick": options.quick, "split": options.split, "settings": settings, "table": table}
    numbers.update(runs=runs, seconds=round(time.perf_counter() - START, 1))
    with running.written_aside(options.output / "metrics.json") as path:
        path.write_text(json.dumps(numbers, indent=2) + "\n")
    print(f"\nWritten to {options.output}: optical_flow.png, metrics.json, saved_model")
    print(f"{numbers['seconds']:.0f} seconds; of training: {[run['seconds'] for run in runs]}")


def parse_options() -> argparse.Namespace:
    quick = "run every step on a few pairs, which takes seconds and learns nothing"
    parser = running.parser(__doc__, output="optical_flow_output", quick=quick)
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds, from --seed on (default: %(default)s)")
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="photographs to measure on")
    return parser.parse_args()


def trained(
    names: tuple[str, ...], settings: dict[str, Any], options: argparse.Namespace
) -> tuple[list[list[np.ndarray]], list[dict[str, Any]]]:
    """Return the weights of each seed, and the seconds that its training took; read those of an interrupted run."""
    runs, results, pool = [], [], None
    stages = settings["stages"]
    steps = options.seeds * sum(stage[0] for stage in stages)
    with tqdm(total=steps, leave=False, bar_format="{desc} {percentage:3.0f}% |{bar:30}| {elapsed}") as bar:
        for seed in range(options.seed, options.seed + options.seeds):
            bar.set_description_str(f"seed {seed}")
            weights, seconds = None, 0.0
            for k, stage in enumerate(stages):
                path = options.output / f"weights_{seed}_{k}.npz"
                chosen = [settings[key] for key in ("pairs", "stages", "rate", "hidden_weight")]
                description = json.dumps([options.split, *chosen])
                if not is_trained(path, description):
                    if pool is None:
                        photographs = made.copies(names, POOL_SIDE)
                        rng = np.random.default_rng(options.seed)
                        pool = made.pairs(photographs, settings["pairs"], POOL_SIDE, rng)
                    started = time.perf_counter()
                    found = train(pool, settings, k, seed, weights, bar)
                    taken = round(time.perf_counter() - started, 1)
                    with running.written_aside(path) as aside, aside.open("wb") as file:
                        np.savez(file, *found, description=description, seconds=taken)
                with np.load(path) as saved:
                    seconds += float(saved["seconds"])
                    weights = [saved[f"arr_{k}"] for k in range(len(saved.files) - 2)]
            results.append(weights)
            runs.append({"seed": seed, "seconds": round(seconds, 1)})
    return results, runs


def is_trained(path: Path, description: str) -> bool:
    """Return whether an earlier run, which may have been interrupted later, wrote weights with the same settings."""
    if not path.exists():
        return False
    with np.load(path) as saved:
        return str(saved["description"]) == description


def train(
    pool: made.Pairs,
    settings: dict[str, Any],
    k: int,
    seed: int,
    weights: list[np.ndarray] | None,
    bar: tqdm,
) -> list[np.ndarray]:
    """Return the weights of a network after stage k; all its levels share them."""
    keras.utils.set_random_seed(seed)
    stages, start = settings["stages"], settings["rate"]
    done = sum(stage[0] for stage in stages[:k])
    steps, batch, side, finest_level = stages[k]
    rate = keras.optimizers.schedules.CosineDecay(start, sum(stage[0] for stage in stages))
    model = models.pyramid_flow(levels_for(96), finest_level=finest_level)
    if weights is not None:
        model.set_weights(weights)
    optimizer = keras.optimizers.Adam(start, clipnorm=1.0)
    model.compile(optimizer, losses.MultiScaleLoss(losses.EndPointError(), decay=1.0))
    progress = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda step, logs=None: set_rate(optimizer, rate(done + step)),
        on_train_batch_end=lambda step, logs=None: bar.update(1),
    )
    rng = np.random.default_rng([seed, k])
    data = batches(pool, batch, side, settings["hidden_weight"], list(model.output), rng)
    model.fit(data, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[progress])
    return model.get_weights()


def set_rate(optimizer: Any, rate: Any) -> None:
    optimizer.learning_rate = float(rate)


def batches(
    pool: made.Pairs, batch: int, side: int, hidden_weight: float, keys: list[str], rng: np.random.Generator
) -> tf.data.Dataset:
    """Return endless batches of pairs, turned and cropped, with flow and weights of pixels for each output."""

    def endless() -> Iterator[tuple[dict, dict, dict]]:
        while True:
            chosen = rng.choice(len(pool.first), batch, replace=len(pool.first) < batch)
            pairs = made.turned(made.Pairs(*(each[chosen] for each in pool)), side, rng)
            weight = np.where(pairs.hidden, np.float32(hidden_weight), np.float32(1))
            images = {"first": pairs.first, "second": pairs.second}
            yield images, dict.fromkeys(keys, pairs.flow), dict.fromkeys(keys, weight)

    image, flow, weight = (tf.TensorSpec([batch, side, side, *more]) for more in ([3], [2], []))
    signature = ({"first": image, "second": image}, dict.fromkeys(keys, flow), dict.fromkeys(keys, weight))
    return tf.data.Dataset.from_generator(endless, output_signature=signature).prefetch(2)


def levels_for(side: int) -> int:
    """Return the number of levels for images with this shorter side."""
    return max(2, int(np.log2(side / COARSEST)) + 1)


def network(weights: list[np.ndarray]) -> Estimate:
    """Return the network as a function of two images, with as many levels as they need."""
    found: dict[int, Any] = {}

    def estimate(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        levels = levels_for(min(first.shape[:2]))
        if levels not in found:
            model = models.pyramid_flow(levels, **INFERENCE)
            model.set_weights(weights)
            found[levels] = tf.function(keras.Model(model.input, model.output["flow"]), autograph=False)
        return found[levels]({"first": tf.constant(first[None]), "second": tf.constant(second[None])})[0].numpy()

    return estimate


def gray(image: np.ndarray) -> np.ndarray:
    return np.uint8(np.round(255 * np.clip(image @ LUMA, 0, 1)))


def no_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.zeros((*first.shape[:2], 2), np.float32)


def dis(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(gray(first), gray(second), None)


def farneback(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return cv2.calcOpticalFlowFarneback(gray(first), gray(second), None, 0.5, 5, 15, 3, 5, 1.2, 0)


def tv_l1(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    dy, dx = optical_flow_tvl1(gray(first) / 255, gray(second) / 255)
    return np.float32(np.stack([dx, dy], -1))


CLASSIC: dict[str, Estimate] = {NO_FLOW: no_flow, DIS: dis, FARNEBACK: farneback, TV_L1: tv_l1}


def error(flow: np.ndarray, truth: np.ndarray, where: np.ndarray | None = None) -> float:
    """Return the mean end-point error in pixels, over the pixels with a known flow."""
    distance = np.linalg.norm(flow - truth, axis=-1)
    known = np.isfinite(truth[..., 0]) if where is None else where
    return round(float(distance[known].mean()), 4)


def errors_of_pairs(estimates: list[Estimate], tests: made.Pairs) -> dict[str, list[float]]:
    """Return the mean error of each seed, over all pixels and over those that are not hidden."""
    found: dict[str, list[float]] = {"error": [], "error_visible": []}
    for estimate in estimates:
        flows = np.stack([estimate(first, second) for first, second in zip(tests.first, tests.second)])
        found["error"].append(error(flows, tests.flow))
        found["error_visible"].append(error(flows, tests.flow, ~tests.hidden))
    return found


def exported(weights: list[np.ndarray], folder: Path, images: tuple[np.ndarray, np.ndarray]) -> None:
    """Write a SavedModel of the network, and ask it for the flow of images of two sizes again."""
    model = models.pyramid_flow(levels_for(min(images[0].shape[:2])), **INFERENCE)
    model.set_weights(weights)
    final = keras.Model(model.input, {"flow": model.output["flow"]})
    served = export.load_saved_model(export.export_saved_model(final, folder, overwrite=True))
    for height, width in (images[0].shape[:2], (99, 70)):
        pair = {key: image[None, :height, :width] for key, image in zip(("first", "second"), images)}
        np.testing.assert_allclose(served(**pair)["flow"], final(pair)["flow"], atol=1e-2)


def print_table(table: dict[str, dict[str, dict[str, list[float]]]]) -> None:
    print("mean end-point error in pixels, ± the standard deviation over the seeds, and its ratio to that of no flow")
    for scene, rows in table.items():
        print(f"\n{scene}")
        for name, row in rows.items():
            cells = []
            for key, values in row.items():
                mean = statistics.mean(values)
                spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
                ratio = mean / statistics.mean(rows[NO_FLOW][key])
                cells.append(f"{key.replace('_', ', '):<14} {mean:6.2f}{spread:<7} {ratio:6.3f}")
            print(f"  {name:<14} {'    '.join(cells)}")


if __name__ == "__main__":
    running.run("optical_flow", main)
