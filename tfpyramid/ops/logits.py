"""Fusion of the logits that a network returns for each level, or for each place that it reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _level_checks
from tfpyramid.ops import batches, portable
from tfpyramid.ops._operation import operation
from tfpyramid.ops.dtypes import common_dtype, working_dtype
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


@operation
def softmax_mixture(logits: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Return the log-probabilities of a mixture of softmaxes: one answer from several, each weighted by its score.

    Equation:
        For the logits z[i] and the score v[i] of part i:
        `y[c] = log sum_i softmax(v)[i] softmax(z[i])[c]`.
        The gradient of y[c] by v[i] is `r[i] - softmax(v)[i]` with the responsibility
        `r[i] = softmax(v)[i] softmax(z[i])[c] / exp(y[c])`: the score of a part grows if the part explains class c
        better than the others do.

    Convention:
        A loss with `from_logits=True` takes the result, because `softmax(y) = exp(y)`. The mean of logits, or
        `fuse_logits`, is another function: here a part that is certain of a class, but has a low score, changes little.
        A score of -inf, or of the lowest finite value, gives its part the weight 0. A logit of -inf gives its class the
        probability 0. The result is NaN if all scores of a sample, or all logits of a part, are -inf.

    Args:
        logits: [batch, n, classes], floating point, n of at least 1.
        scores: [batch, n], floating point.

    Returns:
        [batch, classes], float64 if an argument is float64, and else float32: 16 bits would round log-probabilities.

    Raises:
        ValueError: if an argument breaks a rule above.
        tf.errors.InvalidArgumentError: when the graph runs, if sizes unknown until then differ.

    References:
        Jacobs, Jordan, Nowlan and Hinton, Adaptive Mixtures of Local Experts, 1991 (the likelihood, and its gradient);
        Yang, Dai, Salakhutdinov and Cohen, Breaking the Softmax Bottleneck, ICLR 2018 (the mixture of softmaxes).
    """
    logits, scores = _checks.floating_tensor("logits", logits), _checks.floating_tensor("scores", scores)
    check_mixture(logits.shape, scores.shape)
    logits, scores = batches.check({"logits": logits, "scores": scores})
    received = "Received: the number of scores, then of rows of logits,"
    (scores,) = batches.assert_equal(
        f"{_MIXTURE_RULE} {received}", [scores], dimensions(scores)[1:], dimensions(logits)[1:2]
    )
    work = working_dtype(common_dtype([logits.dtype, scores.dtype]))
    logits, scores = tf.cast(logits, work), tf.cast(scores, work)
    parts = tf.expand_dims(tf.nn.log_softmax(scores), -1) + tf.nn.log_softmax(logits)
    top = tf.maximum(tf.stop_gradient(tf.reduce_max(parts, 1)), work.min)
    total = tf.reduce_sum(tf.exp(parts - tf.expand_dims(top, 1)), 1)
    # Clamp before the logarithm, because the gradient of log 0 times that of exp(-inf) would be NaN.
    is_zero = tf.equal(total, 0)
    y = tf.math.log(tf.where(is_zero, tf.ones_like(total), total)) + top
    return tf.where(is_zero, tf.constant(-math.inf, work), y)


_MIXTURE_RULE = "`logits` must be [batch, n, classes], and `scores` [batch, n] with the same n of at least 1."


def check_mixture(logits: Any, scores: Any) -> tuple[int | None, int | None]:
    """Return the shape [batch, classes] of a mixture of parts with these shapes."""
    logits, scores = tf.TensorShape(logits), tf.TensorShape(scores)
    if logits.rank != 3 or scores.rank != 2 or not scores[1:].is_compatible_with(logits[1:2]) or logits[1] == 0:
        raise ValueError(f"{_MIXTURE_RULE} Received: logits of shape {logits}, scores of shape {scores}")
    _level_checks.one_batch({"logits": logits, "scores": scores})
    return logits[0], logits[2]


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
