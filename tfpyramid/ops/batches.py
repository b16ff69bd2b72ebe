"""Batches that may be empty, and batches whose samples belong together."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfpyramid import _level_checks
from tfpyramid.ops import borders, portable


def check(tensors: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
    """Return tensors [batch, ...], given by the name of the argument, which must have one batch size.

    Broadcasting would pair every sample with a batch of 1. Sizes that are unknown now are compared when the graph runs,
    before anything that reads the tensors returned.

    Raises:
        ValueError: if known sizes differ.
        tf.errors.InvalidArgumentError: if only the graph, when it runs, can see that sizes differ.
    """
    _level_checks.one_batch({name: x.shape for name, x in tensors.items()})
    first, *others = tensors.values()
    if not others or all(x.shape[0] is not None for x in tensors.values()):
        return [first, *others]
    rule = f"{_level_checks.batch_rule(tensors)} Received: batch sizes of {', '.join(tensors)}"
    return [first, *assert_equal(rule, others, *(borders.dimensions(x)[:1] for x in tensors.values()))]


def check_weight(sample_weight: Any, x: tf.Tensor, name: str) -> tf.Tensor:
    """Return weights as a tensor: one for each sample of `x`, as `check` has it, or one number for all."""
    weight = tf.convert_to_tensor(sample_weight)
    return check({name: x, "sample_weight": weight})[1] if weight.shape.rank else weight


def named(name: str, tensors: Any) -> dict[str, Any]:
    """Return one tensor, or each of a list of them, by what an error calls it."""
    if isinstance(tensors, (list, tuple)):
        return {f"{name}[{k}]": x for k, x in enumerate(tensors)}
    return {name: tensors}


def assert_equal(
    rule: str, tensors: Sequence[tf.Tensor], *sizes: Sequence[int | tf.Tensor]
) -> list[tf.Tensor]:
    """Return `tensors`, which a graph makes available only if all lists of sizes are equal; else it fails with `rule`.

    Sizes that are known now are for the caller to compare, and add nothing to the graph.
    """
    equal = [
        tf.equal(first, other)
        for first, *others in zip(*sizes)
        for other in others
        if tf.is_tensor(first) or tf.is_tensor(other)
    ]
    if not equal or portable.is_portable():  # Other runtimes have no assertions.
        return list(tensors)
    found = [n for size in sizes for n in size]
    with tf.control_dependencies([tf.debugging.Assert(functools.reduce(tf.logical_and, equal), [rule, *found])]):
        return [tf.identity(x) for x in tensors]


def call(function: Callable[[tf.Tensor], Any], x: tf.Tensor) -> Any:
    """Return `function(x)` for a function of batches, also where `x` holds no sample: gradients of weights are then 0.

    TensorFlow's convolutions on a CPU return the wrong shape for an empty batch, and gradients of their kernels that
    are uninitialised memory. An empty batch becomes one sample of zeros, and the result of that sample is removed.

    Args:
        function: takes a tensor [batch, ...]; returns one or a structure of them.
        x: tensor [batch, ...].
    """
    padded = at_least_one(x)
    if padded is x:
        return function(x)
    return tf.nest.map_structure(lambda y: as_many_as(y, x), function(padded))


def at_least_one(x: tf.Tensor) -> tf.Tensor:
    """Return x [batch, ...], or one sample of zeros for an empty batch. A batch that is not empty is not copied."""
    count = borders.dimensions(x)[0]
    known = isinstance(count, int)
    if portable.is_portable() or (known and count > 0):
        return x
    missing = max(1 - count, 0) if known else tf.maximum(1 - count, 0)
    padded = tf.pad(x, [[0, missing], *[[0, 0]] * (x.shape.rank - 1)])
    padded.set_shape([1 if known else None, *x.shape[1:]])
    return padded


def as_many_as(y: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Return what a function of `at_least_one(x)` returned, without the result of a sample that x does not hold."""
    count = borders.dimensions(x)[0]
    if portable.is_portable() or (isinstance(count, int) and count > 0):
        return y
    part = borders.samples(y, 0, 0, count)
    part.set_shape([x.shape[0], *y.shape[1:]])
    return part
