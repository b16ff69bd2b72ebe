"""Which level a sample is read at: what levels cost, weighted sums of them, and one encoder for each sample."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.ops import batches, custom_gradients, portable
from tfpyramid.ops._operation import operation
from tfpyramid.ops.shapes import dimensions


class Stage(NamedTuple):
    """A function of samples [n, ...] to [n, *sample_shape], in `dtype` or else in that of the samples.

    An empty batch skips the function and returns zeros; unknown sizes of the sample shape become 1.
    """

    function: Callable[[tf.Tensor], tf.Tensor]
    sample_shape: Sequence[int | None]
    dtype: tf.DType | None = None

    def __call__(self, samples: tf.Tensor) -> tf.Tensor:
        nothing = [0, *(1 if n is None else n for n in self.sample_shape)]
        dtype = self.dtype or samples.dtype
        result = tf.cond(
            tf.shape(samples)[0] > 0,
            lambda: tf.cast(self.function(samples), dtype),
            lambda: tf.zeros(nothing, dtype),
        )
        result.set_shape([None, *self.sample_shape])
        return result


@operation
def pixel_costs(num_levels: int, scale_factor: float = 2.0) -> np.ndarray:
    """Return what reading each level of a pyramid costs, in pixels, relative to the finest.

    Equation:
        `cost[k] = scale_factor^(-2 k)`.

    Args:
        num_levels: length of the pyramid, from 1 to 64.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024.

    Returns:
        [num_levels], float64, 1 first.

    Raises:
        ValueError: if an argument breaks a rule above.
    """
    return _checks.scale_factor(scale_factor) ** (-2.0 * np.arange(_checks.num_levels(num_levels)))


def weighted_sum(features: Sequence[tf.Tensor], weights: tf.Tensor) -> tf.Tensor:
    """Sum features, each sample with weights of its own.

    Equation:
        `y[b] = sum_k weights[b, k] features[k][b]`.

    Convention:
        A feature of weight 0 is not read: its NaN and infinities do not reach the sum. The gradient of the weights
        reads every feature.

    Args:
        features: tensors [batch, ...] of one shape and floating dtype.
        weights: [batch, len(features)] of the same batch size, floating point; they are cast to the dtype of the
            features.

    Returns:
        [batch, ...].

    Raises:
        ValueError: if there are not as many features as weights, or batch sizes differ.
        tf.errors.InvalidArgumentError: if only the graph, when it runs, can see that batch sizes differ.
    """
    features, weights = [tf.convert_to_tensor(feature) for feature in features], tf.convert_to_tensor(weights)
    check_weights(weights.shape, len(features))
    *features, weights = batches.check({**batches.named("features", features), "weights": weights})
    first = features[0]
    weights, rank = tf.cast(weights, first.dtype), first.shape.rank
    columns = [tf.reshape(column, [-1] + [1] * (rank - 1)) for column in tf.unstack(weights, len(features), axis=1)]
    return tf.add_n([portable.multiply_no_nan(feature, column) for column, feature in zip(columns, features)])


def route(levels: Sequence[tf.Tensor], weights: tf.Tensor, encoders: Sequence[Stage]) -> tf.Tensor:
    """Give each sample to the encoder of its level, and to no other.

    Equation:
        `y[b] = encoders[m](levels[m][b])`, `m = argmax_k weights[b, k]`, the first of equal weights.

    Convention:
        Each encoder gets its samples in one batch, and is not executed where there are none. Weights get no gradient;
        NaN among a sample's weights makes its features NaN.

    Args:
        levels: tensors [batch, ...], one for each encoder.
        weights: floating tensor [batch, len(encoders)], of the same batch size.
        encoders: from [n, ...] to [n, ...], of one shape of a sample.

    Returns:
        [batch, ...].

    Raises:
        ValueError: if there are not as many levels, encoders and weights, or batch sizes differ.
        tf.errors.InvalidArgumentError: if only the graph, when it runs, can see that batch sizes differ.
    """
    if len(levels) != len(encoders):
        raise ValueError(f"`levels` must be as many as the encoders, {len(encoders)}. Received: {len(levels)} levels")
    weights = _checked(weights, len(encoders))
    *levels, weights = batches.check({**batches.named("levels", levels), "weights": weights})
    choice = _choice(weights)
    indices = [_where(choice == k) for k in range(len(encoders))]
    parts = [encode(_take(level, index)) for encode, level, index in zip(encoders, levels, indices)]
    return _merge(indices, parts, weights)


def route_down(images: tf.Tensor, weights: tf.Tensor, encoders: Sequence[Stage], descend: Sequence[Stage]) -> tf.Tensor:
    """Do what `route` does with the levels of a pyramid, and make of those only what is read.

    Equation:
        As in `route`, with `levels[0] = images`, `levels[k + 1] = descend[k](levels[k])`.

    Convention:
        As in `route`; level k + 1 is made of those samples only that are read at level k + 1 or deeper.

    Args:
        images: tensor [batch, ...], the finest level.
        weights: floating tensor [batch, len(encoders)], of the same batch size.
        encoders: from [n, ...] to [n, ...], of one shape of a sample.
        descend: from each level to the next, one fewer than the encoders.

    Returns:
        [batch, ...].

    Raises:
        ValueError: if there are not as many levels, encoders and weights, or batch sizes differ.
        tf.errors.InvalidArgumentError: if only the graph, when it runs, can see that batch sizes differ.
    """
    if len(descend) != len(encoders) - 1:
        raise ValueError(
            f"`descend` must be one step fewer than the encoders, {len(encoders) - 1}. Received: {len(descend)} steps"
        )
    weights = _checked(weights, len(encoders))
    images, weights = batches.check({"images": images, "weights": weights})
    choice = _choice(weights)
    remaining, level = tf.range(tf.shape(choice)[0]), images
    indices, parts = [], []
    for k, encode in enumerate(encoders):
        if k > 0:
            deeper = _where(tf.gather(choice, remaining) >= k)
            remaining, level = tf.gather(remaining, deeper), descend[k - 1](_take(level, deeper))
        chosen = _where(tf.gather(choice, remaining) == k)
        indices.append(tf.gather(remaining, chosen))
        parts.append(encode(_take(level, chosen)))
    return _merge(indices, parts, weights)


def repeated(samples: tf.Tensor, count: int | tf.Tensor, rule: str) -> tf.Tensor:
    """Return `count` samples, each as often as the others, the copies of one in a row.

    Equation:
        `y[i] = samples[i // n]`, with `n = count / batch`, a whole number.

    Args:
        samples: tensor [batch, ...]; a batch of 0 has 0 copies.
        count: how many to return, an int or a scalar tensor.
        rule: what an error says if `count` is no multiple of the batch.

    Returns:
        [count, ...]. Nothing is copied where `count` is the batch.

    Raises:
        ValueError: if `count` is no multiple of the batch.
        tf.errors.InvalidArgumentError: if only the graph, when it runs, can see that.
    """
    batch = dimensions(samples)[0]
    known = not tf.is_tensor(batch) and not tf.is_tensor(count)
    each = count // (max(batch, 1) if known else tf.maximum(batch, 1))
    if known and each * batch != count:
        raise ValueError(f"{rule} Received: {count} for a batch of {batch}")
    received = "Received: how many, then the multiple of the batch below it,"
    (samples,) = batches.assert_equal(f"{rule} {received}", [samples], [count], [each * batch])
    if known and each == 1:
        return samples
    y = _take(samples, tf.range(count) // (max(each, 1) if known else tf.maximum(each, 1)))
    y.set_shape([None if tf.is_tensor(count) else count, *samples.shape[1:]])
    return y


def check_weights(shape: Sequence[int | None], num_levels: int) -> None:
    """Raise unless weights of this shape are one for each sample and level."""
    if len(shape) != 2 or shape[1] != num_levels:
        raise ValueError(
            f"`weights` must be [batch, {num_levels}], one for each sample and level. "
            f"Received: weights of shape {tuple(shape)}"
        )


def _checked(weights: tf.Tensor, num_levels: int) -> tf.Tensor:
    weights = tf.convert_to_tensor(weights)
    check_weights(weights.shape, num_levels)
    return weights


def _choice(weights: tf.Tensor) -> tf.Tensor:
    return tf.argmax(weights, axis=1, output_type=tf.int32)


def _where(condition: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.where(condition)[:, 0], tf.int32)


def _take(samples: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """Return `tf.gather` at increasing indices; its gradient is a tensor, not IndexedSlices."""
    return custom_gradients.call(_gather, samples, indices)


@tf.custom_gradient
def _gather(samples: tf.Tensor, indices: tf.Tensor) -> tuple:
    def grad(upstream: tf.Tensor) -> tuple:
        return tf.scatter_nd(indices[:, None], upstream, tf.shape(samples)), None

    # Where all are taken, as all images are where none is read at the finest level, there is nothing to copy.
    all_of_them = tf.shape(indices)[0] == tf.shape(samples)[0]
    taken = tf.cond(all_of_them, lambda: tf.identity(samples), lambda: tf.gather(samples, indices))
    return taken, grad


def _merge(indices: list[tf.Tensor], parts: list[tf.Tensor], weights: tf.Tensor) -> tf.Tensor:
    """Return the features of all samples in their order, NaN where a weight is."""
    nan_rows = tf.stop_gradient(tf.reduce_sum(0 * weights, axis=1))
    shape = tf.concat([tf.shape(nan_rows), tf.shape(parts[0])[1:]], axis=0)
    features = tf.add_n([tf.scatter_nd(index[:, None], part, shape) for index, part in zip(indices, parts)])
    return features + tf.reshape(tf.cast(nan_rows, features.dtype), [-1] + [1] * (features.shape.rank - 1))
