"""ShiftConsistency, and `shifted_pair`, which makes the pairs of images that it compares."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras, register
from tfpyramid.ops import batches
from tfpyramid.ops.shapes import dimensions


@register
class ShiftConsistency(keras.metrics.Mean):
    """Measure how often the predicted class is the same for an image and for a shifted copy of it.

    Equation:
        `mean(argmax(y_a) == argmax(y_b))`, weighted if there are weights.

    Convention:
        If two scores are equal, the first is the predicted class. The metric does not measure whether the class is
        right. It compares two predictions, so call `update_state` yourself: `compile` would pass targets. A sample with
        a NaN score has no predicted class, and the result is then NaN, as in the means of Keras.

    Args:
        name: name of the metric.
        **kwargs: arguments of `keras.metrics.Metric`, such as `dtype`.

    Raises:
        ValueError: if the predictions are not scores [batch, classes] of equal shapes, with at least two classes, or if
            the weights are not one number, or one number for each sample.
        tf.errors.InvalidArgumentError: if sizes that are unknown until the graph runs differ.

    Example:
        >>> metric = metrics.ShiftConsistency()
        >>> _ = metric.update_state([[0.1, 0.9], [0.8, 0.2]], [[0.4, 0.6], [0.3, 0.7]])
        >>> float(metric.result())
        0.5

    References:
        Zhang, Making Convolutional Networks Shift-Invariant Again, 2019, section 4.2 (classification consistency).
    """

    def __init__(self, name: str = "shift_consistency", **kwargs: Any) -> None:
        super().__init__(name=_checks.text("name", name), **kwargs)

    def update_state(self, y_a: Any, y_b: Any, sample_weight: Any = None) -> Any:
        y_a, y_b = _checks.tensor("y_a", y_a), _checks.tensor("y_b", y_b)
        for name, y in (("y_a", y_a), ("y_b", y_b)):
            if y.shape.rank != 2 or y.shape[1] in (0, 1):
                rule = "must be scores [batch, classes] of at least two classes"
                raise ValueError(f"`{name}` {rule}. Received: {name} of shape {y.shape}")
        if not y_a.shape.is_compatible_with(y_b.shape):
            raise ValueError(
                "`y_b` must have the shape of `y_a`, so that there is a pair of predictions for each sample. "
                f"Received: y_a of shape {y_a.shape}, y_b of shape {y_b.shape}"
            )
        rule = "`y_b` must have the shape of `y_a`. Received: the sizes of y_a, then of y_b,"
        (y_b,) = batches.assert_equal(rule, [y_b], dimensions(y_a), dimensions(y_b))
        if sample_weight is not None:
            sample_weight = batches.check_weight(sample_weight, y_a, "y_a")
        same = tf.cast(tf.argmax(y_a, 1) == tf.argmax(y_b, 1), tf.float32)
        unknown = [tf.reduce_any(tf.math.is_nan(y), 1) for y in (y_a, y_b) if y.dtype.is_floating]
        for nan in unknown:
            same = tf.where(nan, tf.constant(float("nan")), same)
        return super().update_state(same, sample_weight=sample_weight)


def shifted_pair(images: tf.Tensor, max_shift: int = 4, *, seed: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
    """Return two random crops of each image, at most `max_shift` pixels apart on each axis.

    Args:
        images: [batch, height, width, channels], floating point, sides larger than `max_shift`.
        max_shift: the largest shift in pixels, at least 1. Each side of a crop is `max_shift` smaller than the image.
        seed: seed of the positions; the same seed gives the same crops.

    Returns:
        Two tensors [batch, height - max_shift, width - max_shift, channels].

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Zhang, Making Convolutional Networks Shift-Invariant Again, 2019, section 4.2.
    """
    images = _checks.images(images)
    meaning = "the largest shift in pixels"
    max_shift = _checks.integer("max_shift", max_shift, 1, meaning, maximum=_checks.LONGEST)
    seed = _checks.integer("seed", seed, -_checks.LARGEST_SEED, maximum=_checks.LARGEST_SEED)
    if any(side is not None and side <= max_shift for side in images.shape[1:3]):
        raise ValueError(
            "`max_shift` must be less than the sides of the images. "
            f"Received: max_shift={max_shift}, images of shape {images.shape}"
        )
    first, second = tf.unstack(
        tf.random.stateless_uniform([2, 2, tf.shape(images)[0]], [seed, 0], 0, max_shift + 1, tf.int32)
    )
    return _crops(images, first, max_shift), _crops(images, second, max_shift)


def _crops(images: tf.Tensor, starts: tf.Tensor, max_shift: int) -> tf.Tensor:
    for axis in (1, 2):
        indices = starts[axis - 1][:, None] + tf.range(tf.shape(images)[axis] - max_shift)
        images = tf.gather(images, indices, axis=axis, batch_dims=1)
    return images
