"""The model that `pyramid_classifier` builds with `early_exit=True`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfpyramid import ops
from tfpyramid._compat import keras, register, shape_tuple
from tfpyramid.layers import LevelCascade, LogitFusion
from tfpyramid.layers._base import BaseLayer, check_layer, output_dtype
from tfpyramid.models._every_level_model import ChoosesByCascade, EveryLevelModel

_LARGEST = 3  # How many of the largest logits a confidence layer reads in order of size.
_UNITS = 16  # Larger confidence layers were no better on held-out images.


@register
class EarlyExitClassifier(ChoosesByCascade, EveryLevelModel):
    """Classify an image from the coarsest levels that are sure; see `tfpyramid.models.pyramid_classifier`.

    A functional model from "image" to {"logits", "level_weights"}. In training mode it returns {"logits": [batch,
    levels, classes], "level_logits": [batch, levels - 1]}, as `EveryLevelModel` says.

    Args:
        cascade: one network for all levels, confidences that read the fused logits, the fusion, and the pyramid.
        input_shape: (height, width, channels) of an image; height and width may be None.
        **kwargs: arguments of `keras.Model`.
    """

    answer_name = "logits"
    second_names = ("cascade",)  # Keras already saves it as a member of `layers`.

    def __init__(self, cascade: LevelCascade, input_shape: Sequence[int | None], **kwargs: Any) -> None:
        cascade = check_layer("cascade", cascade)
        image = keras.Input(tuple(input_shape), name="image")
        logits, weights = cascade(image)
        super().__init__(inputs=image, outputs={"logits": logits, "level_weights": weights}, **kwargs)
        self._image_shape = tuple(input_shape)
        pyramid = cascade.pyramid
        self._set_cascade(cascade, ops.pixel_costs(pyramid.num_levels, pyramid.scale_factor, pyramid.upsampled_levels))

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> dict[str, tf.Tensor]:
        if not training:
            return super().call(inputs, training=training, mask=mask)
        logits = self.cascade.encode_all(_image(inputs))
        # The confidence is a regression on what the network says: it must not change that.
        seen = [tf.stop_gradient(level) for level in logits]
        return {"logits": tf.stack(logits, axis=1), "level_logits": self.cascade.confidence_logits(seen)}

    def answer_every_level(self, inputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the logits [batch, levels, classes], and the log-odds [batch, levels - 1] that they are right."""
        logits = self.cascade.encode_all(_image(inputs))
        return tf.stack(logits, axis=1), self.cascade.confidence_logits(logits)

    @property
    def network(self) -> keras.layers.Layer:
        """The network that all levels share."""
        (encoder,) = self.cascade.encoders
        return encoder.network if isinstance(encoder, FullPrecision) else encoder

    def get_layer(self, name: str | None = None, index: int | None = None) -> keras.layers.Layer:
        """Return a layer by its name or index; the network has a name too, although it is a part of the cascade."""
        if name is not None and name == self.network.name:
            return self.network
        return super().get_layer(name, index)

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {"cascade": serialize(self.cascade), "input_shape": list(self._image_shape), "name": self.name}


def early_exit_classifier(
    network: keras.layers.Layer,
    num_classes: int,
    pyramid: keras.layers.Layer,
    fusion: str,
    discount: float,
    input_shape: Sequence[int | None],
    name: str,
) -> EarlyExitClassifier:
    """Return the model of a network that returns logits [batch, num_classes]."""
    precise = keras.mixed_precision.global_policy().variable_dtype
    if output_dtype(network) != precise:
        network = FullPrecision(network, dtype=precise, name="full_precision")
    confidences = [_confidence(k, num_classes, precise) for k in range(1, pyramid.num_levels)]
    merge = DiscountedFusion(fusion, discount=discount, dtype=precise, name="merge")
    cascade = LevelCascade(network, confidences, pyramid, merge=merge, dtype=precise, name="cascade")
    return EarlyExitClassifier(cascade, input_shape, name=name)


def _confidence(k: int, num_classes: int, dtype: str) -> keras.Sequential:
    """Return the layer from the fused logits of level k to the log-odds that they are right.

    It says 0 until it is trained: a probability of 1/2.
    """
    layers = keras.layers
    stack = [
        keras.Input((num_classes,), dtype=dtype),
        BesideLargest(min(_LARGEST, num_classes), dtype=dtype),
        layers.BatchNormalization(momentum=0.9, dtype=dtype),  # Logits of any size; 0.99 needs more steps.
        layers.Dense(_UNITS, activation="relu", dtype=dtype),
        layers.Dense(1, kernel_initializer="zeros", dtype=dtype),
    ]
    return keras.Sequential(stack, name=f"confidence_{k}")


@register
class BesideLargest(BaseLayer):
    """Map vectors [batch, n] to [batch, n + count]: the vector, and its largest numbers in order of size.

    A small network cannot compute the difference between the two largest of many logits, which tells how sure they are.
    """

    def __init__(self, count: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count = count

    def call(self, vectors: tf.Tensor) -> tf.Tensor:
        return tf.concat([vectors, tf.math.top_k(vectors, self.count).values], axis=1)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch, size = shape_tuple(input_shape)
        return (batch, None if size is None else size + self.count)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "count": self.count}


@register
class DiscountedFusion(LogitFusion):
    """Fuse [logits of the coarser levels, logits of this level], the former lowered by `discount`.

    A sample that visits a finer level was not sure of the coarser ones.
    """

    def __init__(self, method: str, *, discount: float, **kwargs: Any) -> None:
        super().__init__(method, **kwargs)
        self.discount = discount

    def call(self, logits: list[tf.Tensor]) -> tf.Tensor:
        coarser, finer = logits
        return super().call([coarser - self.discount, finer])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "discount": self.discount}


@register
class FullPrecision(BaseLayer):
    """The logits of a network, cast to the dtype of this layer."""

    def __init__(self, network: keras.layers.Layer, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, **kwargs})
        self.network = check_layer("network", network)

    def build(self, input_shape: Any) -> None:
        if not self.network.built:
            self.network.build(input_shape)
        super().build(input_shape)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.network(images), self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return shape_tuple(self.network.compute_output_shape(input_shape))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "network": keras.saving.serialize_keras_object(self.network)}


def _image(inputs: Any) -> tf.Tensor:
    return inputs["image"] if isinstance(inputs, dict) else inputs
