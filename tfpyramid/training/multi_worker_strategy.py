"""multi_worker_strategy."""

from __future__ import annotations

import time

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.training import _cluster, _meeting

_LONGEST = 604_800  # A week.


def multi_worker_strategy(timeout: float = 120.0) -> tf.distribute.Strategy:
    """Return TensorFlow's strategy for the workers of `TF_CONFIG`, or say which of them did not start.

    TensorFlow itself waits for an hour. Here the workers first meet at the address of the first worker, which all of
    them must be able to reach.

    Convention:
        The first worker listens only at its address in `TF_CONFIG`, and counts each index of the cluster once. It
        ignores all other connections. But like TensorFlow's own servers it cannot tell a worker from a program that
        sends the index of a worker, so use it in a network that you trust. If `TF_CONFIG` gives the name of this
        machine, and the machine resolves it to an address that no other machine reaches, as Debian does, the first
        worker listens at all its addresses.

    Args:
        timeout: seconds to wait for the other workers, greater than 0 and at most a week.

    Returns:
        A `tf.distribute.MultiWorkerMirroredStrategy`, or TensorFlow's default strategy where `TF_CONFIG` names no
        worker but this one, or is not set.

    Raises:
        ValueError: if `timeout` breaks the rule above; if `TF_CONFIG` is not JSON with the addresses of workers, each
            once, and the index of one; if the first worker cannot listen at its address.
        TimeoutError: if not all workers are there in time.

    Example:
        >>> strategy = training.multi_worker_strategy()
        >>> strategy.num_replicas_in_sync
        1
    """
    meaning = "the seconds to wait for other workers"
    timeout = _checks.number("timeout", timeout, above=0, meaning=meaning, maximum=_LONGEST)
    deadline = time.monotonic() + timeout
    workers, index = _cluster.of_tf_config()
    if len(workers) < 2:
        return tf.distribute.get_strategy()
    missing = _meeting.join(workers, index, deadline) if index else _meeting.gather(workers, deadline)
    if missing:
        raise TimeoutError(
            f"{len(missing)} of the {len(workers)} workers in TF_CONFIG did not start within {timeout:g} s: {missing}. "
            "Start every worker with the same list and its own index. All of them must be able to reach the first."
        )
    return tf.distribute.MultiWorkerMirroredStrategy()
