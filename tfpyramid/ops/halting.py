"""Where samples of a cascade stop: probabilities, one-hot weights, and what the visited levels cost."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfpyramid import _checks, _level_checks
from tfpyramid.ops import batches, routing
from tfpyramid.ops._operation import operation
from tfpyramid.ops.dtypes import working_dtype


def halting_weights(halting: tf.Tensor, start: tf.Tensor | None = None) -> tf.Tensor:
    """Return the probability that a sample stops at each level.

    Equation:
        `w[k] = r[k] h[k]`, `r[k] = start[k] + r[k + 1] (1 - h[k + 1])`: r is the probability that the sample visits
        level k, and h that it stops if it does, with h = 1 at the finest level. `start` is 1 at the coarsest level if
        it is None.

    Args:
        halting: h of the levels 1, 2, ..., [batch, levels - 1], floating point, from 0 to 1.
        start: the probability that the sample starts at each level, [batch, levels], or None.

    Returns:
        [batch, levels], of the dtype of `halting`. Rows sum to 1 if those of `start` do.
    """
    halting = tf.convert_to_tensor(halting)
    of_levels = tf.unstack(halting, axis=1)
    starts = [0.0] * len(of_levels) + [tf.ones_like(halting[:, 0])]
    if start is not None:
        starts = tf.unstack(tf.cast(start, halting.dtype), len(starts), axis=1)
    reach, weights = starts[-1], []
    for h, begun in zip(reversed(of_levels), reversed(starts[:-1])):
        weights.append(reach * h)
        reach = begun + reach * (1 - h)
    return tf.stack([*weights, reach][::-1], axis=1)


def stopping_weights(stops: tf.Tensor, start: tf.Tensor | None, dtype: tf.DType) -> tf.Tensor:
    """Return one-hot weights at the level where each sample stops.

    Args:
        stops: whether a sample stops at the levels 1, 2, ..., [batch, levels - 1], if it visits them.
        start: [batch, levels]; a sample starts at the level with the largest weight. None means the coarsest.
        dtype: that of the weights.

    Returns:
        [batch, levels]. A NaN among `start` makes the row NaN.
    """
    if start is not None:
        start = tf.cast(start, dtype)
        one_hot = tf.one_hot(routing.choice_of(start), stops.shape[1] + 1, dtype=dtype)
        start = one_hot + routing.nan_rows(start, one_hot)
    return halting_weights(tf.cast(stops, dtype), start)


@operation
def cascade_costs(
    weights: tf.Tensor, costs: Sequence[float] | np.ndarray | None = None, *, start: tf.Tensor | None = None
) -> tf.Tensor:
    """Return the cost of each sample of a `LevelCascade`: the sum of the costs of all levels that it visited.

    Equation:
        `y[b] = sum_k visits[b, k] costs[k]`, `visits[b, k] = sum_(j <= k) weights[b, j] - sum_(m < k) start[b, m]`. A
        sample visits the levels from its start level to the finer one where it stops.

    Convention:
        The unit is that of `costs`. The default is relative to the finest level. For a pyramid with upsampled levels,
        `pixel_costs(num_levels, scale_factor, upsampled_levels)` is relative to the images.

    Args:
        weights: [batch, levels], floating point, finest first: one-hot at the level where a sample stopped, or the
            probabilities that it stops at each level.
        costs: the cost of each level, from 0 to 1e30. None means `pixel_costs(levels)`.
        start: [batch, levels], one-hot at the level where a sample started, or probabilities. None means the coarsest.

    Returns:
        [batch], of the dtype of `weights`.

    Raises:
        ValueError: if an argument breaks a rule above.
        tf.errors.InvalidArgumentError: when the graph runs, if batch sizes unknown until then differ.

    References:
        Teerapittayanon, McDanel and Kung, BranchyNet: Fast Inference via Early Exiting from Deep Neural Networks, 2016.
    """
    weights = _checks.floating_tensor("weights", weights)
    if weights.shape.rank != 2 or not weights.shape[1]:
        rule = "`weights` must be [batch, levels], with a known number of levels."
        raise ValueError(f"{rule} Received: weights of shape {weights.shape}")
    count = weights.shape[1]
    if costs is None:
        costs = list(routing.pixel_costs(count))
    else:
        costs = list(_level_checks.numbers("costs", costs, "the cost of each level", count=count))
    # Summed by parts: a sample that stops at level j visits the levels k >= j, without the k above its start level.
    work = working_dtype(weights.dtype)
    summed = tf.constant([sum(costs[k:]) for k in range(count + 1)], work)
    visited = tf.linalg.matvec(tf.cast(weights, work), summed[:-1])
    if start is not None:
        start = _checks.floating_tensor("start", start)
        routing.check_weights(start.shape, count, "start")
        visited, start = batches.check({"weights": visited, "start": start})
        visited -= tf.linalg.matvec(tf.cast(start, work), summed[1:])
    return tf.cast(visited, weights.dtype)
