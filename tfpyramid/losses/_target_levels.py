"""The level of a target's pyramid that has the size of a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfpyramid import _level_checks
from tfpyramid._sizes import level_size, level_sizes
from tfpyramid.ops import resample

_RULE = "`predictions` must have the sizes of levels of `targets`; the side after n is ceil(n / scale_factor)."


def in_lists(targets: Any, predictions: Any) -> tuple[Any, Any]:
    """Convert dicts of levels to lists, in the order of the keys of the predictions."""
    if isinstance(targets, Mapping):
        keys = list(predictions) if isinstance(predictions, Mapping) else []
        if set(targets) != set(keys):
            rule = f"`targets` must have the keys of `predictions`, {keys}, if it is a dict"
            raise ValueError(f"{rule}. Received: keys {list(targets)}")
        targets = [targets[key] for key in keys]
    if isinstance(predictions, Mapping):
        predictions = _level_checks.level_list(predictions, "predictions")
    return targets, predictions


def check_channels(target: tf.Tensor, prediction: tf.Tensor) -> None:
    """Raise `ValueError` unless a target has as many channels as the prediction that is compared with it."""
    if target.shape[3] != prediction.shape[3]:
        raise ValueError(
            "`targets` must have as many channels as `predictions`. Encode classes as one-hot vectors, because class "
            "indices cannot be averaged. "
            f"Received: targets of shape {target.shape}, predictions of shape {prediction.shape}"
        )


def target_at_size(target: tf.Tensor, prediction: tf.Tensor, step: dict[str, Any] | None) -> tuple[tf.Tensor, Any]:
    """Return a target at the size of a prediction, and how many times `pyr_down` was applied.

    The number is an int if the sides are known, else a scalar of the target's dtype. If `step` is None, the target must
    have the size of the prediction.
    """
    size = (target.shape[1], target.shape[2])
    wanted = (prediction.shape[1], prediction.shape[2])
    if None not in size + wanted:
        steps = _steps_between(size, wanted, step)
        for _ in range(steps):
            target = resample.pyr_down(target, **(step or {}))
        return target, steps
    steps = tf.zeros([], target.dtype)
    sides = tf.shape(prediction)[1:3]  # Outside the loop, which would else compute a gradient of the prediction.
    if step is not None:
        target, steps = tf.while_loop(
            lambda x, _: _is_above(tf.shape(x)[1:3], sides, step["scale_factor"]),
            lambda x, count: (resample.pyr_down(x, **step), count + 1),
            (target, steps),
            shape_invariants=(tf.TensorShape([target.shape[0], None, None, target.shape[3]]), steps.shape),
        )
    check = tf.debugging.assert_equal(tf.shape(target)[1:3], sides, message=_RULE)
    with tf.control_dependencies([] if check is None else [check]):
        return tf.identity(target), steps


def _is_above(size: tf.Tensor, wanted: tf.Tensor, factor: float) -> tf.Tensor:
    """Return whether some side is larger than wanted and the next level is smaller: ceil(n / factor) can equal n.

    A loop reads this on the host. TensorFlow compares int32 there, and would compute the "and" of booleans on a GPU.
    """
    return tf.minimum(tf.reduce_max(size - wanted), tf.reduce_max(size - level_size(size, factor))) > 0


def _steps_between(size: tuple[int, ...], wanted: tuple[int, ...], step: dict[str, Any] | None) -> int:
    """Return the number of levels from `size` to `wanted`; raise `ValueError` if no level has that size."""
    sizes = [size]
    while step is not None and sizes[-1] != wanted:
        coarser = level_sizes(sizes[-1], step["scale_factor"])
        if coarser == sizes[-1]:
            break
        sizes.append(coarser)
    if sizes[-1] != wanted:
        has = "the target has" if len(sizes) == 1 else "levels of the targets have"
        advice = "" if step is None else " For predictions of other sizes, pass a list with a target for each."
        received = f"a prediction of sides {wanted}; {has} sides {', '.join(map(str, sizes))}"
        raise ValueError(f"{_RULE}{advice} Received: {received}")
    return len(sizes) - 1
