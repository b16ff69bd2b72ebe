"""WeightedFusion."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _level_checks
from tfpyramid._compat import register
from tfpyramid.layers.fusion._aligned import AlignedLayer
from tfpyramid.ops import adaptive_fusion, fusion, portable
from tfpyramid.ops.dtypes import working_dtype


@register
class WeightedFusion(AlignedLayer):
    """One map from all levels: their sum with learned weights, at the size of the target level.

    There is one weight for each level, or one for each level and channel. With `adaptive`, the weights are computed
    from the levels, for each place or for each image. All levels must have the same number of channels;
    `UpsampleConcat` has no such rule.

    Equation:
        `y = sum_k w[k] align(x[k])`, with one learned number v[k] for each level:
        "fast_normalized": `w[k] = relu(v[k]) / (sum_j relu(v[j]) + epsilon)`, v starts at 1;
        "softplus_normalized": `w[k] = softplus(v[k]) / sum_j softplus(v[j])`, v starts at 1;
        "softmax": `w = softmax(v / T)`, with the temperature T, v starts at 0; "sum": `w = v`, v starts at 1.
        With `per_channel=True` v[k] and w[k] are vectors with a number for each channel, normalised over the levels.
        With `adaptive="map"`, at each place, `w = softmax(s / T)` over the levels, with the score
        `s[k] = align(x[k]) u[k] + v[k]`: a 1 by 1 convolution with a learned kernel u[k], which starts at 0, as v does.
        With `adaptive="image"`, the score is `s[k] = mean(x[k]) u[k] + v[k]`, the mean over all places of the level.
        With `hard=True`, forward: only the level with the largest weight, chosen for each channel if `per_channel`, and
        for each place or image if `adaptive`; backward: the gradient of the weights above.

    Convention:
        Untrained, all levels have the same weight, adaptive or not.
        Only "softmax" has a temperature. Towards 0 its soft weights tend to one level. If it is hard, its surrogate
        gradient tends to the gradient of the choice. The other methods accept only a temperature of 1.
        A level with weight 0 is not read, so its NaN and infinities do not reach the result. The gradient of the
        weights reads every level. Adaptive weights read every level too, also if `hard`: NaN or infinity in any level
        makes the result NaN at the places whose aligned level has it ("map"), or in that whole image ("image").
        Levels are aligned as in `UpsampleConcat`, which also lists the sizes they may have.

        The published "fast_normalized" can stop learning: if every v[k] is negative, the output and the gradient are 0
        and remain 0, for each channel separately with `per_channel`. "softplus_normalized" has a gradient for every v,
        so training recovers; its weights also start equal, and sum to 1.

    Args:
        method: "fast_normalized", "softplus_normalized", "softmax" or "sum". None means "softmax" with `adaptive`,
            which accepts no other method, and "fast_normalized" without.
        adaptive: "map" for weights at each place, "image" for weights of each image, or None for weights that do not
            depend on the levels.
        target_level: index of the level that sets the size of the result. 0 is the finest; negative indices count from
            the coarsest.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024, or None, as in
            `UpsampleConcat`.
        interpolation: "bilinear" or "nearest".
        phase: position of sample 0 of a level, in samples of the level before it, as in `UpsampleConcat`.
        per_channel: learn a weight for each channel of a level separately. With `adaptive`, the score of each channel
            reads all channels of the level.
        hard: use one level in the forward pass, with a straight-through gradient.
        temperature: initial value of the weight `temperature` of "softmax", from 1e-30 to 1e30. Smaller values bring
            the weights closer to one-hot. It must be 1 for the other methods.
        epsilon: keeps "fast_normalized" from dividing by zero, from 1e-30 to 1e30.
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        A list or dict of [batch, height, width, channels], finest first, with one batch size and one number of
        channels. Sides are at least 1 and may be unknown.

    Output shape:
        [batch, target height, target width, channels].

    Attributes:
        level_weights: the learned v, [levels] or [levels, channels].
        score_kernel: the learned u of an adaptive layer, [levels, channels, 1 or channels]; None for other layers.
        temperature: scalar weight of "softmax", saved and exported but not trained; `training.TemperatureAnnealing` can
            lower it. None for the other methods.

    Raises:
        ValueError: if an argument or the input breaks a rule above, such as levels in the wrong order.

    Example:
        >>> levels = GaussianPyramid(num_levels=3)(tf.ones([1, 33, 47, 3]))
        >>> tuple(WeightedFusion("softmax")(levels).shape)
        (1, 33, 47, 3)
        >>> tuple(WeightedFusion(adaptive="map", hard=True)(levels).shape)
        (1, 33, 47, 3)

    References:
        Tan, Pang and Le, EfficientDet: Scalable and Efficient Object Detection, 2020, section 3.3;
        Liu, Huang and Wang, Learning Spatial Fusion for Single-Shot Object Detection, 2019, section 3 ("map").
    """

    def __init__(
        self,
        method: str | None = None,
        *,
        adaptive: str | None = None,
        per_channel: bool = False,
        hard: bool = False,
        temperature: float = 1.0,
        epsilon: float = 1e-4,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        options = (*adaptive_fusion.ADAPTIVE, None)
        self.adaptive = None if adaptive is None else _checks.one_of("adaptive", adaptive, options)
        self.method = _method(method, self.adaptive)
        self.per_channel = _checks.flag("per_channel", per_channel)
        self.hard = _checks.flag("hard", hard)
        self.initial_temperature = _checks.temperature(temperature)
        fusion.check_temperature(self.method, self.initial_temperature)
        self.epsilon = _checks.number("epsilon", epsilon, above=0)
        self.temperature = self.score_kernel = None  # `build` creates them for "softmax" and for `adaptive`.

    def build(self, input_shape: Any) -> None:
        shapes = self.aligned_shapes(input_shape)
        channels = (shapes[0][3],) if self.per_channel else ()
        start = "zeros" if self.method == "softmax" else "ones"
        # In half precision, different weights could tie.
        self.level_weights = self.add_precise_weight("level_weights", (len(shapes), *channels), start)
        if self.adaptive is not None:
            count = shapes[0][3]
            shape = (len(shapes), count, count if self.per_channel else 1)
            self.score_kernel = self.add_precise_weight("score_kernel", shape)
        if self.method == "softmax":
            self.temperature = self.add_parameter("temperature", self.initial_temperature, trainable=False)
        super().build(input_shape)

    def call(self, levels: list[tf.Tensor]) -> tf.Tensor:
        aligned = self.aligned(levels)
        dtype = aligned[0].dtype
        work = working_dtype(dtype)  # A partial sum can be beyond float16 even if the result is not.
        if self.adaptive is None:
            weights = tf.unstack(tf.cast(self.weigh(), work), len(aligned))
        else:
            weights = self._adaptive_weights(levels if self.adaptive == "image" else aligned)
        # A plain product would let a NaN of a level with weight 0 into the sum, because 0 * NaN is NaN.
        parts = [portable.multiply_no_nan(tf.cast(level, work), weight) for level, weight in zip(aligned, weights)]
        return tf.cast(tf.add_n(parts), dtype)

    def weigh(self, levels: Any = None) -> tf.Tensor:
        """Return the current weights w, [levels] or [levels, channels], one-hot if `hard`.

        With `adaptive`, return those for `levels`, with the leading axes [batch] ("image") or [batch, height, width]
        ("map").
        """
        if self.adaptive is not None:
            return self._weigh_levels(levels)
        values = tf.convert_to_tensor(self.level_weights)
        temperature = 1.0 if self.temperature is None else self.temperature
        return fusion.fusion_weights(values, self.method, hard=self.hard, temperature=temperature, epsilon=self.epsilon)

    def _weigh_levels(self, levels: Any) -> tf.Tensor:
        if levels is None:
            raise ValueError("`levels` must be given if the layer is `adaptive`. Received: levels=None")
        levels = _level_checks.levels(_level_checks.level_list(levels), None)
        weights = tf.stack(self._adaptive_weights(levels if self.adaptive == "image" else self.aligned(levels)), axis=3)
        weights = weights if self.per_channel else weights[..., 0]
        return weights[:, 0, 0] if self.adaptive == "image" else weights

    def _adaptive_weights(self, levels: list[tf.Tensor]) -> list[tf.Tensor]:
        """Return a tensor [batch, height or 1, width or 1, 1 or channels] for each level."""
        kernel, values = map(tf.convert_to_tensor, (self.score_kernel, self.level_weights))
        return adaptive_fusion.adaptive_weights(
            levels,
            kernel,
            tf.reshape(values, [len(levels), -1]),
            self.adaptive,
            hard=self.hard,
            temperature=self.temperature,
        )

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        shapes = self.aligned_shapes(input_shape)
        _level_checks.same_channels(shapes)
        return shapes[0]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "method": self.method,
            "adaptive": self.adaptive,
            "per_channel": self.per_channel,
            "hard": self.hard,
            "temperature": self.initial_temperature,
            "epsilon": self.epsilon,
        }


def _method(method: str | None, adaptive: str | None) -> str:
    """Return the method that None means, or a checked one."""
    if method is None:
        return "fast_normalized" if adaptive is None else "softmax"
    _checks.one_of("method", method, (*fusion.METHODS, None))
    if adaptive is not None and method != "softmax":
        raise ValueError(
            "`method` must be 'softmax' or None with `adaptive`, because adaptive weights are a softmax of scores. "
            f"{_checks.received('method', method)}, adaptive={adaptive!r}"
        )
    return method
