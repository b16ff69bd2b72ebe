"""The base class of the models, with which a first `fit` starts sooner."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid._compat import build_optimizer, keras, register
from tfpyramid.ops import batches
from tfpyramid.ops.shapes import sides


class TrainedModel(keras.Model):
    """A functional model that creates the variables of its optimizer before Keras traces a training step.

    Keras 3 creates them while it traces the step, with a conditional for each, and then traces the step again.
    """

    def make_train_function(self, *args: Any, **kwargs: Any) -> Any:
        build_optimizer(self)
        return super().make_train_function(*args, **kwargs)


@register
class PyramidModel(TrainedModel):
    """A functional model of layers between `AtLeastOneSample` and `AsManyAsImages`.

    Its layers never get an empty batch, so their operations need not handle one: that is most of their graph if the
    size of the batch is unknown.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        with batches.never_empty():
            return super().call(inputs, training=training, mask=mask)


@register
class PyramidSegmenter(PyramidModel):
    """A model from images to a map of their size, which checks the size of the masks that it is trained on."""

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *args: Any, **kwargs: Any) -> Any:
        if tf.is_tensor(y) and y.shape.rank in (3, 4):
            y = _of_size(y, y_pred)
        return super().compute_loss(x, y, y_pred, *args, **kwargs)


def _of_size(masks: tf.Tensor, maps: tf.Tensor) -> tf.Tensor:
    """Return masks, which must have the size of the maps: Keras would broadcast sides of 1."""
    rule = (
        "`y`, the masks, must have the height and the width of the images. Resize them first, for example with "
        "tf.image.resize(masks, size, method='nearest')."
    )
    known = [(n, m) for n, m in zip(masks.shape[1:3], maps.shape[1:3]) if None not in (n, m)]
    if any(n != m for n, m in known):
        raise ValueError(f"{rule} Received: masks of shape {masks.shape} for images of {maps.shape[1:3]}")
    (masks,) = batches.assert_equal(rule, [masks], sides(masks), sides(maps))
    return masks
