"""Empty batches, and the check that samples paired by index have the same batch size."""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfpyramid import _level_checks
from tfpyramid.ops import portable
from tfpyramid.ops.shapes import dimension, dimensions

_never_empty = contextvars.ContextVar("_never_empty", default=False)


@contextlib.contextmanager
def never_empty() -> Iterator[None]:
    """Trace the operations inside the context for batches that have at least one sample."""
    token = _never_empty.set(True)
    try:
        yield
    finally:
        _never_empty.reset(token)


def check(tensors: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
    """Return tensors [batch, ...], given as a dict by argument name, which must have the same batch size.

    Without the check, a batch of 1 would be broadcast to every sample. Unknown sizes are compared when the graph runs,
    before any operation that uses the returned tensors.

    Raises:
        ValueError: if known sizes differ.
        tf.errors.InvalidArgumentError: when the graph runs, if sizes unknown until then differ.
    """
    _level_checks.one_batch({name: x.shape for name, x in tensors.items()})
    first, *others = tensors.values()
    if not others or portable.is_portable() or all(x.shape[0] is not None for x in tensors.values()):
        return [first, *others]
    rule = f"{_level_checks.batch_rule(tensors)} Received: batch sizes of {', '.join(tensors)}"
    return [first, *assert_equal(rule, others, *(dimensions(x)[:1] for x in tensors.values()))]


def check_weight(sample_weight: Any, x: Any, name: str) -> tf.Tensor:
    """Return weights as a tensor: one for each sample of `x`, as `check` requires, or one number for all samples."""
    weight = tf.convert_to_tensor(sample_weight)
    return check({name: tf.convert_to_tensor(x), "sample_weight": weight})[1] if weight.shape.rank else weight


def weight_of_samples(sample_weight: Any, x: Any, name: str) -> tf.Tensor | None:
    """Return `check_weight` of weights [batch] or [batch, 1], as [batch]; None is returned unchanged.

    Keras would broadcast weights of other shapes against values [batch].
    """
    if sample_weight is None:
        return None
    weight = check_weight(sample_weight, x, name)
    if weight.shape.rank == 2 and weight.shape[1] == 1:
        return weight[:, 0]
    if weight.shape.rank not in (0, 1):
        rule = "`sample_weight` must be one number for each sample, [batch], or one number"
        raise ValueError(f"{rule}. Received: sample_weight of shape {weight.shape}")
    return weight


def weight_of_pixels(weight: Any, x: tf.Tensor, rule: str, names: tuple[str, str]) -> tf.Tensor:
    """Return weights of the pixels of `x` as [batch, height, width, 1], in the dtype of `x`.

    Args:
        weight: numbers or booleans [batch, height, width] or [batch, height, width, 1].
        x: [batch, height, width, channels].
        rule: what to say if the weights have other sizes or are no numbers.
        names: the names of `weight` and `x` in errors.

    Raises:
        ValueError: with `rule`, if that is known.
        tf.errors.InvalidArgumentError: with `rule`, if sizes that are unknown until the graph runs differ.
    """
    weight = tf.convert_to_tensor(weight)
    shape = weight.shape if weight.shape.rank == 4 else [*weight.shape, 1]
    is_number = weight.dtype.is_floating or weight.dtype.is_integer or weight.dtype.is_bool
    if not is_number or not x.shape[:3].concatenate(1).is_compatible_with(shape):
        received = f"{names[0]} of shape {weight.shape}, {weight.dtype.name}; {names[1]} of shape {x.shape}"
        raise ValueError(f"{rule} Received: {received}")
    if any(None in each.shape[:3] for each in (weight, x)):
        received = f"Received: the sizes of {names[0]}, then of {names[1]},"
        (weight,) = assert_equal(f"{rule} {received}", [weight], *(dimensions(each)[:3] for each in (weight, x)))
    return tf.cast(weight if weight.shape.rank == 4 else weight[..., None], x.dtype)


def named(name: str, tensors: Any) -> dict[str, Any]:
    """Return one tensor, or each tensor of a list, in a dict by the name to use in errors."""
    if isinstance(tensors, (list, tuple)):
        return {f"{name}[{k}]": x for k, x in enumerate(tensors)}
    return {name: tensors}


def assert_equal(rule: str, tensors: Sequence[tf.Tensor], *sizes: Sequence[int | tf.Tensor]) -> list[tf.Tensor]:
    """Return `tensors` with an assertion in the graph that all lists of sizes are equal; it fails with `rule`.

    The caller must compare sizes that are already known; they add nothing to the graph. Graphs for other runtimes get
    no assertion, because those have none.
    """
    if portable.is_portable():
        return list(tensors)
    axes = [k for k, each in enumerate(zip(*sizes)) if any(map(tf.is_tensor, each))]
    if not axes:
        return list(tensors)
    found = [[size[k] for k in axes] for size in sizes]
    equal = [tf.equal(first, other) for first, *others in zip(*found) for other in others]
    data = [tf.constant(rule), *(n for size in found for n in size)]
    with tf.control_dependencies([tf.debugging.Assert(functools.reduce(tf.logical_and, equal), data)]):
        return [tf.identity(x) for x in tensors]


def call(function: Callable[..., Any], x: tf.Tensor, *arguments: Any, needed: bool = True, **keywords: Any) -> Any:
    """Return `function(x, ...)` for a function of batches, which may be empty: gradients of weights are then 0.

    On a CPU, TensorFlow's convolutions return the wrong shape for an empty batch, and uninitialised memory as the
    gradient of the kernel. So an empty batch becomes one sample of zeros, and the result for that sample is removed.

    Args:
        function: takes a tensor [batch, ...] first; returns a tensor or a structure of tensors.
        x: tensor [batch, ...].
        *arguments: passed to `function` after `x`.
        needed: False if the function has no weights and returns the right shape for an empty batch.
        **keywords: passed to `function`.
    """
    if _never_empty.get() or not needed:
        return function(x, *arguments, **keywords)
    count = dimension(x, 0)
    padded = at_least_one(x, count)
    if padded is x:
        return function(x, *arguments, **keywords)
    result = function(padded, *arguments, **keywords)
    size = functools.cache(functools.partial(_size, count))  # One for all tensors of a rank.
    return tf.nest.map_structure(lambda y: _first(y, x, size(y.shape.rank)), result)


def call_all(function: Callable[..., Any], *inputs: tf.Tensor | None) -> Any:
    """Return `function(*inputs)`, as `call` does, for a function of several tensors [batch, ...] or None.

    Operations inside the function do not pad the batch again.
    """
    padded = [None if x is None else at_least_one(x) for x in inputs]
    with never_empty():
        result = function(*padded)
    first = next(x for x in inputs if x is not None)
    return tf.nest.map_structure(lambda y: as_many_as(y, first), result)


def at_least_one(x: tf.Tensor, count: int | tf.Tensor | None = None) -> tf.Tensor:
    """Return x [batch, ...], or one sample of zeros if the batch is empty. Other batches are not copied."""
    count = dimension(x, 0) if count is None else count
    known = isinstance(count, int)
    if portable.is_portable() or (known and count > 0):
        return x
    missing = max(1 - count, 0) if known else tf.maximum(1 - count, 0)
    padded = tf.pad(x, [[0, missing], *[[0, 0]] * (x.shape.rank - 1)])
    padded.set_shape([1 if known else None, *x.shape[1:]])
    return padded


def as_many_as(y: tf.Tensor, x: tf.Tensor, count: int | tf.Tensor | None = None) -> tf.Tensor:
    """Return y, computed from `at_least_one(x)`, without the result of the added sample."""
    count = dimension(x, 0) if count is None else count
    if portable.is_portable() or (isinstance(count, int) and count > 0):
        return y
    return _first(y, x, _size(count, y.shape.rank))


def _size(count: int | tf.Tensor, rank: int) -> tf.Tensor:
    """Return the size of a slice of `count` samples, for `tf.slice`."""
    return tf.stack([count] + [-1] * (rank - 1))


def _first(y: tf.Tensor, x: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Return the first samples of y, as many as x has."""
    part = tf.slice(y, [0] * y.shape.rank, size)
    part.set_shape([x.shape[0], *y.shape[1:]])
    return part
