"""Partition of a batch: functions that run on some of its samples, and the results in the order of the batch."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tfpyramid.ops import batches, custom_gradients, portable


class Stage(NamedTuple):
    """A function from samples [n, ...] to [n, *sample_shape], in `dtype` or, if that is None, the dtype of the samples.

    An empty batch skips the function and returns zeros; unknown dimensions of the sample shape become 1.
    """

    function: Callable[..., tf.Tensor]
    sample_shape: Sequence[int | None]
    dtype: tf.DType | None = None

    def __call__(self, samples: tf.Tensor, *others: tf.Tensor) -> tf.Tensor:
        return self.if_any(tf.shape(samples)[0] > 0, samples, lambda: self.run(samples, *others))

    def of(self, samples: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
        """Return the results for the samples at increasing indices."""
        return self.if_any(tf.size(indices) > 0, samples, lambda: self.run(take(samples, indices)))

    def run(self, samples: tf.Tensor, *others: tf.Tensor) -> tf.Tensor:
        """Return the results for at least one sample."""
        with batches.never_empty():
            result = tf.cast(self.function(samples, *others), self.dtype or samples.dtype)
        result.set_shape([samples.shape[0], *self.sample_shape])
        return result

    def traced(self) -> "Stage":
        """Return a stage with the same results; all its calls in a graph share one traced function."""
        return self._replace(function=traced(self.function))

    def if_any(self, condition: tf.Tensor, samples: tf.Tensor, run: Callable[[], tf.Tensor] | None = None) -> tf.Tensor:
        """Return the results for the samples, or `run()`, if the condition is true, else no results."""
        run = run or (lambda: self.run(samples))
        result = tf.cond(condition, run, lambda: nothing(self.sample_shape, self.dtype or samples.dtype))
        result.set_shape([None, *self.sample_shape])
        return result


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function; all its calls in a graph share one traced function for batches of any size."""
    made: dict[tuple, Callable] = {}

    def run(*tensors: tf.Tensor) -> Any:
        specs = tuple(tf.TensorSpec([None, *x.shape[1:]], x.dtype) for x in tensors)
        if specs not in made:
            made[specs] = tf.function(function, specs, autograph=False)
        return made[specs](*tensors)

    return run


def holds_one_and_many(count: int | tf.Tensor) -> bool:
    """Return whether a graph holds what is done for a batch of one sample, and what is done for any other."""
    return tf.is_tensor(count) and not portable.is_portable()


def of_one_or_many(count: int | tf.Tensor, one: Callable[[], Any], many: Callable[[], Any]) -> Any:
    """Return `one()` for a batch of one sample, which needs no partition, and `many()` for any other.

    Graphs for other runtimes hold `many` only, if the size of the batch is not known.
    """
    if not tf.is_tensor(count):
        return one() if count == 1 else many()
    return tf.cond(tf.equal(count, 1), one, many) if holds_one_and_many(count) else many()


def nothing(sample_shape: Sequence[int | None], dtype: tf.DType) -> tf.Tensor:
    """Return no samples; unknown dimensions become 1."""
    return tf.zeros([0, *(1 if n is None else n for n in sample_shape)], dtype)


def where(condition: tf.Tensor) -> tf.Tensor:
    """Return the indices at which a vector is True."""
    return tf.cast(tf.where(condition)[:, 0], tf.int32)


def take(samples: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """Return `tf.gather` for increasing indices; its gradient is a tensor instead of `tf.IndexedSlices`."""
    return custom_gradients.call(_gather, samples, indices)


@tf.custom_gradient
def _gather(samples: tf.Tensor, indices: tf.Tensor) -> tuple:
    def grad(upstream: tf.Tensor) -> tuple:
        return tf.scatter_nd(indices[:, None], upstream, tf.shape(samples)), None

    # If every sample is taken, nothing needs to be copied: for example, all images, if none uses the finest level.
    all_of_them = tf.shape(indices)[0] == tf.shape(samples)[0]
    taken = tf.cond(all_of_them, lambda: tf.identity(samples), lambda: tf.gather(samples, indices))
    return taken, grad


def _one_shape(parts: list[tf.Tensor]) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Return parts [n, ...] and the shape of their samples, which all must have. Parts without samples are reshaped."""
    if all(part.shape[1:].is_fully_defined() for part in parts):
        return parts, tf.shape(parts[0])[1:]
    shapes = [tf.shape(part) for part in parts]
    sample = tf.reduce_max(tf.stack(shapes)[:, 1:], axis=0)  # The sizes that are unknown in an empty part are 1.
    if not portable.is_portable():
        same = [(shape[0] == 0) | tf.reduce_all(shape[1:] == sample) for shape in shapes]
        rule = "`encoders` must all return maps of one size. Received: the largest sides, then those of each encoder,"
        assertion = tf.debugging.Assert(tf.reduce_all(tf.stack(same)), [rule, sample, tf.stack(shapes)[:, 1:]])
        with tf.control_dependencies([assertion] if assertion is not None else []):
            sample = tf.identity(sample)
    reshaped = [tf.reshape(part, tf.concat([shape[:1], sample], 0)) for part, shape in zip(parts, shapes)]
    for before, after in zip(parts, reshaped):
        after.set_shape(before.shape)
    return reshaped, sample


def restore(indices: list[tf.Tensor], parts: list[tf.Tensor], batch: int | tf.Tensor) -> tf.Tensor:
    """Return the samples of all parts, each at its index in the batch."""
    parts, sample = _one_shape(parts)
    restored = tf.scatter_nd(
        tf.concat(indices, axis=0)[:, None], tf.concat(parts, axis=0), tf.concat([[batch], sample], axis=0)
    )
    restored.set_shape([None if tf.is_tensor(batch) else batch, *parts[0].shape[1:]])
    return restored
