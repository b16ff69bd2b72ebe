"""Cascades: each sample visits levels from coarse to fine, and stops at the first that is good enough."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from tfpyramid import _checks, _level_checks
from tfpyramid.ops import batches, partition, portable
from tfpyramid.ops._operation import operation
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.routing import check_weights, pixel_costs
from tfpyramid.ops.shapes import dimension


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

    def features(self, samples: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """Return the features of samples of the level, or of the images if that is finer."""
        return tf.cast(self.encode(samples if self.samples is None else self.samples(samples)), dtype)

    def traced(self) -> "Level":
        """Return a level with the same results; all calls of its functions in a graph share one traced function."""
        return Level(*(function and partition.traced(function) for function in self))


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
    merge: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
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
    count = dimension(images, 0)
    if tf.is_tensor(count) and not portable.is_portable():  # The graph holds each function once, for one and for many.
        levels, descend = [level.traced() for level in levels], [step.traced() for step in descend]
        merge = merge and partition.traced(merge)
    given = images, levels, descend, features, query, start, merge
    y, stop = partition.of_one_or_many(count, lambda: _of_one(*given), lambda: _of_many(count, *given))
    y.set_shape([images.shape[0], *features.shape[1:]])
    stop.set_shape(images.shape[:1])
    return y, stop


def _of_one(
    images: tf.Tensor,
    levels: Sequence[Level],
    descend: Sequence[partition.Stage],
    features: tf.TensorSpec,
    query: tf.Tensor | None,
    start: tf.Tensor | None,
    merge: Callable | None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the features and the level of a batch of one sample, without a partition."""
    coarsest = len(levels) - 1
    samples = [images] * (len(levels) - len(descend))
    for k, step in enumerate(descend, len(samples)):
        if start is None:
            samples.append(step.run(samples[-1]))
        else:
            samples.append(step.if_any(start[0] >= k, samples[-1]))
    state = partition.nothing(features.shape[1:], features.dtype), tf.constant([coarsest]), tf.constant(False)
    for k in reversed(range(len(levels))):
        level, (previous, _, goes_on) = levels[k], state
        begins = k == coarsest if start is None else start[0] == k

        def visit() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            with batches.never_empty():
                y = level.features(samples[k], features.dtype)
                if merge is not None and k < coarsest:
                    merged = functools.partial(_merged, merge, previous, y)
                    y = merged() if start is None else tf.cond(begins, lambda: y, merged)
                sure = level.sure(y, *([] if query is None else [query]))[0] if level.sure else tf.constant(True)
            y.set_shape([None, *features.shape[1:]])
            return y, tf.constant([k]), ~sure

        state = visit() if begins is True else tf.cond(begins | goes_on, visit, lambda: state)
    return state[:2]


def _of_many(
    count: int | tf.Tensor,
    images: tf.Tensor,
    levels: Sequence[Level],
    descend: Sequence[partition.Stage],
    features: tf.TensorSpec,
    query: tf.Tensor | None,
    start: tf.Tensor | None,
    merge: Callable | None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the features and the level of each sample; each level is computed for the samples that visit it."""
    coarsest = len(levels) - 1
    samples, positions = _levels_down(images, len(levels), descend, start)
    nobody = tf.range(0), partition.nothing(features.shape[1:], features.dtype)
    rest, previous = nobody
    indices, parts = [], []
    for k in reversed(range(len(levels))):
        level = levels[k]
        if start is not None:
            index = tf.concat([rest, partition.where(start == k)], axis=0)  # Those that go on come first.
        else:
            index = tf.range(count) if k == coarsest else rest

        def visit() -> tuple[tf.Tensor, ...]:
            with batches.never_empty():
                position = index if positions[k] is None else tf.gather(positions[k], index)
                y = level.features(_taken(samples[k], position, start is None), features.dtype)
                if merge is not None and k < coarsest:
                    y = _merged_first(merge, previous, y) if start is not None else _merged(merge, previous, y)
                if level.sure is None:
                    return index, y, *nobody
                sure = level.sure(y, *([] if query is None else [_taken(query, index, start is None)]))
            stop, go_on = partition.where(sure), partition.where(~sure)
            return tf.gather(index, stop), partition.take(y, stop), tf.gather(index, go_on), partition.take(y, go_on)

        index, part, rest, previous = tf.cond(tf.size(index) > 0, visit, lambda: (*nobody, *nobody))
        for tensor in (part, previous):
            tensor.set_shape([None, *features.shape[1:]])
        indices.append(index)
        parts.append(part)
    stops = [tf.fill(tf.shape(index), k) for index, k in zip(indices, reversed(range(len(levels))))]
    return partition.restore(indices, parts, count), partition.restore(indices, stops, count)


def _levels_down(
    images: tf.Tensor, num_levels: int, descend: Sequence[partition.Stage], start: tf.Tensor | None
) -> tuple[list[tf.Tensor], list[tf.Tensor | None]]:
    """Return each level, and the position in it of each sample of the batch; None if it holds all samples.

    A level that is finer than the images is the images here.
    """
    finer = num_levels - len(descend)
    samples: list[tf.Tensor] = [images] * finer
    positions: list[tf.Tensor | None] = [None] * finer
    kept = None
    for k, step in enumerate(descend, finer):
        if start is None:
            samples.append(step(samples[-1]))
            positions.append(None)
            continue
        needed = start >= k
        deeper = partition.where(needed if kept is None else tf.gather(needed, kept))
        kept = deeper if kept is None else tf.gather(kept, deeper)
        samples.append(step.of(samples[-1], deeper))
        positions.append(tf.cumsum(tf.cast(needed, tf.int32)) - 1)
    return samples, positions


def _taken(samples: tf.Tensor, indices: tf.Tensor, increasing: bool) -> tf.Tensor:
    return partition.take(samples, indices) if increasing else tf.gather(samples, indices)


def _merged(merge: Callable, previous: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    return tf.cast(merge(previous, y), y.dtype)


def _merged_first(merge: Callable, previous: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Return the features, the first of which are merged with the previous ones; there may be none of these."""
    count = tf.shape(previous)[0]
    merged = partition.Stage(merge, y.shape[1:])(previous, y[:count])
    return tf.concat([merged, y[count:]], axis=0)
