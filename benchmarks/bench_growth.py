"""How do the time and the peak memory of pyramids grow with the image?

    pip install -e '.[bench]'
    python benchmarks/bench_growth.py [--output FOLDER] [--quick]

The benchmark computes five levels in float32, in traced graphs: a Gaussian pyramid, the same with the gradient of the
images, and a Laplacian pyramid with its inverse. The images are squares with sides of 256 to 8192 pixels, batches of 1
to 64 small squares, and an image of 1080 x 1920, for which memory is compared with plain TensorFlow. The time is the
median of interleaved calls, with as many threads as cores; memory.py describes how memory is measured. The exponent is
the slope of the logarithm of the medians over the logarithm of the pixels, by least squares. Tasks that need more than
the free memory are skipped and listed. `--quick` runs everything on images that are too small to measure anything.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import bench_pyramids
import common
import contest
import growth_report as report
import memory
import numpy as np
import tensorflow as tf
from bench_pyramids import LEVELS, PLAIN
from contest import OURS, Shape
from growth_report import Rows
from tqdm import tqdm

from tfpyramid import layers, ops

MEMORY_FACTOR = 12  # A task is skipped if the free memory is less than this multiple of the images.

TINY: Shape = (1, 32, 32, 3)  # Images of a first call that starts libraries and threads before memory is measured.


class Plan(NamedTuple):
    """The sides of squares, `fit_from` for memory and exponents, batches, one image, and the number of repetitions."""

    sides: Sequence[int]
    fit_from: int
    batches: Sequence[Shape]
    image: Shape
    rounds: int
    children: int


FULL = Plan(
    sides=(256, 512, 1024, 2048, 4096, 8192),
    fit_from=1024,
    batches=[(count, 256, 256, 3) for count in (1, 4, 16, 64)],
    image=(1, 1080, 1920, 3),
    rounds=15,
    children=3,
)
QUICK = Plan(sides=(32,), fit_from=32, batches=[(2, 32, 32, 3)], image=(1, 27, 48, 3), rounds=2, children=1)


def gaussian(images: tf.Tensor) -> list[tf.Tensor]:
    return ops.gaussian_pyramid(images, LEVELS)


def gradient(images: tf.Tensor, *upstream: tf.Tensor) -> list[tf.Tensor]:
    return bench_pyramids.with_gradient(gaussian)(images, *upstream)


def laplacian(images: tf.Tensor) -> tf.Tensor:
    return ops.reconstruct(ops.laplacian_pyramid(images, LEVELS))


def plain_gaussian(images: tf.Tensor) -> list[tf.Tensor]:
    return bench_pyramids.chain(images, bench_pyramids.plain_down)


def plain_gradient(images: tf.Tensor, *upstream: tf.Tensor) -> list[tf.Tensor]:
    return bench_pyramids.with_gradient(plain_gaussian)(images, *upstream)


WORKS: dict[str, Callable] = {"gaussian": gaussian, "gradient": gradient, "laplacian": laplacian}
PLAINLY: dict[str, Callable] = {"gaussian": plain_gaussian, "gradient": plain_gradient}


class Task(NamedTuple):
    """A row to be measured; for the measure "time", a row for each work, because all works are interleaved."""

    measure: str
    shape: Shape
    work: str = ""
    by: str = OURS


def main() -> None:
    options = common.parse_options(__doc__)
    plan = QUICK if options.quick else FULL
    reasons = {task: reason_to_skip(task) for task in tasks(plan)}
    skipped = {task: why for task, why in reasons.items() if why}
    for task, why in skipped.items():
        print(f"Skipped {task.measure} {task.work} {contest.sides(task.shape)}: {why}")
    todo = [task for task in reasons if task not in skipped]
    with tqdm(total=len(todo), unit="task") as bar:
        rows = []
        # Measure memory first, because this process keeps memory that it has allocated.
        for measured in itertools.chain(peaks(todo, plan), times(todo, plan)):
            rows += measured
            bar.update()
    results = {
        "environment": common.environment(),
        "exponents": report.exponents(rows, plan.fit_from),
        "skipped": [{**task._asdict(), "why": why} for task, why in skipped.items()],
        "results": rows,
    }
    common.write_json(options.output / "results/growth.json", results)
    common.prepare(options.output, "growth")
    common.update_table(options.output / "README.md", "growth", report.markdown(results))
    picture = (common.FOLDER.parent / "docs" if options.output == common.FOLDER else options.output) / "growth.png"
    with common.written_aside(picture) as aside:
        report.figure(results).savefig(aside, format="png")


def tasks(plan: Plan) -> list[Task]:
    squares = [(1, side, side, 3) for side in plan.sides]
    found = [Task("memory", plan.image, work, by) for by, made in ((OURS, WORKS), (PLAIN, PLAINLY)) for work in made]
    found += [Task("memory", shape, work) for shape in squares if shape[1] >= plan.fit_from for work in WORKS]
    return found + [Task("time", shape) for shape in dict.fromkeys([*plan.batches, *squares])]


def reason_to_skip(task: Task) -> str:
    """Return why a task cannot run on this machine, or "" if it can."""
    if task.measure == "memory" and not memory.measured_here():
        return "peak memory is measured on Linux only"
    needed, free = MEMORY_FACTOR * 4 * int(np.prod(task.shape)), memory.available()
    if free is not None and needed > free:
        return f"needs up to {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} are free"
    return ""


def gradient_shapes(shape: Shape) -> list[Shape]:
    """Return the shapes of all levels except the first."""
    return layers.GaussianPyramid(LEVELS).compute_output_shape(shape)[1:]


def call_of(task: Task) -> memory.Call:
    function = (WORKS if task.by == OURS else PLAINLY)[task.work]
    shapes, tiny = (
        [shape, *(gradient_shapes(shape) if task.work == "gradient" else [])] for shape in (task.shape, TINY)
    )
    return memory.Call(function, shapes, tiny)


def peaks(todo: Sequence[Task], plan: Plan) -> Iterator[Rows]:
    """Yield the quartiles of the bytes that each task takes, over several processes."""
    wanted = [task for task in todo if task.measure == "memory"]
    measured = memory.peaks((call_of(task) for task in wanted for _ in range(plan.children)), fresh=plan.children > 1)
    for task in wanted:
        found = list(itertools.islice(measured, plan.children))
        sizes = {"images": found[0].images, "outputs": found[0].outputs}
        yield [row(task, [each.taken for each in found], **sizes)]


def times(todo: Sequence[Task], plan: Plan) -> Iterator[Rows]:
    """Yield the milliseconds of all works, interleaved, for each task."""
    for task in todo:
        if task.measure == "time":
            large = np.prod(task.shape) > 3 * 2048**2
            rounds, warm_up = (plan.rounds // 3, 1) if large else (plan.rounds, 3)
            turns = common.take_turns(contenders(task.shape), rounds, warm_up)
            yield [row(task._replace(work=work), taken) for work, taken in turns.items()]


def contenders(shape: Shape) -> dict[str, contest.Call]:
    rng = np.random.default_rng(0)
    images, *upstream = (tf.constant(rng.random(size, dtype=np.float32)) for size in (shape, *gradient_shapes(shape)))
    return {
        work: contest.traced(function, images, *(upstream if work == "gradient" else []))
        for work, function in WORKS.items()
    }


def row(task: Task, values: Sequence[float], **sizes: int) -> dict[str, Any]:
    return {**task._asdict(), **sizes, **contest.measured(values)}


if __name__ == "__main__":
    main()
