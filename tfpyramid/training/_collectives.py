"""Values that the workers of a strategy exchange before they train."""

from __future__ import annotations

import tensorflow as tf

# TensorFlow raises one of these errors if another worker has ended.
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)


def has_other_workers(strategy: tf.distribute.Strategy) -> bool:
    """Return whether the strategy has other workers."""
    resolver = getattr(strategy, "cluster_resolver", None)
    return resolver is not None and bool(resolver.cluster_spec().jobs)


def is_first(strategy: tf.distribute.Strategy) -> bool:
    """Return whether this is the first worker, the only one that may write to the shared folder."""
    if not has_other_workers(strategy):
        return True
    resolver = strategy.cluster_resolver
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return (resolver.task_type, resolver.task_id) == (first, 0)


def broadcast_from_first(strategy: tf.distribute.Strategy, value: int) -> int:
    """Return the `value` of the first worker, on every worker."""
    return _sum(strategy, value if is_first(strategy) else 0, once=True) if has_other_workers(strategy) else value


def any_worker(strategy: tf.distribute.Strategy, value: bool) -> bool:
    """Return, on every worker, whether `value` is true on any worker."""
    return _sum(strategy, int(value), once=False) > 0 if has_other_workers(strategy) else value


def _sum(strategy: tf.distribute.Strategy, value: int, *, once: bool) -> int:
    """Return the sum of `value` over all replicas; with `once`, only the first of all replicas contributes."""

    @tf.function(autograph=False)
    def total() -> tf.Tensor:
        def replica_sum() -> tf.Tensor:
            replicas = tf.distribute.get_replica_context()
            own_value = tf.constant(value, tf.int64)
            if once:
                own_value = tf.where(tf.equal(replicas.replica_id_in_sync_group, 0), own_value, 0)
            return replicas.all_reduce(tf.distribute.ReduceOp.SUM, own_value)

        return strategy.experimental_local_results(strategy.run(replica_sum))[0]

    return int(total())
