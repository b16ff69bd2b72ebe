"""LogitFusion."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import register
from tfpyramid.layers._base import TakesLevels
from tfpyramid.ops.logits import METHODS, check_shapes, fuse_logits


@register
class LogitFusion(TakesLevels):
    """One answer for an image, from the logits that a network gives at every level of a pyramid.

    A network that was trained at one scale is confident at the level where the object has the trained size, and less so
    at the others. "logsumexp" and "max" follow the confident level; "mean" averages it away.

    Equation:
        For level k, its logits x[k] and class c:
        "logsumexp": `y[c] = log sum_k exp(x[k, c])`; "max": `y[c] = max_k x[k, c]`; "mean": `y[c] = mean_k x[k, c]`;
        "attention": `y = sum_k w[k] x[k]`, `w = softmax_k(query . x[k])`, with a learned query. The query starts at 0,
        which is the mean.

    Args:
        method: "logsumexp", "max", "mean" or "attention".
        **kwargs: arguments of `keras.layers.Layer`.

    Input shape:
        A list or dict of [batch, classes], floating point, one for each level, all with one batch size.

    Output shape:
        [batch, classes].

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> logits = [tf.constant([[4.0, 0.0]]), tf.constant([[0.0, 1.0]])]
        >>> LogitFusion("max")(logits).numpy().tolist()
        [[4.0, 1.0]]

    References:
        Jansson and Lindeberg, Scale-invariant scale-channel networks: Deep networks that generalise to previously
        unseen scales, 2021, for the maximum and the mean over scales.
    """

    def __init__(self, method: str = "logsumexp", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.method = _checks.one_of("method", method, METHODS)
        self.query = None

    def build(self, input_shape: Any) -> None:
        _, classes = check_shapes(input_shape)
        if self.method == "attention":
            self.query = self.add_parameter("query", np.zeros(classes))
        super().build(input_shape)

    def call(self, logits: list[tf.Tensor]) -> tf.Tensor:
        query = None if self.query is None else tf.convert_to_tensor(self.query)
        return fuse_logits(logits, self.method, query=query)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return check_shapes(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "method": self.method}
