"""ShiftConsistency, and the pairs of images it is measured on."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras, register
from tfpyramid.ops import batches
from tfpyramid.ops.shapes import dimensions


@register
class ShiftConsistency(keras.metrics.Mean):
    """The share of samples whose predicted class is the same for an image and for its shifted copy.

    Equation: `mean(argmax(y_a) == argmax(y_b))`, weighted if there are weights.

    Convention:
        Of two equal scores the first counts. The metric does not ask whether the class is right. It compares two
        predictions, and so is updated by hand rather than given to `compile`, which would pass targets. A sample with
        a NaN score has no predicted class: the result is then NaN, as with the means of Keras.

    Args:
        name: as in `keras.metrics.Metric`.
        **kwargs: of `keras.metrics.Metric`, such as `dtype`.

    Raises:
        ValueError: if the predictions are not scores [batch, classes], of two classes or more and equal shapes, or
            weights are neither one number nor one for each sample.
        tf.errors.InvalidArgumentError: if only the graph, when it runs, can see that sizes differ.

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
                "`y_b` must have the shape of `y_a`, one prediction for each. "
                f"Received: y_a of shape {y_a.shape}, y_b of shape {y_b.shape}"
            )
        rule = "`y_b` must have the shape of `y_a`, one prediction for each. Received: the sizes of y_a, then of y_b,"
        (y_b,) = batches.assert_equal(rule, [y_b], dimensions(y_a), dimensions(y_b))
        if sample_weight is not None:
            sample_weight = batches.check_weight(sample_weight, y_a, "y_a")
        same = tf.cast(tf.argmax(y_a, 1) == tf.argmax(y_b, 1), tf.float32)
        unknown = [tf.reduce_any(tf.math.is_nan(y), 1) for y in (y_a, y_b) if y.dtype.is_floating]
        for nan in unknown:
            same = tf.where(nan, tf.constant(float("nan")), same)
        return super().update_state(same, sample_weight=sample_weight)


def shifted_pair(images: tf.Tensor, max_shift: int = 4, *, seed: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
    """Cut two windows out of each image, each at a place of its own, at most `max_shift` pixels apart on each axis.

    Args:
        images: [batch, height, width, channels], floating point, sides larger than `max_shift`.
        max_shift: the largest shift in pixels, at least 1; windows are by so much smaller than the images.
        seed: of the draw; the same seed gives the same places.

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
    return _windows(images, first, max_shift), _windows(images, second, max_shift)


def _windows(images: tf.Tensor, starts: tf.Tensor, max_shift: int) -> tf.Tensor:
    for axis in (1, 2):
        places = starts[axis - 1][:, None] + tf.range(tf.shape(images)[axis] - max_shift)
        images = tf.gather(images, places, axis=axis, batch_dims=1)
    return images
