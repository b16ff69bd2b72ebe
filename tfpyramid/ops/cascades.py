"""Cascades: each sample visits levels from coarse to fine, and stops at the first that is good enough."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from tfpyramid import _checks, _level_checks
from tfpyramid.ops import batches, partition
from tfpyramid.ops._operation import operation
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.routing import check_weights, pixel_costs


class Level(NamedTuple):
    """What a cascade computes at one level.

    Attributes:
        samples: computes a level that is finer than the images, from the images. None at the other levels.
        encode: features [n, ...] from the samples of the level.
        sure: True or False, [n], from the features [n, ...] and the query [n, ...], if there is one: whether a sample
            stops. None at the finest level, where each stops.
    """

    encode: Callable[[tf.Tensor], tf.Tensor]
    sure: Callable[..., tf.Tensor] | None
    samples: Callable[[tf.Tensor], tf.Tensor] | None = None


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


@operation
def cascade_costs(
    weights: tf.Tensor, costs: Sequence[float] | None = None, *, start: tf.Tensor | None = None
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
        costs = pixel_costs(count)
    else:
        costs = _level_checks.numbers("costs", costs, "the cost of each level", count=count)
    # Summed by parts: a sample that stops at level j visits the levels k >= j, without the k above its start level.
    work = working_dtype(weights.dtype)
    summed = tf.constant([sum(costs[k:]) for k in range(count + 1)], work)
    visited = tf.linalg.matvec(tf.cast(weights, work), summed[:-1])
    if start is not None:
        start = _checks.floating_tensor("start", start)
        check_weights(start.shape, count, "start")
        visited, start = batches.check({"weights": visited, "start": start})
        visited -= tf.linalg.matvec(tf.cast(start, work), summed[1:])
    return tf.cast(visited, weights.dtype)


def cascade(
    images: tf.Tensor,
    levels: Sequence[Level],
    descend: Sequence[partition.Stage],
    features: tf.TensorSpec,
    *,
    query: tf.Tensor | None = None,
    start: tf.Tensor | None = None,
    merge: Callable[[list[tf.Tensor]], tf.Tensor] | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the features of each sample from the level where it stops, and that level.

    Levels that no sample visits are not executed. Each level receives the samples that visit it as one batch.

    Args:
        images: [batch, ...].
        levels: what to compute at each level, finest first.
        descend: steps from the images to the next coarser level, and on to the coarsest.
        features: shape and dtype of the features; the batch, and the sides of maps, may be unknown.
        query: [batch, ...], or None.
        start: index of the level where each sample starts, [batch], int32; None means the coarsest.
        merge: features [n, ...] from those of the coarser levels and those of this level; None keeps the latter. It is
            not called for samples that start at the level.

    Returns:
        Features [batch, ...], and the level where the sample stopped, [batch], int32.
    """
    count = tf.shape(images)[0]
    sample_shape = features.shape[1:]
    visited = _levels_down(images, len(levels), descend, start)
    rest, previous = tf.range(0), partition.nothing(sample_shape, features.dtype)
    indices, parts = [], []
    for k in reversed(range(len(levels))):
        if start is not None:
            fresh = partition.where(start == k)
        else:
            fresh = tf.range(count) if k == len(levels) - 1 else tf.range(0)

        def visit(k=k, rest=rest, fresh=fresh, previous=previous):
            # Those that continue come first.
            index = tf.concat([rest, fresh], axis=0)
            level, position = visited[k]
            x = _taken(level, index if position is None else tf.gather(position, index), start is None)
            x = x if levels[k].samples is None else levels[k].samples(x)
            y = tf.cast(levels[k].encode(x), features.dtype)
            if merge is not None and k < len(levels) - 1:
                y = _merged(merge, previous, y, sample_shape, start is not None)
            if levels[k].sure is None:
                return index, y, tf.range(0), partition.nothing(sample_shape, features.dtype)
            sure = levels[k].sure(y, *(() if query is None else [_taken(query, index, start is None)]))
            stop, go_on = partition.where(sure), partition.where(~sure)
            return tf.gather(index, stop), partition.take(y, stop), tf.gather(index, go_on), partition.take(y, go_on)

        def skip():
            empty = partition.nothing(sample_shape, features.dtype)
            return tf.range(0), empty, tf.range(0), empty

        index, part, rest, previous = tf.cond(tf.size(rest) + tf.size(fresh) > 0, visit, skip)
        for tensor in (part, previous):
            tensor.set_shape([None, *sample_shape])
        indices.append(index)
        parts.append(part)
    stops = [tf.fill(tf.shape(index), k) for index, k in zip(indices, reversed(range(len(levels))))]
    return partition.restore(indices, parts, count), partition.restore(indices, stops, count)


def _levels_down(
    images: tf.Tensor, num_levels: int, descend: Sequence[partition.Stage], start: tf.Tensor | None
) -> list[tuple[tf.Tensor, tf.Tensor | None]]:
    """Return each level, and the position in it of each sample of the batch; None if it holds all samples."""
    visited = [(images, None)] * (num_levels - len(descend))
    level, kept = images, None
    for k, step in enumerate(descend, num_levels - len(descend)):
        if start is None:
            level = step(level)
            visited.append((level, None))
            continue
        needed = start >= k
        deeper = partition.where(needed if kept is None else tf.gather(needed, kept))
        kept = deeper if kept is None else tf.gather(kept, deeper)
        level = step(partition.take(level, deeper))
        visited.append((level, tf.cumsum(tf.cast(needed, tf.int32)) - 1))
    return visited


def _taken(samples: tf.Tensor, indices: tf.Tensor, increasing: bool) -> tf.Tensor:
    return partition.take(samples, indices) if increasing else tf.gather(samples, indices)


def _merged(
    merge: Callable, previous: tf.Tensor, y: tf.Tensor, sample_shape: Sequence[int | None], mixed: bool
) -> tf.Tensor:
    """Return the features merged with the previous ones; if `mixed`, those are of the first samples only."""
    if not mixed:
        return tf.cast(merge([previous, y]), y.dtype)
    count = tf.shape(previous)[0]
    merged = partition.Stage(lambda coarser, own: merge([coarser, own]), sample_shape)(previous, y[:count])
    return tf.concat([merged, y[count:]], axis=0)
