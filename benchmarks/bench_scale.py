"""How do costs grow with the number of images, and for a large image?

    pip install -e '.[test]'
    python benchmarks/bench_scale.py [--output FOLDER] [--quick]

The benchmark trains a network with a learnable pyramid on image files, and predicts them in a Beam pipeline, for a
number of images and for ten times as many. It runs the pipeline with one and with two worker processes. It writes the
pyramid of a mask of 21600 x 43200 booleans as OME-Zarr, and compares it with writing and reading the mask itself, in
the same chunks, with zarr. Every measurement runs in a separate process, in random order; the tables show the median
and the quartiles. Times exclude imports, and tracing in training. The time of a pipeline includes starting workers and
loading the model. Memory is the peak resident memory of the process, including TensorFlow. `--quick` runs everything,
too small to measure anything.
"""

from __future__ import annotations

import io
import itertools
import multiprocessing
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import common
import memory
import numpy as np
import tensorflow as tf
import zarr
from PIL import Image
from tqdm import tqdm

from tfpyramid import export, layers, scale
from tfpyramid._compat import keras

CROP, BATCH, CHUNK = 96, 32, 1024
# Sizes of the images, in turn.
SIDES = [(96, 128), (128, 128), (160, 120), (112, 150)]


class Plan(NamedTuple):
    """The number of images, few and many, and for workers; the sides of the mask; and the number of rounds."""

    few: int
    many: int
    shared: int
    mask: tuple[int, int]
    rounds: int


FULL = Plan(few=1_000, many=10_000, shared=4_000, mask=(21600, 43200), rounds=3)
QUICK = Plan(few=4, many=8, shared=8, mask=(50, 70), rounds=1)


class Task(NamedTuple):
    work: str
    images: int = 0
    workers: int = 1
    threads: int = 0  # TensorFlow's threads in a worker; 0 means as many as cores.


class Cost(NamedTuple):
    seconds: float
    pixels: int
    peak: int


def main() -> None:
    options = common.parse_options(__doc__)
    plan = QUICK if options.quick else FULL
    tasks = [Task(work, count) for work in ("training", "inference") for count in (plan.few, plan.many)]
    tasks += [Task("workers", plan.shared, workers, threads) for threads in (0, 1) for workers in (1, 2)]
    tasks += [Task("bytes"), Task("pyramid")]
    rounds = [random.Random(k).sample(tasks, len(tasks)) for k in range(plan.rounds)]
    costs: dict[Task, list[Cost]] = {task: [] for task in tasks}
    with tempfile.TemporaryDirectory() as folder, tqdm(total=plan.rounds * len(tasks), unit="task") as bar:
        make_files(Path(folder), plan)
        for task in (task for turn in rounds for task in turn):
            costs[task].append(in_a_process(task, folder))
            bar.update()
    results = {
        "environment": common.environment("apache-beam", "zarr"),
        "mask": plan.mask,
        "results": [
            {
                **task._asdict(),
                "pixels": found[0].pixels,
                "seconds": common.quartiles([cost.seconds for cost in found]),
                "peak": common.quartiles([cost.peak / 2**20 for cost in found]),
            }
            for task, found in costs.items()
        ],
    }
    common.write_json(options.output / "results/scale.json", results)
    common.prepare(options.output, "scale")
    common.update_table(options.output / "README.md", "scale", markdown(results))


def make_files(folder: Path, plan: Plan) -> None:
    """Write the images, the model and the mask."""
    (folder / "images").mkdir()
    for number in range(max(plan.many, plan.shared)):
        (folder / "images" / f"{number:06}.png").write_bytes(picture(number))
    export.export_saved_model(network(), folder / "model")
    mask = np.lib.format.open_memmap(folder / "mask.npy", mode="w+", dtype=bool, shape=plan.mask)
    for rows, heights in continents(plan.mask):
        mask[rows] = heights > 1
    mask.flush()


