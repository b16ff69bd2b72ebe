"""FixationPredictor."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _level_checks
from tfpyramid._compat import keras, register
from tfpyramid.layers._base import ImageLayer, as_called
from tfpyramid.layers._inputs import one_or_several, split, split_shapes
from tfpyramid.ops import batches, borders, convolution, maxima
from tfpyramid.ops.dtypes import working_dtype

_INPUTS = ("a view of the image, or a list of two tensors, [view, query]", [1, 2])


@register
class FixationPredictor(ImageLayer):
    """Where to look in an image, learned from a coarse view of it and, as an option, from a question about it.

    `FoveatedPyramid` reads the image there. The task trains the predictor through these crops. It needs no positions
    as targets.

    Equation:
        `m = relu((1 + g) (conv(view, u) + b) + d) v`, one map for each fixation: the convolution with the learned
        kernel u has `kernel_size` rows and columns, and v combines the channels of each pixel. `(g, d) = query q`
        scales and shifts the channels; without a query both are 0.
        `y = soft_argmax(m, T)`, with the temperature T: the mean position of the pixels of the view, weighted by
        `softmax(m / T)`. With `hard=True`, forward: the position of the largest value of the map, the first of equal
        ones; backward: the gradient of the equation.

    Convention:
        A fixation is (y, x) as a fraction of the image, as in `FoveatedPyramid`. The pixels of the view count as the
        centers of equal cells of the image, as those of `bilinear_down` and of `kernel="box"` are at sides that the
        factor divides. Pixels of a level of `GaussianPyramid(kernel=None)` lie (s^k - 1) / 2 pixels of the image before
        these centers.
        v starts with different random values for each fixation, so that fixations differ after training. q starts at 0,
        so an untrained predictor ignores the query.
        Fixations are computed and returned in at least float32, whatever the dtype policy is: bfloat16 would round them
        to 1/256 of the image.

    Args:
        num_fixations: number of fixations, from 1 to 1024. None means one, without an axis for it.
        filters: channels of the convolution, from 1 to 65536.
        kernel_size: rows and columns of the convolution's kernel, from 1 to 1024.
        temperature: initial value of the weight `temperature`, from 1e-30 to 1e30. Smaller values bring the fixation
            closer to the largest value of the map.
        hard: look at the largest value in the forward pass, with a straight-through gradient.
        border: border rule of the convolution: "reflect", "symmetric", "edge", "constant" or "wrap".
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        The view, [batch, height, width, channels], floating point: a small image or a feature map. Sides are at least 1
        and may be unknown. Or a list of the view and a query, [batch, size].

    Output shape:
        [batch, num_fixations, 2], or [batch, 2] if `num_fixations` is None.

    Attributes:
        temperature: scalar weight, saved and exported but not trained; `training.TemperatureAnnealing` can lower it.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> images = tf.random.uniform([8, 512, 512, 3])
        >>> view = ops.bilinear_down(images, scale_factor=16.0)
        >>> fixations = FixationPredictor(num_fixations=2)(view)
        >>> crops = FoveatedPyramid(size=32, num_levels=3)([images, fixations])
        >>> tuple(fixations.shape), tuple(crops[0].shape)
        ((8, 2, 2), (8, 2, 32, 32, 3))

    References:
        Finn, Tan, Duan, Darrell, Levine and Abbeel, Deep Spatial Autoencoders for Visuomotor Learning, 2016 (the
        soft-argmax); Perez, Strub, de Vries, Dumoulin and Courville, FiLM: Visual Reasoning with a General Conditioning
        Layer, 2018 (the query).
    """

    def __init__(
        self,
        num_fixations: int | None = None,
        *,
        filters: int = 32,
        kernel_size: int = 3,
        temperature: float = 1.0,
        hard: bool = False,
        border: str = "reflect",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_fixations = None if num_fixations is None else _check_number(num_fixations)
        self.filters = _checks.channels("filters", filters, "the channels of the convolution")
        self.kernel_size = _checks.kernel_size(kernel_size)
        self.initial_temperature = _checks.temperature(temperature)
        self.hard = _checks.flag("hard", hard)
        self.border = borders.check(border)

    def build(self, input_shape: Any) -> None:
        view, *query = _shapes(input_shape)
        glorot = keras.initializers.GlorotUniform()
        kernel = (self.kernel_size, self.kernel_size, view[3], self.filters)
        self.features_kernel = self.add_precise_weight("features_kernel", kernel, glorot)
        self.features_bias = self.add_precise_weight("features_bias", (self.filters,))
        if query:
            self.query_kernel = self.add_precise_weight("query_kernel", (query[0][1], 2 * self.filters))
        # A bias of a map would not change its softmax.
        maps = (self.filters, self.num_fixations or 1)
        self.map_kernel = self.add_precise_weight("map_kernel", maps, keras.initializers.GlorotUniform())
        self.temperature = self.add_parameter("temperature", self.initial_temperature, trainable=False)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor | list[tf.Tensor]) -> tf.Tensor:
        fixations = maxima.soft_argmax(self._logits(inputs), self.temperature, hard=self.hard)
        return fixations[:, 0] if self.num_fixations is None else fixations

    @as_called
    def fixation_maps(self, inputs: tf.Tensor | list[tf.Tensor]) -> tf.Tensor:
        """Return the weights of the pixels of the view, `softmax(m / T)`, [batch, fixations, height, width]."""
        return maxima.pixel_weights(self._logits(inputs), self.temperature)

    def _logits(self, inputs: tf.Tensor | list[tf.Tensor]) -> tf.Tensor:
        """Return the maps m, [batch, height, width, fixations]."""
        inputs = split(inputs if isinstance(inputs, (list, tuple)) else [inputs], *_INPUTS)
        view, *query = batches.check(dict(zip(("view", "query"), inputs)))
        view = _checks.images(view, "view")
        work = working_dtype(view.dtype)
        features = convolution.conv_down(
            tf.cast(view, work), tf.cast(self.features_kernel, work), 1, border=self.border
        )
        features += tf.cast(self.features_bias, work)
        if query:
            changes = tf.cast(query[0], work) @ tf.cast(self.query_kernel, work)
            scale, shift = tf.split(changes[:, None, None], 2, -1)
            features = (1 + scale) * features + shift
        return tf.nn.relu(features) @ tf.cast(self.map_kernel, work)

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        """Return Keras 3's symbolic output in the dtype of `call`; the default is that of the layer."""
        spec = super().compute_output_spec(inputs, **kwargs)
        return keras.KerasTensor(spec.shape, working_dtype(tf.as_dtype(self.compute_dtype)).name)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch = _shapes(input_shape)[0][0]
        return (batch, 2) if self.num_fixations is None else (batch, self.num_fixations, 2)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_fixations": self.num_fixations,
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "temperature": self.initial_temperature,
            "hard": self.hard,
            "border": self.border,
        }


def _check_number(value: object) -> int:
    meaning = "the fixations of an image, or None for one"
    return _checks.integer("num_fixations", value, 1, meaning, maximum=_checks.LARGEST)


def _shapes(input_shape: Any) -> list[tuple[int | None, ...]]:
    """Return the shapes of the view and the query."""
    view, *query = split_shapes(one_or_several(input_shape), *_INPUTS)
    view = _checks.image_shape("view", view)
    for shape in query:
        if len(shape) != 2 or shape[1] is None:
            rule = "`query` must have the shape [batch, size] with a known size"
            raise ValueError(f"{rule}. Received: query of shape {shape}")
        _level_checks.one_batch({"view": view, "query": shape})
    return [view, *query]
