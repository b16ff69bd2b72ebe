"""Segmentation: find garments of 14 to 48 pixels, with one level of a network, with all levels, and with an FPN.

Garments of Fashion-MNIST are pasted on photographs and textures of scikit-image, so that their masks are exact. Each
pixel is one of five kinds of garments, or background. A backbone has feature maps of strides 2, 4, 8 and 16. It is
trained with several decoders, on the same scenes, in the same order and at the same rate:

- one level: a single feature map, each of the four in turn; the backbone ends there;
- upsample and concat: `UpsampleConcat` of all feature maps;
- FPN: `FeaturePyramid`, which adds coarser features to finer ones, before `UpsampleConcat`.

Strided convolutions have kernels of 4, so samples lie between pixels: `phase=0.5`. The table shows the mean IoU of the
five kinds, on scenes with garments of one band of sizes. The best single level is the one with the highest mean over
the bands on validation scenes: other garments, and other parts of the photographs, than those of training and test.
`segmentation.png` shows the table, and scenes with predicted masks.

The settings were chosen by shorter trainings of one seed, measured with `--split validation`; the results are those of
`--split test`. Keras downloads Fashion-MNIST (30 MB), unless `--data` names a folder with its four idx .gz files. One
seed takes less than six minutes on two cores; `--seeds 3` prints means and standard deviations.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import running

START = time.perf_counter()

with running.imports("segmentation"):
    import fashion_mnist
    import numpy as np
    import pasted_garments
    import tensorflow as tf
    from segmentation_figure import draw
    from tqdm import tqdm

    from tfpyramid import layers

tf.get_logger().setLevel("ERROR")  # It warns that each model is traced anew.
keras = tf.keras  # Keras 3; Keras 2 with TensorFlow 2.15 or TF_USE_LEGACY_KERAS=1.
# Garments that the eye takes for the same at 14 pixels are one kind.
KINDS = {
    "top": ("top", "pullover", "coat", "shirt"),
    "trouser": ("trouser",),
    "dress": ("dress",),
    "shoe": ("sandal", "sneaker", "boot"),
    "bag": ("bag",),
}
BANDS = {"14-18": (14, 18), "19-26": (19, 26), "27-35": (27, 35), "36-48": (36, 48)}
STRIDES = {f"one level, stride {stride}": stride for stride in (2, 4, 8, 16)}
CONCAT, FPN = "upsample and concat", "FPN"
NAMES = [*STRIDES, CONCAT, FPN]
SIDE = 64
WIDTHS = (12, 24, 48, 64)  # Channels of the backbone at strides 2, 4, 8 and 16.
FILTERS = 24  # Channels of the decoder.
WEIGHT = 4.0  # Of the loss of a garment's pixel: nine of ten pixels are background.
SETTINGS = {"scenes": 4000, "epochs": 4, "batch": 16, "rate": 4e-3, "each_band": 400}
QUICK = {"scenes": 16, "epochs": 1, "batch": 8, "rate": 3e-3, "each_band": 8}

Bands = dict[str, Any]  # `pasted_garments.Scenes` of each band of sizes.


def main() -> None:
    options = parse_options()
    settings = QUICK if options.quick else SETTINGS
    options.output.mkdir(parents=True, exist_ok=True)
    train, held_out = fashion_mnist.splits("segmentation", options)
    splits = {options.split: held_out}
    if options.split != "validation":
        on_validation = argparse.Namespace(**{**vars(options), "split": "validation"})
        splits["validation"] = fashion_mnist.splits("segmentation", on_validation)[1]
    measured = {split: scenes_of_bands(by_kind(each), split, settings) for split, each in splits.items()}
    seeds = range(options.seed, options.seed + (1 if options.quick else options.seeds))
    runs, shown = [], {}
    with tqdm(total=len(seeds) * len(NAMES) * settings["epochs"], leave=False) as bar:
        for seed in seeds:
            runs.append({"seed": seed})
            epochs = training_scenes(by_kind(train), seed, settings)
            for name in NAMES:
                bar.set_description_str(f"seed {seed}, {name}")
                model, runs[-1][name] = trained(name, seed, epochs, settings, bar)
                for split, bands in measured.items():
                    masks = {band: predicted(model, scenes.images) for band, scenes in bands.items()}
                    found = {band: mean_iou(bands[band].masks, each) for band, each in masks.items()}
                    runs[-1][name].setdefault("iou", {})[split] = found
                    if split == options.split:
                        shown[name] = {band: each[:1] for band, each in masks.items()}
    best = max(STRIDES, key=lambda name: sum(sum(run[name]["iou"]["validation"].values()) for run in runs))
    table, margins = summary(runs, options.split), margins_of(runs, options.split)
    print_table(runs, table, margins, best)
    with running.written_aside(options.output / "segmentation.png") as path:
        figure = draw(table, best, measured[options.split], shown, list(KINDS))
        figure.savefig(path, pil_kwargs={"optimize": True})
    numbers = {"quick": options.quick, "split": options.split, "settings": settings, "best single level": best}
    numbers |= {"table": table, "margins": margins, "runs": runs, "seconds": round(time.perf_counter() - START, 1)}
    with running.written_aside(options.output / "metrics.json") as path:
        path.write_text(json.dumps(numbers, indent=2) + "\n")
    print(f"\nWritten to {options.output}: segmentation.png, metrics.json")
    print(f"{numbers['seconds']:.0f} seconds")


def parse_options() -> argparse.Namespace:
    quick = "run every step on a few scenes with garments of noise, which takes seconds and learns nothing"
    parser = running.parser(__doc__, output="segmentation_output", quick=quick)
    fashion_mnist.add_options(parser)
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds, from --seed on (default: %(default)s)")
    return parser.parse_args()


def scenes_of_bands(garments: fashion_mnist.Split, split: str, settings: dict[str, Any]) -> Bands:
    photographs = pasted_garments.backgrounds(split)
    return {
        name: pasted_garments.scenes(garments, photographs, settings["each_band"], seed=k, side=SIDE, sizes=sizes)
        for k, (name, sizes) in enumerate(BANDS.items())
    }


def training_scenes(garments: fashion_mnist.Split, seed: int, settings: dict[str, Any]) -> list[Any]:
    """Return new scenes for each epoch, the same for all decoders."""
    photographs = pasted_garments.backgrounds("training")
    return [
        pasted_garments.scenes(garments, photographs, settings["scenes"], seed=1000 * (1 + seed) + epoch, side=SIDE)
        for epoch in range(settings["epochs"])
    ]


def by_kind(garments: fashion_mnist.Split) -> fashion_mnist.Split:
    """Return the garments with the index of their kind instead of their class."""
    kind = {garment: k for k, members in enumerate(KINDS.values()) for garment in members}
    return garments[0], np.array([kind[garment] for garment in fashion_mnist.GARMENTS])[garments[1]]


def backbone(images: Any) -> list[Any]:
    """Return feature maps of strides 2, 4, 8 and 16."""
    x = keras.layers.Rescaling(1 / 127.5, -1)(images)
    levels = []
    for k, width in enumerate(WIDTHS):
        x = convolution(x, width, 4, strides=2)
        levels.append(x if k == 0 else convolution(x, width, 3))
        x = levels[-1]
    return levels


def segmenter(name: str) -> keras.Model:
    """Return a model from scenes to logits of the kinds and the background."""
    images = keras.Input((None, None, 3))
    levels, stride = backbone(images), 2
    if name in STRIDES:
        stride = STRIDES[name]
        levels = [levels[list(STRIDES).index(name)]]
    if name == CONCAT:  # As many convolutions as an FPN has.
        for kernel_size in (1, 3):
            convolve = keras.layers.Conv2D(FILTERS, kernel_size, padding="same", use_bias=False)
            levels = layers.PerLevel(convolve, share_weights=False)(levels)
        levels = layers.PerLevel(keras.layers.BatchNormalization(momentum=0.9), share_weights=False)(levels)
    else:
        levels = layers.FeaturePyramid(FILTERS, phase=0.5, batch_norm=True)(levels)
    levels = layers.PerLevel(keras.layers.ReLU())(levels)
    x = layers.UpsampleConcat(phase=0.5)(levels)
    x = convolution(x, FILTERS, 1)
    x = keras.layers.Conv2D(1 + len(KINDS), 1)(x)
    return keras.Model(images, keras.layers.UpSampling2D(stride, interpolation="bilinear")(x))


def convolution(x: Any, filters: int, kernel_size: int, strides: int = 1) -> Any:
    """Return a convolution with batch normalization, without which such a network hardly trains, and ReLU."""
    x = keras.layers.Conv2D(filters, kernel_size, strides, padding="same", use_bias=False)(x)
    return keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))


def trained(
    name: str, seed: int, epochs: list[Any], settings: dict[str, Any], bar: tqdm
) -> tuple[keras.Model, dict[str, Any]]:
    """Return a trained model with its losses."""
    keras.utils.set_random_seed(seed)
    started = time.perf_counter()
    model = segmenter(name)
    batch = settings["batch"]
    rate = keras.optimizers.schedules.CosineDecay(settings["rate"], len(epochs) * -(-settings["scenes"] // batch))
    model.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    losses = []
    for scenes in epochs:
        data = tf.data.Dataset.from_tensor_slices((scenes.images, scenes.masks)).batch(batch).map(weighted).prefetch(2)
        losses.append(round(float(model.fit(data, shuffle=False, verbose=0).history["loss"][0]), 4))
        bar.update()
    seconds = round(time.perf_counter() - started, 1)
    return model, {"parameters": model.count_params(), "seconds": seconds, "losses": losses}


def weighted(images: tf.Tensor, masks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    return tf.cast(images, tf.float32), masks, tf.where(masks > 0, WEIGHT, 1.0)


def predicted(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return the masks that a model predicts."""
    data = tf.data.Dataset.from_tensor_slices(images).batch(100).map(lambda x: tf.cast(x, tf.float32))
    return model.predict(data, verbose=0).argmax(axis=-1).astype(np.uint8)


