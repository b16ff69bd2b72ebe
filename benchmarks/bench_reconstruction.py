"""Does a learned downsampling kernel keep more than a fixed one?

    python benchmarks/bench_reconstruction.py [--quick] [--only METHOD,KIND,...] [--output DIR] [--resume]

An image is downsampled by 2, clipped to 0..1, rounded to 8 bits (straight-through) and upsampled to its size again:
(a) by a fixed bicubic, or (b) by the bicubic plus a small network that is trained in the same way for every method.
Learned downsamplers are trained together with the upsampler, on the squared error of the upsampled image. The result is
the mean PSNR of held-out images; reconstruction_images.py describes the images.

The benchmark takes less than 40 minutes on one core. It writes results/reconstruction.json, the table in README.md and
the figure of the learned kernels, docs/reconstruction_kernels.png. Intermediate results are in the folder `--output`.
`--only` and `--quick` write only to that folder; `--quick` is too small to measure anything.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from common import FOLDER, README, RESULTS, environment, one_thread, read_json, update_table, write_json, written_aside
from reconstruction_images import KINDS
from reconstruction_report import kernels, markdown
from tqdm import tqdm

from tfpyramid import layers, ops
from tfpyramid.visualize import show_kernels

keras = tf.keras

BORDER = "symmetric"
SETTINGS = {
    "seeds": [0, 1, 2],
    "train_images": 2048,
    "held_out_images": 240,
    "batch": 4,
    "steps_fixed": 500,  # For training kernels alone.
    "steps_network": 2500,
    "rate": 4e-3,
    "width": 16,
}
QUICK = {"seeds": [0], "train_images": 8, "held_out_images": 8, "steps_fixed": 1, "steps_network": 1}


def keys(position: np.ndarray) -> np.ndarray:
    """Return the cubic convolution kernel with a = -1/2 (Keys, 1981) at a position in samples."""
    t = np.abs(position)
    return np.where(t < 1, 1.5 * t**3 - 2.5 * t**2 + 1, np.where(t < 2, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2, 0))


# The cubic kernel stretched to twice its width, which is the anti-aliased bicubic of image libraries.
BICUBIC = keys((np.arange(8) - 3.5) / 2)
TAPS = {"Gaussian": ops.binomial(5), "bicubic": BICUBIC}


class Method(NamedTuple):
    """A downsampler: a function that makes it, and its phase; sample i is at position 2i + phase."""

    make: Callable[[], Callable[[tf.Tensor], tf.Tensor]]
    phase: float
    title: str


def fixed(kernel: Any) -> Callable[[], Callable[[tf.Tensor], tf.Tensor]]:
    return lambda: lambda images: ops.pyr_down(images, kernel=kernel, border=BORDER)


def blur(size: int, normalization: str) -> Callable[[], keras.layers.Layer]:
    return lambda: layers.AntiAliasedDownsample2D(kernel_size=size, normalization=normalization, border=BORDER)


METHODS = {
    "gaussian": Method(fixed("binomial"), 0.0, "Gaussian, [1 4 6 4 1] / 16"),
    "box": Method(fixed("box"), 0.5, "box, 2 taps"),
    "bicubic": Method(fixed(BICUBIC), 0.5, "anti-aliased bicubic, 8 taps"),
    "free": Method(
        lambda: layers.LearnableDownsample2D(kernel_size=6, border=BORDER), 0.5, "`LearnableDownsample2D`, free, 6 taps"
    ),
    "sum": Method(blur(6, "sum"), 0.5, '`AntiAliasedDownsample2D`, "sum", 6 taps'),
    "sum_wide": Method(blur(8, "sum"), 0.5, '`AntiAliasedDownsample2D`, "sum", 8 taps'),
    "sum_odd": Method(blur(5, "sum"), 0.0, '`AntiAliasedDownsample2D`, "sum", 5 taps'),
    "softmax": Method(blur(6, "softmax"), 0.5, '`AntiAliasedDownsample2D`, "softmax", 6 taps'),
    "adaptive": Method(
        lambda: layers.ContentAdaptiveDownsample2D(border=BORDER),
        0.5,
        '`ContentAdaptiveDownsample2D`, "softmax", 4 × 4',
    ),
    "adaptive_sum": Method(
        lambda: layers.ContentAdaptiveDownsample2D(normalization="sum", border=BORDER),
        0.5,
        '`ContentAdaptiveDownsample2D`, "sum", 4 × 4',
    ),
    "adaptive_hard": Method(
        lambda: layers.ContentAdaptiveDownsample2D(hard=True, border=BORDER),
        0.5,
        '`ContentAdaptiveDownsample2D`, "softmax", `hard=True`',
    ),
}
UPSAMPLERS = ("network", "fixed")


def bicubic_up(phase: float) -> np.ndarray:
    """Return a kernel [5, 5, 1, 4] that interpolates four pixels by cubic convolution from samples at 2i + phase."""
    taps = [keys(np.arange(-2, 3) - (pixel - phase) / 2) for pixel in (0, 1)]
    return np.stack([np.outer(rows, columns) for rows, columns in itertools.product(taps, taps)], -1)[:, :, None]


def residual_network(width: int) -> keras.Model:
    """Return the network that is added to the bicubic, with four pixels for each sample; it is initialized to 0."""
    start = keras.initializers.HeNormal
    return keras.Sequential(
        [
            keras.Input((None, None, 1)),
            keras.layers.Conv2D(width, 3, padding="same", activation="relu", kernel_initializer=start()),
            keras.layers.Conv2D(width, 3, padding="same", activation="relu", kernel_initializer=start()),
            keras.layers.Conv2D(4, 3, padding="same", kernel_initializer="zeros"),
        ]
    )


class Codec:
    """Downsample by 2, round to 8 bits, upsample by 2."""

    def __init__(self, method: Method, upsampler: str, width: int) -> None:
        # Create the network first, so that all methods start with the same network for one seed.
        self.network = residual_network(width) if upsampler == "network" else None
        self.cell = tf.constant(bicubic_up(method.phase), tf.float32)
        self.down = method.make()
        self(tf.zeros([1, 8, 8, 1]))
        self.weights = [
            weight
            for part in (self.down, self.network)
            if isinstance(part, keras.layers.Layer)
            for weight in part.trainable_variables
        ]

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        low = ops.round_st(255 * tf.clip_by_value(self.down(images), 0.0, 1.0)) / 255
        cells = tf.nn.conv2d(tf.pad(low, [[0, 0], [2, 2], [2, 2], [0, 0]], "SYMMETRIC"), self.cell, 1, "VALID")
        if self.network is not None:
            cells += self.network(low - 0.5)
        return tf.nn.depth_to_space(cells, 2)


def train(codec: Codec, images: np.ndarray, settings: dict[str, Any], steps: int, seed: int) -> None:
    """Minimize the squared error; for one seed, all methods train on the same images."""
    schedule = keras.optimizers.schedules.CosineDecay(settings["rate"], steps)
    optimizer = keras.optimizers.Adam(schedule, epsilon=1e-10)
    images = tf.constant(images)

    @tf.function
    def step(batch: tf.Tensor) -> None:
        truth = tf.gather(images, batch)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(codec(truth) - truth))
        optimizer.apply_gradients(zip(tape.gradient(loss, codec.weights), codec.weights))

    for batch in np.random.default_rng(seed).integers(len(images), size=[steps, settings["batch"]]):
        step(tf.constant(batch))


def mean_squares(codec: Codec, images: np.ndarray) -> np.ndarray:
    """Return the mean squared error of each image."""
    back = np.concatenate([codec(tf.constant(part)) for part in np.array_split(images, 8)])
    return np.square(back.clip(0, 1) - images, dtype=np.float64).mean(axis=(1, 2, 3))


def psnr(mean_square: np.ndarray) -> np.ndarray:
    # The maximum keeps the PSNR finite if the error is 0.
    return -10 * np.log10(np.maximum(mean_square, 1e-10))


def run(name: str, upsampler: str, seed: int, images: tuple, settings: dict[str, Any]) -> dict[str, Any]:
    """Train and measure one method once."""
    start = time.perf_counter()
    keras.utils.set_random_seed(seed)
    codec = Codec(METHODS[name], upsampler, settings["width"])
    if codec.weights:
        train(codec, images[0], settings, settings[f"steps_{upsampler}"], seed)
    errors = mean_squares(codec, images[1])
    result = {"method": name, "upsampler": upsampler, "seed": seed}
    result.update(psnr=float(psnr(errors).mean()), psnr_of_mean=float(psnr(errors.mean())))
    if name in ("free", "sum", "sum_wide", "sum_odd", "softmax"):
        kernel = codec.down.kernel if name == "free" else codec.down.blur
        result["kernel"] = np.asarray(kernel)[:, :, 0, 0].tolist()
    return {**result, "seconds": time.perf_counter() - start}


def main() -> None:
    options = parse_options()
    one_thread()
    settings = {**SETTINGS, **(QUICK if options.quick else {})}
    # Running one step eagerly is faster than tracing its graph.
    tf.config.run_functions_eagerly(options.quick)
    kinds, upsamplers, methods = (
        [name for name in names if name in options.only or not options.only.intersection(names)]
        for names in (KINDS, UPSAMPLERS, METHODS)
    )
    counts = settings["train_images"], settings["held_out_images"]
    images = {kind: KINDS[kind](*counts, np.random.default_rng(0)) for kind in kinds}
    data = {
        "benchmark": "reconstruction",
        "quick": options.quick,
        "only": sorted(options.only),
        "environment": environment("scikit-image", "matplotlib", "pillow", "scipy"),
        "settings": settings,
        "titles": {name: METHODS[name].title for name in methods},
        "results": [],
    }
    part = options.output / "reconstruction.json"
    done = finished(part, data) if options.resume else {}
    runs = list(itertools.product(upsamplers, settings["seeds"], kinds, methods))
    for key in tqdm([key for key in runs if key not in done]):
        upsampler, seed, kind, name = key
        done[key] = {"kind": kind, **run(name, upsampler, seed, images[kind], settings)}
        tqdm.write(f"{upsampler:8} seed {seed} {kind:8} {name:14} {done[key]['psnr']:6.2f} dB")
        write_json(part, {**data, "results": list(done.values())})
    data["results"] = [done[key] for key in runs]
    write_json(part, data)
    whole = not options.quick and not options.only
    if whole:
        write_json(RESULTS / "reconstruction.json", data)
    report(RESULTS / "reconstruction.json" if whole else part, whole, options.output)


def finished(path: Path, data: dict[str, Any]) -> dict[tuple, dict[str, Any]]:
    """Return the results of an interrupted run with the same settings and environment."""
    if not path.exists():
        return {}
    before = read_json(path)
    for what in ("settings", "environment"):
        if before[what] != data[what]:
            sys.exit(f"bench_reconstruction: {path} was made with another {what}. Run again without --resume.")
    return {(r["upsampler"], r["seed"], r["kind"], r["method"]): r for r in before["results"]}


def report(path: Path, whole: bool, output: Path) -> None:
    """Write the table and the figure from the JSON."""
    data = read_json(path)
    text = markdown(data)
    if whole:
        update_table(README, "reconstruction", text)
    print(f"\n{text}")
    picture = (FOLDER.parent / "docs" if whole else output) / "reconstruction_kernels.png"
    with written_aside(picture) as aside:
        fixed_kernels = {name: np.outer(taps, taps) / taps.sum() ** 2 for name, taps in TAPS.items()}
        show_kernels(kernels(data, fixed_kernels)).savefig(aside)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="run every step, too small to measure anything")
    names = [*METHODS, *KINDS, *UPSAMPLERS]
    parser.add_argument("--only", default="", help=f"comma-separated list of: {', '.join(names)}")
    parser.add_argument("--resume", action="store_true", help="resume from the results in the folder of --output")
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks_output"), help="folder of the intermediate results"
    )
    options = parser.parse_args()
    options.only = set(filter(None, options.only.split(",")))
    if not options.only <= set(names):
        parser.error(f"--only must name some of {', '.join(names)}. Received: {', '.join(sorted(options.only))}")
    return options


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("bench_reconstruction: interrupted")
