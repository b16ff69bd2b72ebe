"""Cascades: each sample visits levels from coarse to fine, and stops at the first that is good enough."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from tfpyramid.ops import batches, partition
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
        encode, *others = self
        return Level(partition.traced(encode), *(other and partition.traced(other) for other in others))


def merged_levels(
    features: Sequence[tf.Tensor],
    merge: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None,
    start: tf.Tensor | None = None,
) -> list[tf.Tensor]:
    """Return the features of each level, merged with those of the coarser levels that a sample visits.

    Args:
        features: tensors [batch, ...], one for each level.
        merge: features from those of the coarser levels and those of a level; None returns the features unchanged.
        start: index of the level where each sample starts, [batch], int32; None means the coarsest.
    """
    if merge is None:
        return list(features)
    merged = list(features[-1:])
    for k in reversed(range(len(features) - 1)):
        own = features[k]
        y = _merged(merge, merged[0], own)
        if start is not None:
            y = tf.where(tf.reshape(start == k, [-1] + [1] * (own.shape.rank - 1)), own, y)
        merged.insert(0, y)
    return merged


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
    if partition.holds_one_and_many(count):  # The graph holds each function once, for one and for many.
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

    def nobody() -> tuple[tf.Tensor, tf.Tensor]:
        # Made anew in each branch: second derivatives of TensorFlow mix up the shapes of an empty tensor from outside.
        return tf.range(0), partition.nothing(features.shape[1:], features.dtype)

    rest, previous = nobody()
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
                    return index, y, *nobody()
                sure = level.sure(y, *([] if query is None else [_taken(query, index, start is None)]))
            stop, go_on = partition.where(sure), partition.where(~sure)
            return tf.gather(index, stop), partition.take(y, stop), tf.gather(index, go_on), partition.take(y, go_on)

        index, part, rest, previous = tf.cond(tf.size(index) > 0, visit, lambda: (*nobody(), *nobody()))
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
