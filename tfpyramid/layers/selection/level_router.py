"""LevelRouter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _level_checks
from tfpyramid._compat import keras, register, shape_tuple, track_list
from tfpyramid.layers._base import TakesLevels, build_layer, call_layer, output_dtype, output_shape
from tfpyramid.layers.selection import _parts
from tfpyramid.ops import batches, dtypes, partition, routing


@register
class LevelRouter(TakesLevels):
    """Features of each sample, computed from the level that its weights select.

    In training every encoder runs on every sample, and the features are a weighted sum. At inference each sample runs
    only the encoder of its level, which saves the cost of all others.

    Equation:
        Training: `y[b] = sum_k weights[b, k] encoder[k](level[k])[b]`.
        Inference: `y[b] = encoder[m](level[m])[b]`, `m = argmax_k weights[b, k]`, the first of equal weights. For
        one-hot weights the two are the same.

    Convention:
        At inference the graph groups the samples by their level. Each encoder gets its samples as one batch, and is not
        executed if it has none. Then the features are restored to the order of the batch. With a `pyramid`, a level is
        computed only for the samples that need it or a coarser one.
        The weights have a gradient in training only. A NaN among a sample's weights makes the features of that sample
        NaN.
        The number of samples per encoder is known only when the graph runs. The layer therefore tells Keras not to
        compile it with XLA, unless `partition=False`.
        The features have the dtype of the encoders' outputs, in training and at inference. This is the dtype of the
        last layer of a Sequential or functional model, and that of the policy of any other layer. If the encoders
        differ, it is the widest: float32 for float16 and float32, or for float16 and bfloat16.

    Args:
        encoders: one layer per level, finest first, all with one output shape: vectors, or maps [batch, height, width,
            channels] of one size. Sizes must be known, except the batch and the height and width of maps. A
            `keras.Sequential` that is not built yet is built for images of any size, unless its weights depend
            on the sides.
        pyramid: layer that computes each level from the one before it, as many levels as there are encoders: a
            `LearnablePyramid` or `GaussianPyramid`. The router then takes images. None means that it takes the levels.
        partition: at inference, run each sample through its own encoder only. False runs all encoders, as in training.
        **kwargs: arguments of `keras.layers.Layer`.

    Input shape:
        A list or dict: the levels, each [batch, height, width, channels], floating point, or with a `pyramid` the
        images alone; then the weights of a selector, [batch, levels]. All have one batch size. To use several rows of
        weights with one image, repeat the image.

    Output shape:
        That of the encoders.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> encoders = [keras.layers.GlobalAveragePooling2D(name=f"mean_{k}") for k in range(2)]
        >>> router = LevelRouter(encoders, GaussianPyramid(num_levels=2))
        >>> tuple(router([tf.ones([3, 9, 7, 5]), tf.one_hot([0, 1, 1], 2)]).shape)
        (3, 5)

    References:
        Shazeer, Mirhoseini, Maziarz, Davis, Le, Hinton and Dean, Outrageously Large Neural Networks: The
        Sparsely-Gated Mixture-of-Experts Layer, 2017, section 2.
    """

    def __init__(
        self,
        encoders: Sequence[keras.layers.Layer],
        pyramid: keras.layers.Layer | None = None,
        *,
        partition: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(encoders, (list, tuple)) or not encoders:
            raise ValueError(
                f"`encoders` must be a list of layers, one for each level. {_checks.received('encoders', encoders)}"
            )
        self.encoders = _parts.check_different("encoders", encoders)
        track_list(self, "encoders")
        self.pyramid = None if pyramid is None else _check_pyramid(pyramid, len(self.encoders))
        self.partition = _checks.flag("partition", partition)
        if self.partition:
            self.supports_jit = False

    def build(self, input_shape: Any) -> None:
        levels, _ = self._shapes(input_shape)
        if self.pyramid is not None and not self.pyramid.built:
            self.pyramid.build(input_shape[0])
        for encoder, shape in zip(self.encoders, levels):
            build_layer(encoder, shape)
        super().build(input_shape)

    def call(self, inputs: list[tf.Tensor], training: bool | None = None) -> tf.Tensor:
        *levels, weights = inputs
        self._check_batches([tensor.shape for tensor in inputs])
        levels = [_checks.images(level, f"levels[{k}]") for k, level in enumerate(levels)]
        if training or not self.partition:
            return routing.weighted_sum(self.encode_all(*levels), weights)
        shapes, feature_shape = self._shapes([tensor.shape for tensor in inputs])
        encoders = [partition.Stage(encoder, feature_shape[1:], self._feature_dtype) for encoder in self.encoders]
        if self.pyramid is None:
            return routing.route(levels, weights, encoders)
        images = _parts.as_called_by_keras(self.pyramid, levels[0])
        return routing.route_down(images, weights, encoders, _parts.steps_down(self.pyramid, shapes))

    def encode_all(self, *levels: tf.Tensor) -> list[tf.Tensor]:
        """Return the features of every level, of the levels or, with a `pyramid`, of the images."""
        levels = tuple(tf.convert_to_tensor(level) for level in levels)
        if self.pyramid is not None:
            levels = self.pyramid(*levels)
        return [call_layer(encode, level, self._feature_dtype) for encode, level in zip(self.encoders, levels)]

    @property
    def _feature_dtype(self) -> tf.DType:
        return dtypes.common_dtype([output_dtype(encoder) for encoder in self.encoders])

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
        """Return Keras 3's symbolic output with the dtype of the features; the default is the dtype of this layer."""
        shape = self.compute_output_shape([tensor.shape for tensor in inputs])
        return keras.KerasTensor(shape, dtype=self._feature_dtype.name)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return self._shapes(input_shape)[1]

    def _check_batches(self, shapes: Any) -> None:
        *levels, weights = _level_checks.level_list(shapes, "inputs")
        named = batches.named("levels", levels) if self.pyramid is None else {"images": levels[0]}
        _level_checks.one_batch({**named, "weights": weights})

    def _shapes(self, input_shape: Any) -> tuple[list[_checks.ImageShape], tuple[int | None, ...]]:
        """Return the shapes of the levels and of the features, checked."""
        *shapes, weights = [shape_tuple(shape) for shape in _level_checks.level_list(input_shape, "inputs")]
        routing.check_weights(weights, len(self.encoders))
        if self.pyramid is not None and len(shapes) != 1:
            raise ValueError(
                f"`inputs` must be [images, weights] if the router has a `pyramid`. Received: {len(shapes) + 1} inputs"
            )
        shapes = shapes if self.pyramid is None else self.pyramid.compute_output_shape(shapes[0])
        levels = _level_checks.level_shapes(shapes)
        if len(levels) != len(self.encoders):
            raise ValueError(
                f"`inputs` must hold {len(self.encoders)} levels, one for each encoder, followed by the weights. To "
                f"pass images instead, give the router a `pyramid`. Received: {len(levels)} levels"
            )
        self._check_batches(input_shape)
        features = [output_shape(encoder, level) for encoder, level in zip(self.encoders, levels)]
        return levels, _parts.one_shape(features)

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "encoders": [serialize(encoder) for encoder in self.encoders],
            "pyramid": None if self.pyramid is None else serialize(self.pyramid),
            "partition": self.partition,
        }


def _check_pyramid(pyramid: Any, num_levels: int) -> keras.layers.Layer:
    pyramid = _parts.check_pyramid(pyramid)
    if getattr(pyramid, "upsampled_levels", 0):
        raise ValueError(
            "`pyramid` must compute each level from the one before it, so its `upsampled_levels` must be 0. "
            f"Received: pyramid.upsampled_levels={pyramid.upsampled_levels}"
        )
    if pyramid.num_levels != num_levels:
        raise ValueError(
            f"`pyramid` must have {num_levels} levels, as many as there are `encoders`. "
            f"Received: pyramid.num_levels={pyramid.num_levels}"
        )
    return pyramid
