"""WeightedFusion."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _level_checks
from tfpyramid._compat import register
from tfpyramid.layers.fusion._aligned import AlignedLayer
from tfpyramid.ops import fusion, portable
from tfpyramid.ops.dtypes import working_dtype


@register
class WeightedFusion(AlignedLayer):
    """One map from all levels: their sum with learned weights, at the size of the target level.

    There is one weight for each level, or one for each level and channel. All levels must have the same number of
    channels; `UpsampleConcat` has no such rule.

    Equation:
        `y = sum_k w[k] align(x[k])`, with one learned number v[k] for each level:
        "fast_normalized": `w[k] = relu(v[k]) / (sum_j relu(v[j]) + epsilon)`, v starts at 1;
        "softplus_normalized": `w[k] = softplus(v[k]) / sum_j softplus(v[j])`, v starts at 1;
        "softmax": `w = softmax(v / T)`, with the temperature T, v starts at 0; "sum": `w = v`, v starts at 1.
        With `per_channel=True` v[k] and w[k] are vectors with a number for each channel, normalised over the levels.
        With `hard=True`, forward: only the level with the largest weight, chosen for each channel if `per_channel`;
        backward: the gradient of the weights above.

    Convention:
        Only "softmax" has a temperature. Towards 0 its soft weights tend to one level. If it is hard, its surrogate
        gradient tends to the gradient of the choice. The other methods accept only a temperature of 1.
        A level with weight 0 is not read, so its NaN and infinities do not reach the result. The gradient of the
        weights reads every level. Levels are aligned as in `UpsampleConcat`, which also lists the sizes they may have.

        The published "fast_normalized" can stop learning: if every v[k] is negative, the output and the gradient are 0
        and remain 0, for each channel separately with `per_channel`. "softplus_normalized" has a gradient for every v,
        so training recovers; its weights also start equal, and sum to 1.

    Args:
        method: "fast_normalized", "softplus_normalized", "softmax" or "sum".
        target_level: index of the level that sets the size of the result. 0 is the finest; negative indices count from
            the coarsest.
        scale_factor: ratio of a level's sides to those of the next, greater than 1 and at most 1024, or None, as in
            `UpsampleConcat`.
        interpolation: "bilinear" or "nearest".
        phase: position of sample 0 of a level, in samples of the level before it, as in `UpsampleConcat`.
        per_channel: learn a weight for each channel of a level separately.
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
        temperature: scalar weight of "softmax", saved and exported but not trained; `training.TemperatureAnnealing` can
            lower it. None for the other methods.

    Raises:
        ValueError: if an argument or the input breaks a rule above, such as levels in the wrong order.

    Example:
        >>> levels = GaussianPyramid(num_levels=3)(tf.ones([1, 33, 47, 3]))
        >>> tuple(WeightedFusion("softmax")(levels).shape)
        (1, 33, 47, 3)

    References:
        Tan, Pang and Le, EfficientDet: Scalable and Efficient Object Detection, 2020, section 3.3.
    """

    def __init__(
        self,
        method: str = "fast_normalized",
        *,
        per_channel: bool = False,
        hard: bool = False,
        temperature: float = 1.0,
        epsilon: float = 1e-4,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.method = _checks.one_of("method", method, fusion.METHODS)
        self.per_channel = _checks.flag("per_channel", per_channel)
        self.hard = _checks.flag("hard", hard)
        self.initial_temperature = _checks.temperature(temperature)
        fusion.check_temperature(self.method, self.initial_temperature)
        self.epsilon = _checks.number("epsilon", epsilon, above=0)
        self.temperature = None  # `build` creates it for "softmax".

    def build(self, input_shape: Any) -> None:
        shapes = self.aligned_shapes(input_shape)
        channels = (shapes[0][3],) if self.per_channel else ()
        start = "zeros" if self.method == "softmax" else "ones"
        # In half precision, different weights could tie.
        self.level_weights = self.add_precise_weight("level_weights", (len(shapes), *channels), start)
        if self.method == "softmax":
            self.temperature = self.add_parameter("temperature", self.initial_temperature, trainable=False)
        super().build(input_shape)

    def call(self, levels: list[tf.Tensor]) -> tf.Tensor:
        aligned = self.aligned(levels)
        dtype = aligned[0].dtype
        work = working_dtype(dtype)  # A partial sum can be beyond float16 even if the result is not.
        weights = tf.unstack(tf.cast(self.weigh(), work), len(aligned))
        # A plain product would let a NaN of a level with weight 0 into the sum, because 0 * NaN is NaN.
        parts = [portable.multiply_no_nan(tf.cast(level, work), weight) for level, weight in zip(aligned, weights)]
        return tf.cast(tf.add_n(parts), dtype)

    def weigh(self) -> tf.Tensor:
        """Return the current weights w, [levels] or [levels, channels], one-hot if `hard`."""
        values = tf.convert_to_tensor(self.level_weights)
        temperature = 1.0 if self.temperature is None else self.temperature
        return fusion.fusion_weights(values, self.method, hard=self.hard, temperature=temperature, epsilon=self.epsilon)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        shapes = self.aligned_shapes(input_shape)
        _level_checks.same_channels(shapes)
        return shapes[0]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "method": self.method,
            "per_channel": self.per_channel,
            "hard": self.hard,
            "temperature": self.initial_temperature,
            "epsilon": self.epsilon,
        }
