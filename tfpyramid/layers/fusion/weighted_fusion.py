"""WeightedFusion."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import register
from tfpyramid.layers.fusion._aligned import AlignedLayer
from tfpyramid.ops import fusion


@register
class WeightedFusion(AlignedLayer):
    """A learned weighted sum of all levels, at the size of one of them.

    Equation:
        `y = sum_k w[k] align(x[k])`, with one learned number v[k] for each level:
        "fast_normalized": `w[k] = relu(v[k]) / (sum_j relu(v[j]) + epsilon)`, v starts at 1;
        "softmax": `w = softmax(v)`, v starts at 0; "sum": `w = v`, v starts at 1.
        With `hard=True`, forward: the level of the largest weight alone; backward: the gradient of the weights above.

    Args:
        method: "fast_normalized", "softmax" or "sum".
        target_level: index of the level whose size the result has, 0 the finest; negative counts from the coarsest.
        scale_factor: ratio of a level's sides to those of the next, greater than 1, or None, as in `UpsampleConcat`.
        interpolation: "bilinear" or "nearest".
        hard: use one level in the forward pass, straight-through.
        epsilon: keeps the fast form from dividing by zero, greater than 0.
        **kwargs: of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        A list of [batch, height, width, channels], finest first; any sides of at least 1, known or not, equal channels.

    Output shape:
        [batch, target height, target width, channels].

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
        self, method: str = "fast_normalized", *, hard: bool = False, epsilon: float = 1e-4, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.method = _checks.one_of("method", method, fusion.METHODS)
        self.hard = _checks.flag("hard", hard)
        self.epsilon = _checks.number("epsilon", epsilon, above=0)

    def build(self, input_shape: Any) -> None:
        self.level_weights = self.add_weight(
            name="level_weights",
            shape=(len(self.aligned_shapes(input_shape)),),
            initializer="zeros" if self.method == "softmax" else "ones",
        )
        super().build(input_shape)

    def call(self, levels: list[tf.Tensor]) -> tf.Tensor:
        values = tf.convert_to_tensor(self.level_weights)
        weights = fusion.fusion_weights(values, self.method, hard=self.hard, epsilon=self.epsilon)
        aligned = self.aligned(levels)
        return tf.add_n([weight * level for weight, level in zip(tf.unstack(weights, len(aligned)), aligned)])

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        shapes = self.aligned_shapes(input_shape)
        _checks.same_channels(shapes)
        return shapes[0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "method": self.method, "hard": self.hard, "epsilon": self.epsilon}
