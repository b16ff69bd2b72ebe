"""Super-resolution: magnify photographs by 2 and by 4, and add the detail that interpolation lacks.

`tfpyramid.models.pyramid_super_resolution` is trained on patches of photographs of scikit-image, with a Charbonnier
loss at each level, and measured on photographs that it has not seen. It competes with

- bicubic and Lanczos interpolation of the same small photographs;
- the same network without the pyramid: its convolutions and transposed convolutions, with as many weights, in another
  order. All convolutions see the small image, the transposed convolutions follow, and the only residual is that of the
  magnified image. It gets the same patches and steps.

A pyramid for 4x also magnifies by 2, on the way. Without the pyramid, a network of its own is trained for that.

Small photographs are made by an antialiased bicubic resize of the luma, and rounded to 8 bits. PSNR and SSIM are those
of the luma, from 0 to 1, without a border of as many pixels as the scale. Three seeds change the weights and the
patches. The example prints means and standard deviations over the seeds, and draws `super_resolution.png`;
`metrics.json` has every number.

The settings were chosen on two other photographs, which `--split validation` keeps from training, and on new patches of
the training photographs. The pyramid is as good as the network without it at 4x, slightly worse at 2x, and one network
for both scales. The example takes less than six minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import running

START = time.perf_counter()

with running.imports("super_resolution"):
    import numpy as np
    import tensorflow as tf
    from skimage import data
    from super_resolution_figure import draw
    from tqdm import tqdm

    from tfpyramid import layers, losses, models

keras = tf.keras  # Keras 3; Keras 2 with TensorFlow 2.15 or TF_USE_LEGACY_KERAS=1.
TEST = ("astronaut", "coffee", "chelsea", "camera")
VALIDATION = ("rocket", "coins")
# How often a patch is cut from each photograph, relative to the others.
TRAINING = {
    "stereo_motorcycle": 6,
    "immunohistochemistry": 2,
    "hubble_deep_field": 1,
    "brick": 1,
    "gravel": 1,
    "page": 1,
    "text": 0.5,
    "retina": 0.5,
    "moon": 0.5,
    "clock": 0.5,
    "grass": 0.5,
}
SIZES = (1.0, 0.8, 0.6, 0.45)  # Patches are cut from smaller copies of the photographs, too.
LUMA = np.float32([0.299, 0.587, 0.114])
BICUBIC = [-3, -9, 29, 111, 111, 29, -9, -3]  # As `pyr_down`, the antialiased bicubic to half the size.
NETWORK: dict[str, Any] = {"filters": 32, "num_convolutions": (2, 1)}
PYRAMID, PLAIN, LANCZOS = "pyramid", "without the pyramid", "Lanczos"
SETTINGS = {"steps": 2400, "batch": 4, "side": 16, "rate": 2e-3, "decay": 2.0, "seeds": 3}
QUICK = {"steps": 3, "batch": 2, "side": 8, "rate": 2e-3, "decay": 2.0, "seeds": 1}

Magnify = Callable[[tf.Tensor], tf.Tensor]


def main() -> None:
    options = parse_options()
    settings = QUICK if options.quick else SETTINGS
    names = VALIDATION if options.split == "validation" else TEST
    photographs = {name: color(name) for name in names[: 1 if options.quick else None]}
    training = dict(TRAINING)
    if options.split == "test":
        training.update(dict.fromkeys(VALIDATION, 2))
    copies = training_copies(training)
    options.output.mkdir(parents=True, exist_ok=True)
    fixed = {
        "bicubic": {2: resized(2, "bicubic"), 4: resized(4, "bicubic")},
        LANCZOS: {2: resized(2, "lanczos3"), 4: resized(4, "lanczos3")},
    }
    results = {name: [measured(each, photographs)] for name, each in fixed.items()}
    runs = []
    with tqdm(
        total=3 * settings["seeds"] * settings["steps"],
        leave=False,
        bar_format="{desc} {percentage:3.0f}% |{bar:30}| {elapsed}",
    ) as bar:
        for seed in range(options.seed, options.seed + settings["seeds"]):
            bar.set_description_str(f"seed {seed}")
            run, networks = train(seed, settings, copies, bar)
            for name, each in networks.items():
                results.setdefault(name, []).append(measured(each, photographs))
            runs.append(run)
    table = summary(results)
    print_table(table, runs)
    contenders = {LANCZOS: fixed[LANCZOS], **networks}
    with running.written_aside(options.output / "super_resolution.png") as path:
        draw(shown(contenders, photographs), gains(results)).savefig(path)
    numbers = {"quick": options.quick, "split": options.split, "settings": settings, "table": table}
    numbers.update(photographs=results, runs=runs, seconds=round(time.perf_counter() - START, 1))
    with running.written_aside(options.output / "metrics.json") as path:
        path.write_text(json.dumps(numbers, indent=2) + "\n")
    print(f"\nWritten to {options.output}: super_resolution.png, metrics.json")
    print(f"{numbers['seconds']:.0f} seconds")


def parse_options() -> argparse.Namespace:
    quick = "run every step on a few patches, which takes seconds and learns nothing"
    parser = running.parser(__doc__, output="super_resolution_output", quick=quick)
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="photographs to measure on")
    return parser.parse_args()


def train(
    seed: int, settings: dict[str, Any], copies: list[tuple[np.ndarray, float]], bar: tqdm
) -> tuple[dict[str, Any], dict[str, dict[int, Magnify]]]:
    """Train the networks of one seed; return their weights and seconds, and what magnifies by 2 and by 4."""
    keras.utils.set_random_seed(seed)
    count = settings["batch"] * settings["steps"]
    patches = cut(copies, count, 4 * settings["side"], np.random.default_rng(seed))
    quarters = patches[:, : 2 * settings["side"], : 2 * settings["side"]]
    pyramid = models.pyramid_super_resolution(4, input_shape=(None, None, 1), **NETWORK)
    plain = {scale: without_pyramid(scale) for scale in (2, 4)}
    rows = {
        PYRAMID: (pyramid, patches, 4),
        f"{PLAIN}, 4x": (plain[4], patches, 4),
        f"{PLAIN}, 2x": (plain[2], quarters, 2),
    }
    run: dict[str, Any] = {"seed": seed, "parameters": {}, "seconds": {}}
    for name, (model, photos, scale) in rows.items():
        started = time.perf_counter()
        fit(model, photos, scale, settings, bar)
        run["parameters"][name] = model.count_params()
        run["seconds"][name] = round(time.perf_counter() - started, 1)
    return run, {
        PYRAMID: {scale: lambda x, scale=scale: pyramid(x)[f"x{scale}"] for scale in (2, 4)},
        PLAIN: {scale: lambda x, scale=scale: plain[scale](x)[f"x{scale}"] for scale in (2, 4)},
    }


def fit(model: keras.Model, photos: np.ndarray, scale: int, settings: dict[str, Any], bar: tqdm) -> None:
    """Train a network on photographs and their small copies, with a loss for each of its outputs."""
    steps = settings["steps"]
    loss = losses.MultiScaleLoss(losses.Charbonnier(epsilon=1e-3), settings["decay"], kernel=BICUBIC, border="edge")
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(settings["rate"], steps)), loss)
    images = tf.data.Dataset.from_tensor_slices((smaller(photos, scale), photos)).shuffle(1000).repeat()
    batches = images.batch(settings["batch"]).map(lambda small, photo: (small, dict.fromkeys(model.output, photo)))
    progress = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: bar.update(1))
    model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[progress])


def without_pyramid(scale: int) -> keras.Model:
    """Return the network of the pyramid without its levels: it magnifies the features last, and the image at once."""
    filters, count = NETWORK["filters"], sum(NETWORK["num_convolutions"])
    start: dict[str, Any] = {"padding": "same", "kernel_initializer": "he_normal"}
    images = keras.Input((None, None, 1), name="image")
    x = images
    for _ in range(1 + count):
        x = keras.layers.LeakyReLU(0.2)(keras.layers.Conv2D(filters, 3, **start)(x))
    image, step = images, 1
    while step < scale:
        up = keras.layers.Conv2DTranspose(
            filters, 4, strides=2, padding="same", kernel_initializer=keras.initializers.VarianceScaling(0.3)
        )
        x = keras.layers.LeakyReLU(0.2)(up(x))
        zero = keras.layers.Lambda(lambda x: tf.zeros_like(x[..., :1]), output_shape=(None, None, 1))(x)
        image = layers.LaplacianReconstruction(kernel=BICUBIC, border="edge")([zero, image])
        step *= 2
    residual = keras.layers.Conv2D(1, 3, padding="same", kernel_initializer="zeros")(x)
    return keras.Model(images, {f"x{scale}": keras.layers.Add()([image, residual])})


def resized(scale: int, method: str) -> Magnify:
    return lambda x: tf.image.resize(x, [scale * side for side in x.shape[1:3]], method)


def smaller(photos: np.ndarray, scale: int) -> np.ndarray:
    """Return small photographs, as 8 bits hold them."""
    size = [side // scale for side in photos.shape[1:3]]
    small = tf.image.resize(photos, size, "bicubic", antialias=True)
    return np.round(255 * np.clip(small, 0, 1)).astype(np.float32) / 255


def color(name: str) -> np.ndarray:
    """Return a photograph [height, width, 3] from 0 to 1, with sides that are multiples of 4."""
    image = getattr(data, name)()
    image = image[0] if isinstance(image, tuple) else image
    image = np.asarray(image, np.float32) / (255 if np.max(image) > 1 else 1)
    image = np.stack([image] * 3, -1) if image.ndim == 2 else image[..., :3]
    return image[: image.shape[0] // 4 * 4, : image.shape[1] // 4 * 4]


def training_copies(training: dict[str, float]) -> list[tuple[np.ndarray, float]]:
    """Return the luma of each training photograph in several sizes, and how often to cut a patch from it."""
    copies = []
    for name, weight in training.items():
        photo = (color(name) @ LUMA)[..., None]
        for size in SIZES:
            sides = [int(size * side) for side in photo.shape[:2]]
            if min(sides) >= 140:
                copies.append((tf.image.resize(photo, sides, "bicubic", antialias=True).numpy(), weight))
    return copies


def cut(copies: list[tuple[np.ndarray, float]], count: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return patches [count, side, side, 1], turned and mirrored; each is the one with most contrast of three."""
    images, weights = zip(*copies)
    patches = np.empty((count, side, side, 1), np.float32)
    for k, index in enumerate(rng.choice(len(images), count, p=np.array(weights) / sum(weights))):
        image = images[index]
        corners = rng.integers(0, np.array(image.shape[:2]) - side + 1, (3, 2))
        best = max((image[y : y + side, x : x + side] for y, x in corners), key=np.std)
        patches[k] = np.rot90(best, rng.integers(4))[:, :: rng.choice([-1, 1])]
    return patches


