"""Measurements in a process of their own, with the version of tfpyramid that PYTHONPATH selects.

`ask` starts a new process for one measurement, `Served` one that makes calls when it is asked to, so that the calls of
two versions take turns. Times of new processes are those of the processor, because other programs hardly affect them.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()


def start(version: Path, question: dict[str, Any]) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(version), "TF_CPP_MIN_LOG_LEVEL": "3"}
    # An installed package is compiled. Only the first import of a checkout compiles it.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, str(HERE), json.dumps(question)]
    # The logs of TensorFlow go to stderr, the answers to stdout.
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ask(version: Path, **question: Any) -> dict[str, float]:
    """Return the answer of a new process to one question; its `measure` names a function below."""
    answer, log = start(version, question).communicate()
    return read(answer, log)


def read(line: str, log: str) -> dict[str, float]:
    try:
        return json.loads(line.splitlines()[-1])
    except (IndexError, ValueError):
        raise RuntimeError(f"The process of a measurement ended without an answer:\n{log[-3000:]}") from None


class Served:
    """A process that repeats a call: `Served(version, ...)(count)` returns when it was made `count` times.

    With `measure`, another function below answers, and what is passed instead of `count` is a line for it.
    """

    def __init__(self, version: Path, **question: Any) -> None:
        self.process = start(version, {"measure": "serve", **question})

    def __call__(self, count: int | str) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write(f"{count}\n")
                self.process.stdin.flush()
        line = self.process.stdout.readline()
        read(line, "" if line else self.process.stderr.read())

    def close(self) -> None:
        self.process.communicate()


def serve(pyramid: str, mode: str, shape: list[int]) -> Iterator[dict[str, float]]:
    import small_works

    call = small_works.call(pyramid, mode, tuple(shape), plain=False)
    for line in sys.stdin:
        for _ in range(int(line)):
            call()
        yield {}


def serve_routing() -> Iterator[dict[str, float]]:
    """Make the call of each request, a line of JSON, as often as its `count` says."""
    import routing_works

    calls: dict[tuple, Any] = {}
    for line in sys.stdin:
        row = json.loads(line)
        count, key = row.pop("count"), tuple(row.values())
        calls[key] = calls.get(key) or routing_works.call(**row)
        for _ in range(count):
            calls[key]()
        yield {}


def trace(pyramid: str, plain: bool) -> Iterator[dict[str, float]]:
    """Yield the seconds to trace a pyramid and its gradient for images of any size, and the nodes of its graph."""
    import small_works
    import tensorflow as tf

    def unrelated(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(tf.nn.relu(tf.nn.conv2d(x, tf.ones([3, 3, 3, 3]), 1, "SAME")))
        return tape.gradient(y, x)

    def traced(function: Any) -> Any:
        spec = tf.TensorSpec([None, None, None, 3])
        return tf.function(function, autograph=False).get_concrete_function(spec)

    # The first trace of a process also loads what all traces need.
    traced(unrelated)
    # A full collection takes longer than most traces, and falls into whichever allocates after the imports.
    gc.collect()
    started = time.process_time()
    graph = traced(small_works.with_gradient(small_works.PYRAMIDS[pyramid][plain](3))).graph.as_graph_def()
    # The definition of the graph is part of what each first call needs.
    yield {"seconds": time.process_time() - started, "nodes": nodes(graph)}


def nodes(graph: Any) -> int:
    """Return the number of nodes of a graph definition, plus those of each function that it reaches, counted once."""
    functions = {function.signature.name: function.node_def for function in graph.library.function}
    found, todo, count = set(), [graph.node], 0
    while todo:
        body = todo.pop()
        count += len(body)
        for node in body:
            names = {node.op}
            for value in node.attr.values():
                names |= {value.func.name, *(func.name for func in value.list.func)}
            for name in (names & functions.keys()) - found:
                found.add(name)
                todo.append(functions[name])
    return count


def imported(module: str) -> Iterator[dict[str, float]]:
    """Yield the seconds that importing a module takes if TensorFlow and Keras are imported already."""
    import tensorflow as tf

    tf.keras.layers.Dense(1)  # TensorFlow loads Keras when it is used.
    started = time.process_time()
    importlib.import_module(module)
    yield {"seconds": time.process_time() - started}


def fit(plain: bool, quick: bool) -> Iterator[dict[str, float]]:
    """Yield the seconds of the first `fit` of a model, those before it, and the number of weights."""
    import small_segmenters

    yield small_segmenters.first_fit(plain=plain, quick=quick)


def main() -> None:
    question = json.loads(sys.argv[1])
    for answer in globals()[question.pop("measure")](**question):
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
