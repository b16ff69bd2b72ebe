"""What the workers of a strategy tell each other before they train."""

from __future__ import annotations

import tensorflow as tf

# TensorFlow's errors where another worker has ended.
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)


def are_several(strategy: tf.distribute.Strategy) -> bool:
    """Tell whether there are other workers."""
    resolver = getattr(strategy, "cluster_resolver", None)
    return resolver is not None and bool(resolver.cluster_spec().jobs)


def is_first(strategy: tf.distribute.Strategy) -> bool:
    """Tell whether this is the first worker, which alone writes to what all share."""
    if not are_several(strategy):
        return True
    resolver = strategy.cluster_resolver
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return (resolver.task_type, resolver.task_id) == (first, 0)


def of_first(strategy: tf.distribute.Strategy, value: int) -> int:
    """Return the first worker's `value`, on every worker."""
    return _sum(strategy, value if is_first(strategy) else 0, once=True) if are_several(strategy) else value


def any_of(strategy: tf.distribute.Strategy, value: bool) -> bool:
    """Tell, on every worker, whether `value` is true on any."""
    return _sum(strategy, int(value), once=False) > 0 if are_several(strategy) else value


def _sum(strategy: tf.distribute.Strategy, value: int, *, once: bool) -> int:
    """Return the sum over all replicas; with `once`, over the first replica of the first worker alone."""

    @tf.function(autograph=False)
    def total() -> tf.Tensor:
        def share() -> tf.Tensor:
            replicas = tf.distribute.get_replica_context()
            mine = tf.constant(value, tf.int64)
            if once:
                mine = tf.where(tf.equal(replicas.replica_id_in_sync_group, 0), mine, 0)
            return replicas.all_reduce(tf.distribute.ReduceOp.SUM, mine)

        return strategy.experimental_local_results(strategy.run(share))[0]

    return int(total())