def picture(number: int) -> bytes:
    rng, stream = np.random.default_rng(number), io.BytesIO()
    height, width = SIDES[number % len(SIDES)]
    blotches = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    blotches.resize((width, height), Image.Resampling.BICUBIC).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def continents(sides: tuple[int, int]) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield bands of rows of a smooth relief, which is a sum of products of curves along its axes."""
    rng = np.random.default_rng(0)
    curves = [
        np.stack([np.interp(np.linspace(0, 40, n), np.arange(41), rng.normal(size=41)) for _ in range(16)])
        for n in sides
    ]
    for start in range(0, sides[0], CHUNK):
        rows = slice(start, start + CHUNK)
        yield rows, curves[0][:, rows].T @ curves[1]


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3), name="image")
    levels = layers.LearnablePyramid(3)(image)
    features = layers.UpsampleConcat()(layers.PyramidConv2D(8, activation="relu")(levels))
    logits = keras.layers.Dense(4, name="logits")(keras.layers.GlobalAveragePooling2D()(features))
    return keras.Model(image, logits)


def in_a_process(task: Task, folder: str) -> Cost:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, task, Path(folder)).result()


def measure(task: Task, folder: Path) -> Cost:
    """Run a task in this process, which must be new."""
    output = folder / "output"
    shutil.rmtree(output, ignore_errors=True)
    work = {"training": train, "inference": answer, "workers": answer, "bytes": copy, "pyramid": write_pyramid}
    seconds, pixels = work[task.work](task, folder, output)
    # The peak of `resource.getrusage` would include the memory of the parent.
    return Cost(seconds, pixels, memory.bytes_of(memory.PROCESS, "VmHWM"))


def train(task: Task, folder: Path, output: Path) -> tuple[float, int]:
    def read(path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.image.convert_image_dtype(tf.io.decode_png(tf.io.read_file(path), 3), tf.float32)
        return image[:CROP, :CROP], tf.strings.to_hash_bucket_fast(path, 4)

    paths = tf.data.Dataset.from_tensor_slices([str(path) for path in files(task, folder)])
    # All batches have one shape, so that TensorFlow traces one graph.
    batches = paths.map(read, num_parallel_calls=2).batch(min(BATCH, task.images), drop_remainder=True).prefetch(2)
    model = network()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(batches.take(1), shuffle=False, verbose=0)
    begun = time.perf_counter()
    model.fit(batches, shuffle=False, verbose=0)
    steps = int(batches.cardinality())
    return time.perf_counter() - begun, steps * min(BATCH, task.images) * CROP**2


def answer(task: Task, folder: Path, output: Path) -> tuple[float, int]:
    # Import Beam here, so that its memory does not count for the other tasks.
    import apache_beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from tfpyramid.scale.beam import PredictImages

    # Workers log every step to standard error.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    chosen = folder / "chosen"
    shutil.rmtree(chosen, ignore_errors=True)
    chosen.mkdir()
    for path in files(task, folder):
        (chosen / path.name).symlink_to(path)
    options = []
    if task.work == "workers":
        options = [f"--direct_num_workers={task.workers}", "--direct_running_mode=multi_processing"]
    if task.threads:
        os.environ.update({f"TF_NUM_{kind}OP_THREADS": str(task.threads) for kind in ("INTRA", "INTER")})
    begun = time.perf_counter()
    with apache_beam.Pipeline(options=PipelineOptions(options)) as pipeline:
        _ = pipeline | PredictImages(str(chosen / "*"), model=folder / "model", output=output)
    seconds = time.perf_counter() - begun
    return seconds, sum(int(np.prod(SIDES[k % len(SIDES)])) for k in range(task.images))


def copy(task: Task, folder: Path, output: Path) -> tuple[float, int]:
    """Write the mask with zarr, and read it again."""
    mask = Mask(folder / "mask.npy")
    height, width = mask.shape
    chunks = (min(CHUNK, height), min(CHUNK, width))
    corners = itertools.product(range(0, height, CHUNK), range(0, width, CHUNK))
    windows = [(slice(y, y + CHUNK), slice(x, x + CHUNK)) for y, x in corners]
    begun = time.perf_counter()
    array = zarr.create_array(str(output), shape=mask.shape, chunks=chunks, dtype=mask.dtype)
    for window in windows:
        array[window] = mask[window]
    for window in windows:
        array[window]
    return time.perf_counter() - begun, height * width


def write_pyramid(task: Task, folder: Path, output: Path) -> tuple[float, int]:
    mask = Mask(folder / "mask.npy")
    begun = time.perf_counter()
    scale.write_ome_zarr(mask, output, tile_size=CHUNK)
    return time.perf_counter() - begun, int(np.prod(mask.shape))


class Mask:
    """An array in a file, which is opened again for each part: pages read from a memmap would count as memory."""

    def __init__(self, path: Path) -> None:
        self._path, array = path, np.load(path, mmap_mode="r")
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, window: Any) -> np.ndarray:
        return np.array(np.load(self._path, mmap_mode="r")[window])


def files(task: Task, folder: Path) -> list[Path]:
    return sorted((folder / "images").iterdir())[: task.images]


def markdown(results: dict[str, Any]) -> str:
    shared = [row for row in results["results"] if row["work"] == "workers"]
    rows = {(row["work"], row["images"]): row for row in results["results"] if row["work"] != "workers"}
    few, many = sorted({images for work, images in rows if work == "training"})
    costs = []
    for work, name in {"training": "training, from files", "inference": "inference, `PredictImages`"}.items():
        found = [rows[work, count] for count in (few, many)]
        nanoseconds = [{k: 1e9 * v / row["pixels"] for k, v in row["seconds"].items()} for row in found]
        ratio = nanoseconds[1]["median"] / nanoseconds[0]["median"]
        costs.append([name, *(between(each, 1) for each in nanoseconds), f"{ratio:.2f}"])
        costs[-1] += [between(row["peak"], 0) for row in found]
    header = ["nanoseconds per pixel", f"{few:,} images", f"{many:,} images", "ratio", "MiB at peak", "MiB, ten times"]
    alone = {row["threads"]: row for row in shared if row["workers"] == 1}
    workers = [
        [row["workers"], row["threads"] or "all", between(row["seconds"], 1), ratio_of(alone[row["threads"]], row)]
        for row in shared
    ]
    tiles = [
        [name, between(rows[work, 0]["seconds"], 1), ratio_of(rows[work, 0], rows["bytes", 0])]
        + [between(rows[work, 0]["peak"], 0)]
        for work, name in {"bytes": "written and read, zarr", "pyramid": "its pyramid, `write_ome_zarr`"}.items()
    ]
    sides = " × ".join(map(str, results["mask"]))
    parts = [
        common.table(header, costs),
        common.table([f"workers, {shared[0]['images']:,} images", "threads each", "seconds", "throughput"], workers),
        common.table([f"mask of {sides}", "seconds", "ratio", "MiB at peak"], tiles),
    ]
    return "\n\n".join(parts)


def ratio_of(one: dict[str, Any], other: dict[str, Any]) -> str:
    return f"{one['seconds']['median'] / other['seconds']['median']:.2f}"


def between(values: dict[str, float], digits: int) -> str:
    low, median, high = (f"{values[name]:.{digits}f}" for name in ("low", "median", "high"))
    return f"{median} ({low} to {high})"


if __name__ == "__main__":
    main()
