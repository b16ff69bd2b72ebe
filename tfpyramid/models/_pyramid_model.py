"""The base class of the models, with which a first `fit` starts sooner."""

from __future__ import annotations

from typing import Any

from tfpyramid._compat import build_optimizer, keras, register
from tfpyramid.ops import batches


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
