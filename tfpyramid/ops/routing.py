"""Selection of a level for each sample: the cost of levels, weighted sums, and routing to one encoder."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.ops import batches, partition, portable
from tfpyramid.ops._operation import operation
from tfpyramid.ops.pyramid import check_upsampled_levels
from tfpyramid.ops.shapes import dimension, dimensions


@operation
def pixel_costs(num_levels: int, scale_factor: float = 2.0, upsampled_levels: int = 0) -> np.ndarray:
    """Return the relative cost of each level of a pyramid: its number of pixels, divided by that of the images.

    Equation:
        `cost[k] = scale_factor^(2 (upsampled_levels - k))`.

    Args:
        num_levels: length of the pyramid, from 1 to 64.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024.
        upsampled_levels: number of levels that are finer than the images, less than `num_levels`.

    Returns:
        [num_levels], float64, finest first. It is 1 at level `upsampled_levels`, which is the images.

    Raises:
        ValueError: if an argument breaks a rule above.
    """
    scale_factor, num_levels = _checks.scale_factor(scale_factor), _checks.num_levels(num_levels)
    finer = check_upsampled_levels(upsampled_levels, num_levels, scale_factor)
    return scale_factor ** (2.0 * (finer - np.arange(num_levels)))


def weighted_sum(features: Sequence[tf.Tensor], weights: tf.Tensor) -> tf.Tensor:
    """Return a weighted sum of features, with separate weights for each sample.

    Equation:
        `y[b] = sum_k weights[b, k] features[k][b]`.

    Convention:
        A feature of weight 0 is ignored, even if it holds NaN or infinity. The gradient of the weights depends on every
        feature.

    Args:
        features: tensors [batch, ...] with the same shape and floating dtype.
        weights: [batch, len(features)] of the same batch size, floating point; they are cast to the dtype of the
            features.

    Returns:
        [batch, ...].

    Raises:
        ValueError: if the numbers of features and weights differ, or batch sizes do.
        tf.errors.InvalidArgumentError: when the graph runs, if batch sizes unknown until then differ.
    """
    features, weights = [tf.convert_to_tensor(feature) for feature in features], tf.convert_to_tensor(weights)
    check_weights(weights.shape, len(features))
    *features, weights = batches.check({**batches.named("features", features), "weights": weights})
    return summed(features, weights)


def summed(features: Sequence[tf.Tensor], weights: tf.Tensor) -> tf.Tensor:
    """Return `weighted_sum` of tensors that fit."""
    first = features[0]
    weights, rank = tf.cast(weights, first.dtype), first.shape.rank
    columns = [tf.reshape(column, [-1] + [1] * (rank - 1)) for column in tf.unstack(weights, len(features), axis=1)]
    return tf.add_n([portable.multiply_no_nan(feature, column) for column, feature in zip(columns, features)])


def route(levels: Sequence[tf.Tensor], weights: tf.Tensor, encoders: Sequence[partition.Stage]) -> tf.Tensor:
    """Return the features of each sample, computed only by the encoder of the level with the largest weight.

    Equation:
        `y[b] = encoders[m](levels[m][b])`, `m = argmax_k weights[b, k]`, the first of equal weights.

    Convention:
        Each encoder receives its samples in one batch, and does not run if there are none. Weights get no gradient. A
        NaN among the weights of a sample makes its features NaN.

    Args:
        levels: tensors [batch, ...], one for each encoder.
        weights: floating tensor [batch, len(encoders)], of the same batch size.
        encoders: functions from [n, ...] to [n, ...], all with the same sample shape.

    Returns:
        [batch, ...].

    Raises:
        ValueError: if the numbers of levels, encoders and weights differ, or batch sizes do.
        tf.errors.InvalidArgumentError: when the graph runs, if batch sizes unknown until then differ.
    """
    if len(levels) != len(encoders):
        raise ValueError(
            f"`levels` must have one level for each encoder, {len(encoders)}. Received: {len(levels)} levels"
        )
    weights = _checked(weights, len(encoders))
    *levels, weights = batches.check({**batches.named("levels", levels), "weights": weights})
    choice, count = choice_of(weights), dimension(weights, 0)
    encoders = _shared(encoders, count)

    def one(k: int = 0) -> tf.Tensor:
        if k == len(encoders) - 1:
            return encoders[k].run(levels[k])
        return tf.cond(choice[0] == k, lambda: encoders[k].run(levels[k]), lambda: one(k + 1))

    def many() -> tf.Tensor:
        indices = [partition.where(choice == k) for k in range(len(encoders))]
        parts = [encode.of(level, index) for encode, level, index in zip(encoders, levels, indices)]
        return partition.restore(indices, parts, count)

    return _with_nan(partition.of_one_or_many(count, one, many), weights)


def route_down(
    images: tf.Tensor, weights: tf.Tensor, encoders: Sequence[partition.Stage], descend: Sequence[partition.Stage]
) -> tf.Tensor:
    """Return what `route` returns for the levels of a pyramid, and compute only the levels that are needed.

    Equation:
        As in `route`, with `levels[0] = images`, `levels[k + 1] = descend[k](levels[k])`.

    Convention:
        As in `route`. Level k + 1 is computed only for the samples that use level k + 1 or a coarser one.

    Args:
        images: tensor [batch, ...], the finest level.
        weights: floating tensor [batch, len(encoders)], of the same batch size.
        encoders: functions from [n, ...] to [n, ...], all with the same sample shape.
        descend: functions from each level to the next, one fewer than the encoders.

    Returns:
        [batch, ...].

    Raises:
        ValueError: if the numbers of levels, encoders and weights differ, or batch sizes do.
        tf.errors.InvalidArgumentError: when the graph runs, if batch sizes unknown until then differ.
    """
    if len(descend) != len(encoders) - 1:
        rule = f"`descend` must have one step fewer than there are encoders, {len(encoders) - 1}."
        raise ValueError(f"{rule} Received: {len(descend)} steps")
    weights = _checked(weights, len(encoders))
    images, weights = batches.check({"images": images, "weights": weights})
    choice, count = choice_of(weights), dimension(weights, 0)
    encoders, descend = _shared(encoders, count), _shared(descend, count)

    def one(level: tf.Tensor = images, k: int = 0) -> tf.Tensor:
        if k == len(encoders) - 1:
            return encoders[k].run(level)
        return tf.cond(choice[0] == k, lambda: encoders[k].run(level), lambda: one(descend[k].run(level), k + 1))

    def many() -> tf.Tensor:
        remaining, level = tf.range(count), images
        indices, parts = [], []
        for k, encode in enumerate(encoders):
            if k > 0:
                deeper = partition.where(tf.gather(choice, remaining) >= k)
                remaining, level = tf.gather(remaining, deeper), descend[k - 1].of(level, deeper)
            chosen = partition.where(tf.gather(choice, remaining) == k)
            indices.append(tf.gather(remaining, chosen))
            parts.append(encode.of(level, chosen))
        return partition.restore(indices, parts, count)

    return _with_nan(partition.of_one_or_many(count, one, many), weights)


def repeated(samples: tf.Tensor, count: int | tf.Tensor, rule: str) -> tf.Tensor:
    """Return `count` samples: equally many copies of each, one sample after the other.

    Equation:
        `y[i] = samples[i // n]`, with `n = count / batch`, a whole number.

    Args:
        samples: tensor [batch, ...]. An empty batch has 0 copies.
        count: the number of samples to return, an int or a scalar tensor.
        rule: message of the error if `count` is not a multiple of the batch.

    Returns:
        [count, ...]. Nothing is copied if `count` is the batch size.

    Raises:
        ValueError: if `count` is not a multiple of the batch.
        tf.errors.InvalidArgumentError: when the graph runs, if that is only known then.
    """
    batch = dimensions(samples)[0]
    known = not tf.is_tensor(batch) and not tf.is_tensor(count)
    each = count // (max(batch, 1) if known else tf.maximum(batch, 1))
    if known and each * batch != count:
        raise ValueError(f"{rule} Received: {count} for a batch of {batch}")
    received = "Received: the number of samples to return, then the largest multiple of the batch that is not above it,"
    (samples,) = batches.assert_equal(f"{rule} {received}", [samples], [count], [each * batch])
    if known and each == 1:
        return samples
    y = partition.take(samples, tf.range(count) // (max(each, 1) if known else tf.maximum(each, 1)))
    y.set_shape([None if tf.is_tensor(count) else count, *samples.shape[1:]])
    return y


def check_weights(shape: Sequence[int | None], num_levels: int, name: str = "weights") -> None:
    """Raise `ValueError` unless this is the shape of one weight for each sample and level."""
    if len(shape) != 2 or shape[1] != num_levels:
        raise ValueError(
            f"`{name}` must be [batch, {num_levels}], one for each sample and level. "
            f"Received: {name} of shape {tuple(shape)}"
        )


def _checked(weights: tf.Tensor, num_levels: int) -> tf.Tensor:
    weights = tf.convert_to_tensor(weights)
    check_weights(weights.shape, num_levels)
    return weights


def choice_of(weights: tf.Tensor) -> tf.Tensor:
    return tf.argmax(weights, axis=1, output_type=tf.int32)


def _shared(stages: Sequence[partition.Stage], count: int | tf.Tensor) -> Sequence[partition.Stage]:
    """Return stages that a graph holds once, though it calls them for one sample and for many."""
    return [stage.traced() for stage in stages] if partition.holds_one_and_many(count) else stages


def _with_nan(features: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Return the features, those of samples with a NaN weight replaced by NaN."""
    features.set_shape([weights.shape[0], *features.shape[1:]])
    return features + nan_rows(weights, features)


def nan_rows(weights: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
    """Return 0 for each sample, or NaN if one of its weights is NaN, to be added to features [batch, ...]."""
    rows = tf.stop_gradient(tf.reduce_sum(0 * weights, axis=1))
    return tf.reshape(tf.cast(rows, features.dtype), [-1] + [1] * (features.shape.rank - 1))
