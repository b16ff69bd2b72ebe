"""Fusion of the logits that a network returns for each level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _level_checks
from tfpyramid.ops import batches, portable
from tfpyramid.ops._operation import operation
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.shapes import dimensions

METHODS = ("logsumexp", "max", "mean", "attention")


@operation
def fuse_logits(logits: Sequence[tf.Tensor], method: str = "logsumexp", *, query: tf.Tensor | None = None) -> tf.Tensor:
    """Return one prediction for each sample, fused from the logits of all levels.

    Equation:
        For class c and the logits x[k] of level k:
        "logsumexp": `y[c] = log sum_k exp(x[k, c])`, a smooth form of "max" that gives every level a gradient. Equal
        levels add the same log(levels) to every class, which a softmax ignores;
        "max": `y[c] = max_k x[k, c]`; "mean": `y[c] = mean_k x[k, c]`;
        "attention": `y = sum_k w[k] x[k]`, `w = softmax_k(query . x[k])`.

    Args:
        logits: tensors [batch, classes] with the same floating dtype and batch size, one for each level. float16 and
            bfloat16 are summed in float32 and rounded once.
        method: "logsumexp", "max", "mean" or "attention".
        query: [classes]. The score of a level is the dot product of its logits with this vector. Only for "attention".

    Returns:
        [batch, classes] of the same dtype.

    Raises:
        ValueError: if an argument breaks a rule above.
        tf.errors.InvalidArgumentError: when the graph runs, if batch sizes unknown until then differ.

    References:
        Jansson and Lindeberg, Scale-invariant scale-channel networks: Deep networks that generalise to previously
        unseen scales, 2021, for the maximum and the mean over scales.
    """
    _checks.one_of("method", method, METHODS)
    given = _level_checks.level_list(logits, "logits")
    levels = [_checks.floating_tensor(f"logits[{k}]", level) for k, level in enumerate(given)]
    _level_checks.one_dtype(levels, "logits")
    check_shapes([level.shape for level in levels])
    if (query is None) == (method == "attention"):
        got = "None" if query is None else f"of type {type(query).__name__}"
        raise ValueError(
            f'`query` must be given for "attention", and only for it. Received: query {got}, method={method!r}'
        )
    if query is not None:
        query = _checked_query(query, levels[0].shape[1])
    levels = batches.check(batches.named("logits", levels))
    dtype = levels[0].dtype
    x = tf.cast(tf.stack(levels), working_dtype(dtype))
    if method == "logsumexp":
        y = tf.reduce_logsumexp(x, axis=0)
    elif method == "max":
        y = tf.reduce_max(x, axis=0)
    elif method == "mean":
        y = tf.reduce_mean(x, axis=0)
    else:
        # Ignore an infinite logit of weight 0: their product would be NaN.
        scores = tf.reduce_sum(portable.multiply_no_nan(x, tf.cast(query, x.dtype)), axis=-1, keepdims=True)
        y = tf.reduce_sum(portable.multiply_no_nan(x, tf.nn.softmax(scores, axis=0)), axis=0)
    return tf.cast(y, dtype)


def _checked_query(query: Any, classes: int) -> tf.Tensor:
    """Return the query as a tensor [classes]; other shapes would broadcast."""
    query = _checks.floating_tensor("query", query)
    rule = f"`query` must be a vector of {classes} numbers, one for each class."
    if query.shape.rank != 1 or query.shape[0] not in (None, classes):
        raise ValueError(f"{rule} Received: query of shape {query.shape}")
    rule = f"{rule} Received: the length of query, then the number of classes,"
    return batches.assert_equal(rule, [query], dimensions(query), [classes])[0]


def check_shapes(shapes: Any) -> tuple[int | None, int]:
    """Return the shape [batch, classes] that the logits of every level must have."""
    single = isinstance(shapes, tf.TensorShape) or not all(isinstance(s, (list, tuple, tf.TensorShape)) for s in shapes)
    found = [tf.TensorShape(shape) for shape in ([shapes] if single else shapes)]
    first = found[0] if found else tf.TensorShape(None)
    if single or first.rank != 2 or first[1] is None or any(s.rank != 2 or s[1] != first[1] for s in found):
        received = f"one tensor of shape {found[0]}" if single else f"shapes {[tuple(s) for s in found]}"
        raise ValueError(
            "`logits` must be a list of tensors [batch, classes], one for each level, with the same known number of "
            "classes. "
            f"Received: {received}"
        )
    _level_checks.one_batch(batches.named("logits", found))
    return first[0], first[1]
