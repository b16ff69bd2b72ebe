"""Interleaved timing of several libraries, and the tables of the results."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np
import tensorflow as tf
from tqdm import tqdm

# Idle threads of torch sleep instead of keeping a core busy, which would slow down the next contender.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

OURS, COMPILED, UNKNOWN = "tfpyramid", "tfpyramid, XLA", "tfpyramid, sides unknown"
PEERS = {
    "opencv-python-headless": "cv2",
    "torch": "torch",
    "kornia": "kornia",
    "scikit-image": "skimage.transform",
    "tensorflow-addons": "tensorflow_addons",
    "tensorflow-graphics": "tensorflow_graphics.image.pyramid",
}

Call = Callable[[], Any]
Shape = tuple[int, ...]


class Work(NamedTuple):
    """A task to time: its title, the shapes of the images, and a function that makes the contenders from images."""

    title: str
    shapes: Sequence[Shape]
    contenders: Callable[[np.ndarray], Iterator[tuple[str, Call]]]


def peer(name: str) -> Any:
    """Return a module, or None if it is not installed."""
    with contextlib.suppress(ImportError):
        return importlib.import_module(name)
    return None


def traced(function: Callable, *arguments: np.ndarray, compiled: bool = False, unknown: bool = False) -> Call:
    """Return a call of a traced function; with `unknown` it is traced for batches and images of any size."""
    tensors = [tf.constant(argument) for argument in arguments]
    signature = [tf.TensorSpec([None, None, None, x.shape[3]], x.dtype) for x in tensors] if unknown else None
    # AutoGraph takes seconds, and no contender has control flow that depends on tensors.
    graph = tf.function(function, signature, jit_compile=compiled, autograph=False)
    return lambda: graph(*tensors)


def channels_first(torch: Any, images: np.ndarray) -> Any:
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def hold(name: str, doc: str, works: Mapping[str, Work], output: Path = common.FOLDER) -> None:
    """Time all works, or those of `--only`; write `results/name.json` and the table `name`, by default to `output`."""
    options = common.parse_options(doc, list(works), output=output)
    path = options.output / f"results/{name}.json"
    results = common.read_json(path)["results"] if path.exists() else []
    asked = options.only or list(works)
    results = [result for result in results if result["work"] not in asked]
    pairs = [(work, shape) for work in asked for shape in works[work].shapes]
    for work, shape in tqdm(pairs, unit="work"):
        if options.quick:
            shape = (shape[0], *(side % 16 + 36 for side in shape[1:3]), shape[3])
        images = np.random.default_rng(0).random(shape, dtype=np.float32)
        turns = common.take_turns(dict(works[work].contenders(images)), 2 if options.quick else 15)
        for contender, taken in turns.items():
            results.append({"work": work, "shape": list(shape), "contender": contender, **measured(taken)})
    installed = [package for package, module in PEERS.items() if peer(module) is not None]
    common.write_json(path, {"environment": common.environment(*installed), "results": results})
    readme = options.output / "README.md"
    common.prepare(options.output, name)
    common.update_table(readme, name, markdown(works, results))


def measured(values: Sequence[float]) -> dict[str, float]:
    """Return the rounded quartiles of a sample."""
    return {key: round(value, 3) for key, value in common.quartiles(values).items()}


def markdown(works: Mapping[str, Work], results: list[dict[str, Any]]) -> str:
    """Return a table for each work: the milliseconds of every contender, and our time divided by theirs."""
    parts = []
    for name, work in works.items():
        rows = [result for result in results if result["work"] == name]
        shapes = list(dict.fromkeys(tuple(row["shape"]) for row in rows))
        cells = {(row["contender"], tuple(row["shape"])): row for row in rows}
        table = [
            [contender, *(cell(cells.get((contender, shape)), cells[OURS, shape]) for shape in shapes)]
            for contender in dict.fromkeys(row["contender"] for row in rows)
        ]
        if rows:
            parts.append(common.table([f"{work.title}, ms", *map(sides, shapes)], table))
    return "\n\n".join(parts)


def sides(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def cell(row: dict[str, Any] | None, ours: dict[str, Any]) -> str:
    if row is None:
        return ""
    return f"{row['median']:.1f} ({row['low']:.1f} to {row['high']:.1f}), {ours['median'] / row['median']:.2f}"
