"""LevelCascade."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfpyramid import _checks, _level_checks
from tfpyramid._compat import keras, register, track_list
from tfpyramid.layers._base import TakesLevels, build_layer, check_built, check_layer, output_dtype, output_shape
from tfpyramid.layers.selection import _cascade_checks, _parts
from tfpyramid.ops import batches, cascades, dtypes, halting, routing

INPUTS = ("images", "query", "start")


@register
class LevelCascade(TakesLevels):
    """Features of each sample, from the first level, coarse to fine, that is good enough for it.

    At inference an easy sample runs one small encoder. A confidence layer predicts from the features whether they are
    good enough, and only the other samples run the encoder of the next finer level.

    Equation:
        `P[k] = sigmoid(scale[k] z[k] + bias[k])`, with the log-odds `z[k] = confidence[k](y[k])`, or
        `confidence[k](y[k], query)`. `y[k] = encoder[k](level[k])`, or `merge(y[k + 1], encoder[k](level[k]))`.
        Inference: a sample goes from its start level to finer ones, and stops at the first level k with
        `P[k] >= threshold[k]`, or at level 0. It returns `y[k]`.
        Training: `y = sum_k w[k] y[k]`, `w[k] = P[k] prod_j (1 - P[j])`, the product over the levels j from the start
        level to k + 1, with `P[0] = 1`: the probability that a sample stops at level k.

    Convention:
        Levels are finest first, and run from the last to the first. A threshold of 0 stops at the start level. With a
        threshold of 1 a sample goes on unless P is rounded to 1. A sample with a NaN confidence goes on to level 0.
        At inference each level gets the samples that visit it as one batch. Its encoder is not executed if there are
        none. Levels finer than the images, a pyramid's `upsampled_levels`, are computed for the samples that visit
        them. The pyramid computes the other levels from the images down, for all samples that start there or below. A
        `LearnablePyramid` that averages pixels, with `downsample=keras.layers.AveragePooling2D(2)`, computes level 2
        from the images, and level 1 only for the samples that visit it.
        To train the confidences, minimize the binary cross-entropy between the `confidence_logits` of `encode_all` and
        whether the answer from each level was right, as `tfpyramid.models.pyramid_vlm` does.
        The numbers of samples are known only when the graph runs. The layer therefore tells Keras not to compile it
        with XLA, unless `partition=False`. A batch of one sample is not partitioned.

    Args:
        encoders: one layer per level, finest first, or one layer for all levels. Outputs have one shape, as in
            `LevelRouter`.
        confidences: layers for the levels 1, 2, ..., or one layer for all of these: from features, or from [features,
            query] if the cascade is called with a query, to log-odds [batch, 1].
        pyramid: layer that computes the levels from the images, as in `LevelRouter`. It has at least 2 levels. A
            `GaussianPyramid` may have `upsampled_levels`.
        threshold: initial value of the weight `threshold`, from 0 to 1: a number, or a list, one for each level but the
            finest.
        merge: layer from [features of the coarser levels, features of this level] to features of the same shape, such
            as `LogitFusion()`. None means that each level answers alone. It is not called at the start level.
        partition: at inference, run only the levels that each sample visits. False runs all levels.
        **kwargs: arguments of `keras.layers.Layer`.

    Input shape:
        Images, [batch, height, width, channels], floating point; or [images, query] with a query [batch, ...]; or
        [images, query, start] with one-hot `start`, [batch, levels], the level where each sample starts. The default
        is the coarsest. In training, `start` may hold probabilities. All have one batch size.

    Output shape:
        (features, weights): the features have the shape of the encoders' outputs. The weights, [batch, levels], are
        one-hot at the level where the sample stopped, and in training w.

    Attributes:
        num_levels: that of the pyramid.
        threshold: weight [num_levels - 1] for the levels 1, 2, ..., saved and exported but not trained.
        calibration: weight [num_levels - 1, 2], the scale (at first 1) and bias (0) of the levels 1, 2, ..., saved and
            exported but not trained.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> pool = keras.layers.GlobalAveragePooling2D()
        >>> cascade = LevelCascade(pool, keras.layers.Dense(1), GaussianPyramid(num_levels=3), threshold=0.5)
        >>> features, weights = cascade(tf.zeros([2, 32, 32, 3]))
        >>> weights.numpy()  # A log-odds of 0 is P = 0.5, so both stop at the coarsest level.
        array([[0., 0., 1.],
               [0., 0., 1.]], dtype=float32)

    References:
        Huang, Chen, Li, Wu, van der Maaten and Weinberger, Multi-Scale Dense Networks for Resource Efficient Image
        Classification, 2018, section 3. Teerapittayanon, McDanel and Kung, BranchyNet, 2016, section III. Halting
        probabilities: Graves, Adaptive Computation Time for Recurrent Neural Networks, 2016, section 2.
    """

    def __init__(
        self,
        encoders: keras.layers.Layer | Sequence[keras.layers.Layer],
        confidences: keras.layers.Layer | Sequence[keras.layers.Layer],
        pyramid: keras.layers.Layer,
        *,
        threshold: float | Sequence[float] = 0.9,
        merge: keras.layers.Layer | None = None,
        partition: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pyramid = _parts.check_pyramid(pyramid)
        if (self.pyramid.num_levels or 0) < 2:
            raise ValueError(
                "`pyramid` must have a known number of at least 2 levels. "
                f"Received: pyramid.num_levels={self.pyramid.num_levels}"
            )
        self.num_levels: int = self.pyramid.num_levels
        self.encoders = _cascade_checks.one_or_each("encoders", encoders, self.num_levels, "one for each level")
        self.confidences = _cascade_checks.one_or_each(
            "confidences", confidences, self.num_levels - 1, "one for each level but the finest"
        )
        track_list(self, "encoders")
        track_list(self, "confidences")
        self.initial_threshold = _cascade_checks.threshold(threshold, self.num_levels - 1)
        self.merge = None if merge is None else check_layer("merge", merge)
        self.partition = _checks.flag("partition", partition)
        if self.partition:
            self.supports_jit = False

    @property
    def upsampled_levels(self) -> int:
        """The number of levels of the pyramid that are finer than the images."""
        return getattr(self.pyramid, "upsampled_levels", 0)

    def build(self, input_shape: Any) -> None:
        levels, features = self._shapes(input_shape)
        images, *others = _cascade_checks.split_shapes(input_shape, INPUTS)
        if not self.pyramid.built:
            self.pyramid.build(images)
        for encoder, shape in zip(self.encoders, levels):
            build_layer(encoder, shape)
        for confidence in self.confidences:
            if not confidence.built:
                confidence.build([features, others[0]] if others else features)
        if self.merge is not None and not self.merge.built:
            self.merge.build([features, features])
        count = self.num_levels - 1
        self.threshold = self.add_parameter(
            "threshold", np.broadcast_to(self.initial_threshold, count), trainable=False
        )
        self.calibration = self.add_parameter("calibration", np.tile([1.0, 0.0], (count, 1)), trainable=False)
        super().build(input_shape)

    def call(self, inputs: Any, training: bool | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        given = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        levels, feature_shape = self._shapes([x.shape for x in given])
        given = batches.check(dict(zip(INPUTS, given)))
        images, query, start = [*given, None, None][:3]
        if training or not self.partition:
            weighed = functools.partial(self._weighed, soft=bool(training))
            features, weights = batches.call_all(weighed, images, query, start)
            return features, tf.cast(weights, self.compute_dtype)
        features, stop = cascades.cascade(
            _parts.as_called_by_keras(self.pyramid, _checks.images(images)),
            self._levels(),
            _parts.steps_of_all(self.pyramid, levels),
            tf.TensorSpec(feature_shape, self._feature_dtype),
            query=query,
            start=None if start is None else routing.choice_of(start),
            merge=self._merge(),
        )
        weights = tf.one_hot(stop, self.num_levels, dtype=self.compute_dtype)
        if start is not None:
            features = features + routing.nan_rows(start, features)
            weights = weights + routing.nan_rows(start, weights)
        return features, weights

    def _levels(self) -> list[cascades.Level]:
        thresholds = tf.unstack(tf.convert_to_tensor(self.threshold))
        on_demand = _parts.on_demand(self.pyramid)

        def level(k: int) -> cascades.Level:
            def sure(features: tf.Tensor, *query: tf.Tensor) -> tf.Tensor:
                probability = self._probability(self._confidence(k, features, *query), k - 1)
                return probability >= tf.cast(thresholds[k - 1], probability.dtype)

            samples = on_demand[k] if k < len(on_demand) else None
            return cascades.Level(self._each("encoders", k), sure if k else None, samples)

        return [level(k) for k in range(self.num_levels)]

    def _each(self, name: str, k: int) -> keras.layers.Layer:
        """Return layer k of a list, or the one layer that all levels share."""
        layers = getattr(self, name)
        return layers[k] if len(layers) > 1 else layers[0]

    def _confidence(self, k: int, features: tf.Tensor, *query: tf.Tensor) -> tf.Tensor:
        """Return the log-odds z of level k, [batch], in at least float32."""
        z = self._each("confidences", k - 1)([features, *query] if query else features)
        return tf.cast(z[:, 0], dtypes.working_dtype(z.dtype))

    def _probability(self, z: tf.Tensor, levels: int | slice = slice(None)) -> tf.Tensor:
        """Return P of levels, all of 1, 2, ... or one of these by its index, from their log-odds."""
        calibration = tf.cast(tf.convert_to_tensor(self.calibration), z.dtype)
        return tf.sigmoid(calibration[levels, 0] * z + calibration[levels, 1])

    def _weighed(
        self, images: tf.Tensor, query: tf.Tensor | None, start: tf.Tensor | None, *, soft: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the sum of the features of all levels, and its weights: one-hot unless `soft`."""
        features = self._encode(images, start)
        logits = self._logits(features, query)
        if soft:
            weights = halting.halting_weights(self.probabilities(logits), start)
        else:
            weights = self.choose(logits, start)
        return routing.summed(features, weights), weights

    def _encode(self, images: tf.Tensor, start: tf.Tensor | None) -> list[tf.Tensor]:
        """Return the features of each level, merged with those of the coarser levels that a sample visits."""
        levels = self.pyramid(_checks.images(images))
        features = [tf.cast(self._each("encoders", k)(level), self._feature_dtype) for k, level in enumerate(levels)]
        return cascades.merged_levels(features, self._merge(), None if start is None else routing.choice_of(start))

    def _merge(self) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None:
        """Return `merge` as a function of the features of the coarser levels and those of a level."""
        return self.merge and (lambda coarser, own: self.merge([coarser, own]))

    def _logits(self, features: Sequence[tf.Tensor], query: tf.Tensor | None) -> tf.Tensor:
        given = [] if query is None else [query]
        return tf.stack([self._confidence(k, features[k], *given) for k in range(1, self.num_levels)], axis=1)

    def encode_all(self, images: tf.Tensor) -> list[tf.Tensor]:
        """Return the features of every level, merged if there is a `merge`, for samples that start at the coarsest."""
        check_built(self, "encode_all")
        images = tf.cast(_checks.images(images), self.compute_dtype)
        return batches.call_all(lambda padded: self._encode(padded, None), images)

    def confidence_logits(self, features: Sequence[tf.Tensor], query: tf.Tensor | None = None) -> tf.Tensor:
        """Return the log-odds z of the levels 1, 2, ..., [batch, levels - 1], from the result of `encode_all`."""
        check_built(self, "confidence_logits")
        features = [tf.convert_to_tensor(each) for each in features]
        query = None if query is None else tf.cast(query, self.compute_dtype)

        return batches.call_all(lambda query, *padded: self._logits(padded, query), query, *features)

    def probabilities(self, logits: tf.Tensor) -> tf.Tensor:
        """Return P of the levels 1, 2, ..., [batch, levels - 1], from the result of `confidence_logits`."""
        check_built(self, "probabilities")
        return self._probability(tf.convert_to_tensor(logits))

    def choose(self, logits: tf.Tensor, start: tf.Tensor | None = None) -> tf.Tensor:
        """Return the one-hot weights of inference, from the result of `confidence_logits`."""
        p = self.probabilities(logits)
        return halting.stopping_weights(p >= tf.cast(tf.convert_to_tensor(self.threshold), p.dtype), start, p.dtype)

    def level_usage(self, outputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """Return the weights, [batch, levels], for `training.PyramidMonitor`."""
        return outputs[1]

    @property
    def _feature_dtype(self) -> tf.DType:
        return dtypes.common_dtype([output_dtype(encoder) for encoder in self.encoders])

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
        """Return Keras 3's symbolic outputs, the features with their dtype; the default is the dtype of this layer."""
        given = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        shapes = self.compute_output_shape([x.shape for x in given])
        dtypes_of = self._feature_dtype.name, self.compute_dtype
        return tuple(keras.KerasTensor(shape, dtype=dtype) for shape, dtype in zip(shapes, dtypes_of))

    def compute_output_shape(self, input_shape: Any) -> tuple[tuple[int | None, ...], tuple[int | None, ...]]:
        _, features = self._shapes(input_shape)
        return features, (features[0], self.num_levels)

    def _shapes(self, input_shape: Any) -> tuple[list[_checks.ImageShape], tuple[int | None, ...]]:
        """Return the shapes of the levels and of the features, checked."""
        images, *others = _cascade_checks.split_shapes(input_shape, INPUTS)
        levels = _level_checks.level_shapes(self.pyramid.compute_output_shape(images))
        encoders = [self._each("encoders", k) for k in range(self.num_levels)]
        features = _parts.one_shape([output_shape(encoder, level) for encoder, level in zip(encoders, levels)])
        _cascade_checks.parts_fit(self.confidences, self.merge, features, others[:1])
        if len(others) == 2:
            routing.check_weights(others[1], self.num_levels, "start")
        return levels, features

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object

        def serialized(layers: Sequence[keras.layers.Layer], count: int) -> Any:
            return [serialize(layer) for layer in layers] if len(layers) == count else serialize(layers[0])

        threshold = self.initial_threshold
        return {
            **super().get_config(),
            "encoders": serialized(self.encoders, self.num_levels),
            "confidences": serialized(self.confidences, self.num_levels - 1),
            "pyramid": serialize(self.pyramid),
            "threshold": list(threshold) if isinstance(threshold, tuple) else threshold,
            "merge": None if self.merge is None else serialize(self.merge),
            "partition": self.partition,
        }
