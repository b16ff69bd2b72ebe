"""GumbelLevelSelector."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import next_seed, register, seed_generator, shape_tuple
from tfpyramid.layers._base import BaseLayer
from tfpyramid.ops import straight_through


@register
class GumbelLevelSelector(BaseLayer):
    """Weights over levels that are drawn in training, nearly or exactly one level, the likelier the larger its logit.

    Equation:
        Training: `w = softmax((logits + g) / T)`, Gumbel noise `g = -log(-log(u))`, u uniform in (0, 1), T the
        temperature; with `hard=True`, forward: the one-hot vector of the largest `logits + g`, which is level k with
        the probability `softmax(logits)[k]`; backward: the gradient of the softmax.
        Inference: the one-hot vector of the largest logit, the first of equal ones; backward: the gradient of
        `softmax(logits / T)`.

    Convention:
        Noise is drawn with `training=True` only. For a `seed` it is the same sequence of draws each time the layer is
        made, in a graph and in a SavedModel of the training endpoint too; a layer that is loaded from a `.keras` file
        begins that sequence again. The logits are read in their own dtype: a dtype policy of half precision does not
        round them before the choice.

    Args:
        temperature: where the weight `temperature` starts, from 1e-30 to 1e30; the smaller, the nearer to one level.
        hard: choose one level in training too, straight-through.
        seed: an integer, or None for other noise at each start.
        **kwargs: of `keras.layers.Layer`.

    Input shape:
        Logits [..., levels], floating point.

    Output shape:
        The same; sums to 1 along the last axis, NaN where a logit of it is NaN.

    Attributes:
        temperature: scalar weight, not trained: saved, exported, and there to be annealed.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> GumbelLevelSelector()(tf.constant([[0.1, 2.0, 0.5]])).numpy()
        array([[0., 1., 0.]], dtype=float32)

    References:
        Jang, Gu and Poole, Categorical Reparameterization with Gumbel-Softmax, 2017, section 2.
    """

    def __init__(self, temperature: float = 1.0, *, hard: bool = False, seed: int | None = None, **kwargs: Any) -> None:
        # Keras would round the logits to halves before the layer sees them, and a choice needs the digits.
        super().__init__(**{"autocast": False, **kwargs})
        self.initial_temperature = _checks.temperature(temperature)
        self.hard = _checks.flag("hard", hard)
        self.seed = _checks.seed(seed)
        self._draws = seed_generator(self.seed)

    def build(self, input_shape: Any) -> None:
        self.temperature = self.add_parameter("temperature", self.initial_temperature, trainable=False)
        super().build(input_shape)

    def call(self, logits: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        seed = next_seed(self._draws) if training else None
        weights = straight_through.gumbel_softmax(logits, self.temperature, seed=seed, hard=self.hard or not training)
        return tf.cast(weights, self.compute_dtype)

    def level_usage(self, outputs: tf.Tensor) -> tf.Tensor:
        """Return what `training.PyramidMonitor` takes the mean of: the weights, [batch, levels]."""
        return outputs

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return shape_tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        config = {"temperature": self.initial_temperature, "hard": self.hard, "seed": self.seed}
        return {**super().get_config(), **config}
