"""Processes that write, killed at random moments or side by side.

They are forked from a server that has imported TensorFlow and has not run it, so that a process starts in milliseconds.
"""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.writers.preloaded"])

HUNG = 600  # Seconds after which a process is killed, longer than on any busy machine.


def start(function: Callable, *args: Any) -> multiprocessing.Process:
    """Start `function(*args)` in a process that leads a group, which its children belong to."""
    process = CONTEXT.Process(target=_run, args=(function, args))
    process.start()
    return process


def seconds(function: Callable, *args: Any) -> float:
    """Return the duration of an undisturbed process, which must succeed."""
    start(bool).join(HUNG)  # Starting the server takes seconds; do it before the measurement.
    started = time.monotonic()
    process = start(function, *args)
    process.join(HUNG)
    assert process.exitcode == 0
    return time.monotonic() - started


def kill_after(delay: float, function: Callable, *args: Any) -> bool:
    """Start a process, kill it and its children after `delay` seconds, and return whether it was still running."""
    process = start(function, *args)
    process.join(delay)
    running = process.is_alive()
    if running:
        _kill(process)
    process.join(HUNG)
    return running


def moments(number: int, longest: float, seed: int = 0) -> list[float]:
    """Return random delays, evenly spread over the time that a process takes."""
    draw = random.Random(seed).uniform
    return [draw(k, k + 1) * longest / number for k in range(number)]


def race(*calls: tuple) -> list[str | None]:
    """Run (function, *args) at the same time; return for each None or the text of its error."""
    barrier, results = CONTEXT.Barrier(len(calls)), [CONTEXT.SimpleQueue() for _ in calls]
    racers = [start(_race, barrier, result, *call) for call, result in zip(calls, results)]
    for racer in racers:
        racer.join(HUNG)
        if racer.is_alive():
            _kill(racer)
            racer.join()
    assert not any(result.empty() for result in results), "A process ended without an answer"
    return [result.get() for result in results]


def _run(function: Callable, args: tuple) -> None:
    os.setpgrp()
    function(*args)


def _race(barrier: Any, result: Any, function: Callable, *args: Any) -> None:
    barrier.wait(HUNG)
    try:
        function(*args)
    except Exception as error:  # Any kind: the test compares it with the errors that a loser may get.
        result.put(f"{type(error).__name__}: {error}")
    else:
        result.put(None)


def _kill(process: multiprocessing.Process) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # The process has not made its group yet.
        process.kill()
