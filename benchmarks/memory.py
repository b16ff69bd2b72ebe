"""The peak memory of one call of a traced function.

TensorFlow keeps memory that it frees, so only the first call in a new process shows its peak. Before the measurement,
the graph is traced, and a call with tiny tensors starts libraries and threads. `tf.fill` creates the arguments, because
it allocates no other memory; NumPy and random numbers would leave freed memory that the call could reuse. The Linux
kernel reports the peak resident memory of a process, and can reset the peak to the current value.
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
    """A function, the shapes of its arguments, and the tiny shapes of a first call; the function is pickled by name."""

    function: Callable
    shapes: Sequence[tuple[int, ...]]
    tiny: Sequence[tuple[int, ...]]


class Peak(NamedTuple):
    """Bytes of one call: of its first argument, of the outputs that are not arguments, and of the peak."""

    images: int
    outputs: int
    taken: int

    @property
    def above(self) -> float:
        """The peak without the outputs, in units of the size of the first argument."""
        return (self.taken - self.outputs) / self.images


def measured_here() -> bool:
    """Return whether the system reports the peak memory, as Linux does."""
    return RESET.exists()


def available() -> int | None:
    """Return the bytes that a process can allocate without swapping, or None if the system does not report them."""
    return bytes_of(SYSTEM, "MemAvailable") if SYSTEM.exists() else None


def peaks(calls: Iterable[Call], *, fresh: bool = True) -> Iterator[Peak]:
    """Yield the peak of each call in a new process; one process for all (`fresh=False`) only tests the code."""
    # Otherwise each process would log the processors that it found.
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
    """Measure a call in this process, which must be new."""
    graph = tf.function(call.function, autograph=False)
    traced = graph.get_concrete_function(*(tf.TensorSpec(shape, tf.float32) for shape in call.shapes))
    graph(*map(filled, call.tiny))
    arguments = [filled(shape) for shape in call.shapes]
    RESET.write_text("5")
    before = bytes_of(PROCESS, "VmHWM")
    outputs = tf.nest.flatten(traced(*arguments))
    taken = bytes_of(PROCESS, "VmHWM") - before
    # A level that is the images themselves has the buffer of the argument, which the call does not allocate.
    old = {_buffer(argument).ctypes.data for argument in arguments}
    new = {buffer.ctypes.data: buffer.nbytes for buffer in map(_buffer, outputs) if buffer.ctypes.data not in old}
    return Peak(_buffer(arguments[0]).nbytes, sum(new.values()), taken)


def filled(shape: Sequence[int]) -> tf.Tensor:
    return tf.fill(shape, 0.5)


def _buffer(tensor: tf.Tensor) -> np.ndarray:
    """Return a view of the memory of a tensor."""
    return np.asarray(memoryview(tensor))


def bytes_of(path: Path, name: str) -> int:
    """Return the bytes in the line `name` of a status file of Linux."""
    for line in path.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise ValueError(f"`name` must be one of the lines of {path}. Received: name={name!r}")
