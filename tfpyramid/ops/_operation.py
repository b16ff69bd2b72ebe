"""Decorators of operations: of every public one, and of what one call runs as a traced function."""

import contextvars
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import tensorflow as tf

from tfpyramid.ops import portable

# The trace takes as long as tens of eager calls, and many programs call an operation once.
_CALLS_BEFORE_TRACE = 3

# TensorFlow has no public function for this. Without this name, the first calls may round otherwise than later ones.
_is_deterministic = getattr(tf.config.experimental.enable_op_determinism, "__globals__", {}).get(
    "is_op_determinism_enabled", lambda: False
)

# Whether this operation is a part of one that counts its calls eagerly, or that is traced as a function of its own.
_inside = contextvars.ContextVar("_inside", default=False)

Function = TypeVar("Function", bound=Callable[..., Any])


def operation(function: Function) -> Function:
    """Return the function, with its name, signature and docstring, such that AutoGraph does not rewrite it.

    If a user traces a function that calls it, AutoGraph would spend seconds on rewriting it and change nothing: no
    operation branches on a tensor or takes a function.
    """
    return tf.autograph.experimental.do_not_convert(function)


def shared(function: Function, *, in_graphs: bool = True) -> Function:
    """Return the function, run as a traced function of its own where that saves time.

    After a few eager calls on tensors of the same sizes, a call takes the time of one operation. In a graph, all calls
    on images with unknown sides, such as the levels of a pyramid, share one traced function. If the sides are known, a
    copy with constants computes faster. XLA and other runtimes use other operations, so their graphs get a copy too.

    Args:
        function: takes images [batch, height, width, channels], or several, first. Its other arguments are tensors, or
            constants that can be hashed: numbers, names and tuples.
        in_graphs: whether calls in a graph share a function. Those that consist of such calls need not.
    """

    @functools.wraps(function)
    def run(images: Any, *arguments: Any) -> Any:
        inputs = (tuple(images) if isinstance(images, list) else images, *arguments)
        flat = tf.nest.flatten(inputs)
        eager = tf.executing_eagerly()
        is_part = _inside.get() or not (eager or (in_graphs and any(map(_has_unknown_size, flat))))
        if is_part or portable.in_slices():
            return function(images, *arguments)
        traced = _traced(function, tf.nest.map_structure(_specification, inputs))
        # A trace may round differently. With deterministic operations, all calls must give the same bits.
        if eager and not _is_deterministic() and next(traced.calls) < _CALLS_BEFORE_TRACE:
            return _as_one(function, images, *arguments)
        return traced.graph(*filter(tf.is_tensor, flat))

    return run  # type: ignore[return-value]


def _specification(argument: Any) -> Any:
    """Return the dtype and shape of a tensor; other arguments as they are."""
    return tf.TensorSpec(argument.shape, argument.dtype) if tf.is_tensor(argument) else argument


def _has_unknown_size(argument: Any) -> bool:
    """Return whether an argument is images with unknown sides, or a size that is a tensor."""
    return tf.is_tensor(argument) and (argument.shape.rank == 0 or None in argument.shape[1:3])


class _Traced(NamedTuple):
    graph: Callable
    calls: Iterator[int]


@functools.lru_cache(maxsize=256)
def _traced(function: Callable, inputs: tuple) -> _Traced:
    """Return the function of the tensors in `inputs`, which are given as specifications; and a count of its calls."""
    specifications = [each for each in tf.nest.flatten(inputs) if isinstance(each, tf.TensorSpec)]
    # TensorFlow warns of several traces of one function. It takes each `partial` for a function of its own.
    with_tensors = functools.partial(_call, function, inputs)
    return _Traced(tf.function(with_tensors, specifications, autograph=False), itertools.count())


def _call(function: Callable, inputs: tuple, *tensors: tf.Tensor) -> Any:
    rest = iter(tensors)
    flat = [next(rest) if isinstance(each, tf.TensorSpec) else each for each in tf.nest.flatten(inputs)]
    return _as_one(function, *tf.nest.pack_sequence_as(inputs, flat))


def _as_one(function: Callable, *arguments: Any) -> Any:
    """Return the result of a function, the parts of which run as they are."""
    token = _inside.set(True)
    try:
        return function(*arguments)
    finally:
        _inside.reset(token)
