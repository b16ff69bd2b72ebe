"""multi_worker_strategy."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Sequence

import tensorflow as tf

from tfpyramid import _checks


def multi_worker_strategy(timeout: float = 120.0) -> tf.distribute.Strategy:
    """Return TensorFlow's strategy for the workers of `TF_CONFIG`, or say which of them did not come up.

    TensorFlow itself waits for an hour. Here the workers first meet at the address of the first, which all of them must
    be able to reach.

    Args:
        timeout: seconds to wait for the other workers, greater than 0.

    Returns:
        A `tf.distribute.MultiWorkerMirroredStrategy`, or TensorFlow's default strategy where `TF_CONFIG` names no
        worker but this one, or is not set.

    Raises:
        ValueError: if `timeout` breaks the rule above, or `TF_CONFIG` is not JSON with workers and the index of one.
        TimeoutError: if not all workers are there in time.

    Example:
        >>> strategy = training.multi_worker_strategy()
        >>> strategy.num_replicas_in_sync
        1
    """
    deadline = time.monotonic() + _checks.number("timeout", timeout, above=0, meaning="the seconds to wait for others")
    workers, index = _cluster()
    if len(workers) < 2:
        return tf.distribute.get_strategy()
    missing = _gather(workers, deadline) if index == 0 else _join(workers, index, deadline)
    if missing:
        raise TimeoutError(
            f"Of the {len(workers)} workers of TF_CONFIG, {len(missing)} did not come up within {timeout:g} s: "
            f"{missing}. Start every worker with the same list and an index of its own; all must reach the first."
        )
    return tf.distribute.MultiWorkerMirroredStrategy()


def _cluster() -> tuple[list[str], int]:
    """Return the addresses of the workers that `TF_CONFIG` names, and which of them this is."""
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return [], 0
    with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
        config = json.loads(text)
        workers, index = config["cluster"]["worker"], config["task"]["index"]
        ports = [int(address.rpartition(":")[2]) for address in workers]
        if config["task"]["type"] == "worker" and isinstance(workers, list) and index in range(len(ports)):
            return workers, index
    raise ValueError(
        '`TF_CONFIG` must be JSON such as {"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": '
        f'"worker", "index": 0}}}}. Received: TF_CONFIG={text!r}'
    )


def _gather(workers: Sequence[str], deadline: float) -> list[str]:
    """Wait for all other workers and let them go on; return those that did not come, after telling the others."""
    there: dict[int, socket.socket] = {}
    with contextlib.ExitStack() as connections:
        server = connections.enter_context(socket.create_server(("", _place(workers[0])[1])))
        while len(there) < len(workers) - 1 and time.monotonic() < deadline:
            server.settimeout(max(deadline - time.monotonic(), 0.01))
            with contextlib.suppress(OSError, ValueError):  # Whoever calls and is no worker is not counted.
                connection = connections.enter_context(server.accept()[0])
                connection.settimeout(2)
                there[int(connection.makefile().readline())] = connection
        missing = [address for k, address in enumerate(workers) if k > 0 and k not in there]
        for connection in there.values():
            with contextlib.suppress(OSError):
                connection.sendall(json.dumps(missing).encode() + b"\n")
    return missing


def _join(workers: Sequence[str], index: int, deadline: float) -> list[str]:
    """Wait for the first worker to say that all are there; return those that did not come."""
    # It waits as long itself, perhaps from a little later on.
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            with socket.create_connection(_place(workers[0]), timeout=2) as connection:
                connection.sendall(f"{index}\n".encode())
                connection.settimeout(max(deadline - time.monotonic(), 0.01) + 5)
                return json.loads(connection.makefile().readline())
        time.sleep(0.1)
    return [workers[0]]


def _place(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)
