"""multi_worker_strategy."""

from __future__ import annotations

import time

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.training import _rendezvous, _tf_config

_LONGEST = 604_800  # A week.


def multi_worker_strategy(timeout: float = 120.0) -> tf.distribute.Strategy:
    """Return TensorFlow's strategy for the workers of `TF_CONFIG`, or raise an error that lists the missing workers.

    TensorFlow itself waits for an hour if a worker is missing. Here all workers first connect to the first worker, so
    they must be able to reach its address.

    Convention:
        The first worker listens only at its address in `TF_CONFIG`, counts each index of the cluster once, and ignores
        all other connections. Like TensorFlow's own servers, it cannot distinguish a worker from another program that
        sends the index of a worker, so use it only in a network that you trust. Debian resolves a machine's own name to
        an address that other machines cannot reach. If `TF_CONFIG` contains such a name, the first worker listens at
        all addresses of the machine.

    Args:
        timeout: seconds to wait for the other workers, greater than 0 and at most a week.

    Returns:
        A `tf.distribute.MultiWorkerMirroredStrategy`, or TensorFlow's default strategy if `TF_CONFIG` is not set or
        lists only this worker.

    Raises:
        ValueError: if `timeout` breaks the rule above; if `TF_CONFIG` is not JSON with the addresses of workers, each
            once, and the index of this worker; if the first worker cannot listen at its address.
        TimeoutError: if not all workers start within `timeout`.

    Example:
        >>> strategy = training.multi_worker_strategy()
        >>> strategy.num_replicas_in_sync
        1
    """
    meaning = "the seconds to wait for other workers"
    timeout = _checks.number("timeout", timeout, above=0, meaning=meaning, maximum=_LONGEST)
    deadline = time.monotonic() + timeout
    workers, index = _tf_config.read_workers()
    if len(workers) < 2:
        return tf.distribute.get_strategy()
    if index == 0:
        missing = _rendezvous.wait_for_workers(workers, deadline)
    else:
        missing = _rendezvous.join_first_worker(workers, index, deadline)
    if missing:
        raise TimeoutError(
            f"{len(missing)} of the {len(workers)} workers in TF_CONFIG did not start within {timeout:g} s: {missing}. "
            "Start every worker with the same list and its own index. All workers must be able to reach the first."
        )
    return tf.distribute.MultiWorkerMirroredStrategy()