def measured(magnify: dict[int, Magnify], photographs: dict[str, np.ndarray]) -> dict[str, dict[str, list[float]]]:
    """Return [PSNR, SSIM] of each photograph, by scale."""
    found: dict[str, dict[str, list[float]]] = {}
    for scale, each in magnify.items():
        found[f"{scale}x"] = {}
        for name, photo in photographs.items():
            truth = (photo @ LUMA)[None, ..., None]
            made = tf.clip_by_value(each(tf.constant(smaller(truth, scale))), 0, 1)
            inner = (slice(None), slice(scale, -scale), slice(scale, -scale))
            values = [tf.image.psnr(made[inner], truth[inner], 1.0), tf.image.ssim(made[inner], truth[inner], 1.0)]
            found[f"{scale}x"][name] = [round(float(value[0]), 4) for value in values]
    return found


def summary(results: dict[str, list]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return, by contender and scale, mean PSNR and SSIM of the photographs: of each seed, and over all seeds."""
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for name, seeds in results.items():
        table[name] = {}
        for scale in seeds[0]:
            table[name][scale] = {}
            for k, measure in enumerate(("psnr", "ssim")):
                means = [statistics.mean(values[k] for values in seed[scale].values()) for seed in seeds]
                spread = statistics.stdev(means) if len(means) > 1 else 0.0
                mean = {"seeds": [round(each, 4) for each in means], "mean": round(statistics.mean(means), 4)}
                table[name][scale][measure] = {**mean, "spread": round(spread, 4)}
    return table


def gains(results: dict[str, list]) -> dict[str, dict[str, list[float]]]:
    """Return how much each network exceeds Lanczos at 4x, in dB: for each photograph, one number for each seed."""
    (base,) = results[LANCZOS]
    return {
        name: {
            photo: [seed["4x"][photo][0] - psnr for seed in results[name]] for photo, (psnr, _) in base["4x"].items()
        }
        for name in (PLAIN, PYRAMID)
    }


def shown(
    contenders: dict[str, dict[int, Magnify]], photographs: dict[str, np.ndarray]
) -> dict[str, dict[str, np.ndarray]]:
    """Return each photograph in colors: as it is, small, and magnified by 4 by each contender."""
    images: dict[str, dict[str, np.ndarray]] = {}
    for name, photo in photographs.items():
        small = smaller(photo[None], 4)
        luma, lanczos = tf.constant(small @ LUMA[:, None]), resized(4, "lanczos3")
        # The networks magnify the luma; the colors are those of Lanczos.
        colors = lanczos(small) - lanczos(luma)
        made = {each: np.clip(magnify[4](luma) + colors, 0, 1)[0] for each, magnify in contenders.items()}
        images[name] = {"small": np.repeat(np.repeat(small[0], 4, 0), 4, 1), **made, "photograph": photo}
    return images


def print_table(table: dict[str, dict[str, dict[str, Any]]], runs: list[dict[str, Any]]) -> None:
    line = "{:<22}" + "{:>18}" * 4
    print(line.format("", "2x PSNR, dB", "2x SSIM", "4x PSNR, dB", "4x SSIM"))
    for name, scales in table.items():
        cells = []
        for scale in ("2x", "4x"):
            psnr, ssim = scales[scale]["psnr"], scales[scale]["ssim"]
            cells += [f"{psnr['mean']:.2f} ± {psnr['spread']:.2f}", f"{ssim['mean']:.4f} ± {ssim['spread']:.4f}"]
        print(line.format(name, *cells))
    base = table[LANCZOS]
    for name in (PLAIN, PYRAMID):
        for k, run in enumerate(runs):
            cells = [f"{table[name][s]['psnr']['seeds'][k] - base[s]['psnr']['mean']:+.2f}" for s in ("2x", "4x")]
            print(f"{name}, seed {run['seed']}, over Lanczos: 2x {cells[0]} dB, 4x {cells[1]} dB")
    print(f"\nparameters: {runs[0]['parameters']}")
    print(f"seconds of training: {[run['seconds'] for run in runs]}")


if __name__ == "__main__":
    running.run("super_resolution", main)
