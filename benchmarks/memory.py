"""How much memory one call of a traced function takes from the system at its peak.

TensorFlow keeps what it frees, so the peak is that of the first call in a fresh process. What else would count, or hide
what counts, is out of the way: the graph is traced, libraries and threads are started by a call with tiny tensors, and
the arguments are written by `tf.fill`, which takes what they need and leaves nothing behind for the call to find, as
NumPy and random numbers do. The kernel of Linux tells the peak of what a process has in memory, and sets it back to
what it has now.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

PROCESS, SYSTEM, RESET = Path("/proc/self/status"), Path("/proc/meminfo"), Path("/proc/self/clear_refs")


class Call(NamedTuple):
    """A function to be called with tensors of some shapes, and before that of tiny ones; pickled by its name."""

    function: Callable
    shapes: Sequence[tuple[int, ...]]
    tiny: Sequence[tuple[int, ...]]


class Peak(NamedTuple):
    """Bytes of one call: of its first argument, of the outputs that are not an argument itself, and the whole peak."""

    images: int
    outputs: int
    taken: int

    @property
    def above(self) -> float:
        """What is taken above the outputs, in sizes of the first argument."""
        return (self.taken - self.outputs) / self.images


def measured_here() -> bool:
    """Return whether the system tells the peak, as Linux does."""
    return RESET.exists()


def available() -> int | None:
    """Return the bytes that a process could take without swapping, None where the system does not tell."""
    return bytes_of(SYSTEM, "MemAvailable") if SYSTEM.exists() else None


def peaks(calls: Iterable[Call], *, fresh: bool = True) -> Iterator[Peak]:
    """Give the peak of each call, each in a process of its own unless `fresh` is false, which measures nothing."""
    # Else each of them would say which processors it found.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    context = multiprocessing.get_context("spawn")
    if not fresh:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            yield from pool.map(peak, calls)
        return
    for call in calls:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            yield pool.submit(peak, call).result()


def peak(call: Call) -> Peak:
    """Measure a call in this process, which should have made no other."""
    graph = tf.function(call.function, autograph=False)
    traced = graph.get_concrete_function(*(tf.TensorSpec(shape, tf.float32) for shape in call.shapes))
    graph(*map(filled, call.tiny))
    arguments = [filled(shape) for shape in call.shapes]
    RESET.write_text("5")
    before = bytes_of(PROCESS, "VmHWM")
    outputs = tf.nest.flatten(traced(*arguments))
    taken = bytes_of(PROCESS, "VmHWM") - before
    # A level that is the images themselves is the same buffer, which no call has to take.
    old = {_buffer(argument).ctypes.data for argument in arguments}
    new = {buffer.ctypes.data: buffer.nbytes for buffer in map(_buffer, outputs) if buffer.ctypes.data not in old}
    return Peak(_buffer(arguments[0]).nbytes, sum(new.values()), taken)


def filled(shape: Sequence[int]) -> tf.Tensor:
    return tf.fill(shape, 0.5)


def _buffer(tensor: tf.Tensor) -> np.ndarray:
    """Return a view of the memory of a tensor."""
    return np.asarray(memoryview(tensor))


def bytes_of(path: Path, name: str) -> int:
    """Return what the system tells of a process, or of itself, by the name of the line."""
    for line in path.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise ValueError(f"`name` must be one of the lines of {path}. Received: name={name!r}")
