"""Weights of levels that are computed from the levels themselves, for each place or for each image."""

from collections.abc import Sequence

import tensorflow as tf

from tfpyramid.ops import straight_through
from tfpyramid.ops._operation import operation
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.shapes import dimensions, reshape

ADAPTIVE = ("map", "image")


@operation
def adaptive_weights(
    levels: Sequence[tf.Tensor],
    kernel: tf.Tensor,
    bias: tf.Tensor,
    adaptive: str | None,
    *,
    hard: bool = False,
    temperature: float | tf.Tensor = 1.0,
) -> list[tf.Tensor]:
    """Return weights of levels, one tensor [batch, height or 1, width or 1, units] for each level.

    Equation:
        `s[k] = x[k] kernel[k] + bias[k]` at each place for "map"; with "image", x[k] is replaced by its mean over the
        image. `w = softmax(s / T)` over the levels. With `hard`, forward: the one-hot vector of the largest score;
        backward: the gradient of the softmax.

    Args:
        levels: tensors [batch, height, width, channels]; all of one size for "map".
        kernel: [levels, channels, units].
        bias: [levels, units].
        adaptive: "map" or "image".
        hard: choose one level, with a straight-through gradient.
        temperature: of the softmax.
    """
    # In half precision, different scores could tie.
    work = working_dtype(levels[0].dtype)
    kernels, biases = (tf.unstack(tf.cast(w, work)) for w in (kernel, bias))
    scores = []
    for level, weight, offset in zip(levels, kernels, biases):
        x = tf.cast(level, work)
        # A product of matrices, because a convolution cannot take an empty batch.
        rows = tf.reduce_mean(x, [1, 2]) if adaptive == "image" else tf.reshape(x, [-1, x.shape[3]])
        scores.append(rows @ weight + offset)
    weights = straight_through.gumbel_softmax(tf.stack(scores, axis=-1), temperature, hard=hard)
    size = [1, 1] if adaptive == "image" else dimensions(levels[0])[1:3]
    batch, units = dimensions(levels[0])[0], kernel.shape[2]
    return [reshape(w, [batch, *size, units]) for w in tf.unstack(weights, axis=-1)]