def mean_iou(truth: np.ndarray, masks: np.ndarray) -> float:
    """Return the mean over the kinds of intersection over union, each counted over all scenes."""
    found = []
    for kind in range(1, 1 + len(KINDS)):
        union = np.sum((truth == kind) | (masks == kind))
        found.append(np.sum((truth == kind) & (masks == kind)) / union if union else 0.0)
    return round(float(np.mean(found)), 4)


def summary(runs: list[dict[str, Any]], split: str) -> dict[str, dict[str, Any]]:
    """Return the IoU of each decoder in each band: the seeds, their mean and their standard deviation."""
    return {name: {band: of_seeds([run[name]["iou"][split][band] for run in runs]) for band in BANDS} for name in NAMES}


def margins_of(runs: list[dict[str, Any]], split: str) -> dict[str, dict[str, Any]]:
    """Return by how much the FPN is above each other decoder, in each band, by differences with the same seed."""
    return {
        name: {
            band: of_seeds([round(run[FPN]["iou"][split][band] - run[name]["iou"][split][band], 4) for run in runs])
            for band in BANDS
        }
        for name in NAMES
        if name != FPN
    }


def of_seeds(values: list[float]) -> dict[str, Any]:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"seeds": values, "mean": round(statistics.mean(values), 3), "spread": round(spread, 3)}


def print_table(
    runs: list[dict[str, Any]], table: dict[str, dict[str, Any]], margins: dict[str, dict[str, Any]], best: str
) -> None:
    line = "{:<22}" + "{:>16}" * len(BANDS) + "{:>12}{:>10}{:>9}"
    print(line.format("mean IoU", *(f"{band} px" for band in BANDS), "parameters", "seconds", "loss"))
    for name, bands in table.items():
        last = runs[-1][name]
        values = [f"{band['mean']:.3f} ± {band['spread']:.3f}" for band in bands.values()]
        print(line.format(name, *values, last["parameters"], f"{last['seconds']:.0f}", f"{last['losses'][-1]:.3f}"))
    print(f"\nFPN above each; {best!r} is the best single level on validation scenes")
    for name, bands in margins.items():
        values = [f"{band['mean']:+.3f} ± {band['spread']:.3f}" for band in bands.values()]
        print(line.format(name, *values, "", "", "").rstrip())


if __name__ == "__main__":
    running.run("segmentation", main)
