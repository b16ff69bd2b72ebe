"""Targets at the size of a prediction."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid._sizes import level_size, level_sizes
from tfpyramid.ops import resample

_RULE = "`predictions` must have the sizes of levels of `targets`, each side ceil(n / scale_factor) of the one before."


def brought(target: tf.Tensor, prediction: tf.Tensor, step: dict[str, Any] | None) -> tuple[tf.Tensor, Any]:
    """Return a target at the size of a prediction, and the number of steps down that bring it there.

    The number is an int where the sides are known, else a scalar of the target's dtype. Without a `step` none is taken.
    """
    size = (target.shape[1], target.shape[2])
    wanted = (prediction.shape[1], prediction.shape[2])
    if None not in size + wanted:
        steps = _steps_between(size, wanted, step)
        for _ in range(steps):
            target = resample.pyr_down(target, **(step or {}))
        return target, steps
    steps = tf.zeros([], target.dtype)
    if step is not None:
        target, steps = tf.while_loop(
            lambda x, _: (
                tf.reduce_any(tf.shape(x)[1:3] > tf.shape(prediction)[1:3]) & _shrinks(x, step["scale_factor"])
            ),
            lambda x, count: (resample.pyr_down(x, **step), count + 1),
            (target, steps),
            shape_invariants=(tf.TensorShape([target.shape[0], None, None, target.shape[3]]), steps.shape),
        )
    check = tf.debugging.assert_equal(tf.shape(target)[1:3], tf.shape(prediction)[1:3], message=_RULE)
    with tf.control_dependencies([] if check is None else [check]):
        return tf.identity(target), steps


def _shrinks(x: tf.Tensor, factor: float) -> tf.Tensor:
    """Tell whether the next level is smaller: at factors below 2 a side above 1 can stay what it is."""
    return tf.reduce_any(level_size(tf.shape(x)[1:3], factor) < tf.shape(x)[1:3])


def _steps_between(size: tuple[int, ...], wanted: tuple[int, ...], step: dict[str, Any] | None) -> int:
    """Return how many levels below `size` a level of `wanted` is; raise if there is none."""
    sizes = [size]
    while step is not None and sizes[-1] != wanted:
        coarser = level_sizes(sizes[-1], step["scale_factor"])
        if coarser == sizes[-1]:
            break
        sizes.append(coarser)
    if sizes[-1] != wanted:
        has = "the target has" if len(sizes) == 1 else "levels of the targets have"
        cure = "" if step is None else " Predictions of other sizes need a target of their own size each."
        received = f"a prediction of sides {wanted}; {has} sides {', '.join(map(str, sizes))}"
        raise ValueError(f"{_RULE}{cure} Received: {received}")
    return len(sizes) - 1
