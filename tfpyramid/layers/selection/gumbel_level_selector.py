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
    """Weights over levels, drawn at random in training: a level with a larger logit is more likely.

    In training the weights are close to one-hot, or one-hot with `hard=True`. At inference they are one-hot, for the
    largest logit. Use it if you have logits of your own; `QueryLevelSelector` computes logits from a query.

    Equation:
        Training: `w = softmax((logits + g) / T)`, with Gumbel noise `g = -log(-log(u))`, u uniform in (0, 1), and the
        temperature T. With `hard=True`, forward: the one-hot vector of the largest `logits + g`, which is level k with
        probability `softmax(logits)[k]`; backward: the gradient of the softmax.
        Inference: the one-hot vector of the largest logit, the first of equal ones; backward: the gradient of
        `softmax(logits / T)`.

    Convention:
        The layer draws noise only with `training=True`. With a `seed`, every new layer draws the same sequence, also in
        a graph and in a SavedModel of the training endpoint. A layer that is loaded from a `.keras` file begins that
        sequence again.
        The layer reads the logits in their own dtype. A half-precision policy does not round them before the choice.

    Args:
        temperature: initial value of the weight `temperature`, from 1e-30 to 1e30. Smaller values bring the weights
            closer to one-hot.
        hard: choose one level in training too, with a straight-through gradient.
        seed: an integer, or None to draw different noise in each run.
        **kwargs: arguments of `keras.layers.Layer`.

    Input shape:
        Logits [..., levels], floating point.

    Output shape:
        That of the input. The weights sum to 1 along the last axis, and are NaN if one of their logits is NaN.

    Attributes:
        temperature: scalar weight, saved and exported but not trained; `training.TemperatureAnnealing` can lower it.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> GumbelLevelSelector()(tf.constant([[0.1, 2.0, 0.5]])).numpy()
        array([[0., 1., 0.]], dtype=float32)

    References:
        Jang, Gu and Poole, Categorical Reparameterization with Gumbel-Softmax, 2017, section 2.
    """

    def __init__(self, temperature: float = 1.0, *, hard: bool = False, seed: int | None = None, **kwargs: Any) -> None:
        # With autocast, Keras would round the logits to half precision before `call`, and different logits could tie.
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
        """Return the weights, [batch, levels], for `training.PyramidMonitor`."""
        return outputs

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return shape_tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        config = {"temperature": self.initial_temperature, "hard": self.hard, "seed": self.seed}
        return {**super().get_config(), **config}
