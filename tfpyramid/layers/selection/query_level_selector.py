"""QueryLevelSelector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfpyramid import _checks, _level_checks, _plain
from tfpyramid._compat import keras, next_seed, register, seed_generator
from tfpyramid.layers._base import BaseLayer, as_called
from tfpyramid.layers._inputs import one_or_several
from tfpyramid.layers.selection._mean_seen import MeanSeen
from tfpyramid.ops import batches, routing, straight_through
from tfpyramid.ops.dtypes import working_dtype

OBJECTIVES = ("softmax", "gumbel", "value")


@register
class QueryLevelSelector(BaseLayer):
    """Weights over the levels of a pyramid, computed from a query about the image.

    A two-layer network scores the levels. At inference the weights are one-hot for the best level, so that
    `LevelRouter` reads that level alone. A cost per level lets the selector prefer coarse levels, which have fewer
    pixels.

    Equation:
        `z = relu(x W1 + b1) W2 + b2`, where x is the query concatenated with the summaries. The selector picks the
        level with the largest score u: `u = z` for "softmax" and "gumbel"; `u = sigmoid(z) - cost_weight costs` for
        "value", which trains z to be the log-odds that the level is good enough. With the temperature T:
        Training: `w = softmax(u / T)`; for "gumbel" `w = softmax((u + g) / T)`, with Gumbel noise g.
        Inference, without noise, and training with `hard=True`: forward, the one-hot vector of the largest w, the first
        of equal ones; backward, the gradient of the softmax.

    Convention:
        W2 and b2 start at 0, so an untrained selector scores all levels equally.
        "softmax" and "gumbel" are trained through the weights. In training they add the loss
        `cost_weight mean_b(sum_k w[b, k] costs[k])`.
        "value" is trained separately, by the binary cross-entropy between `level_logits` and whether each level's
        answer was right, as in `tfpyramid.models.pyramid_vlm`. Its `cost_weight` only affects the choice, so it can be
        set after training: `layer.cost_weight.assign(...)`.
        The metric NAME_cost, where NAME is the layer's name, is the mean cost of the weights in training. It is NaN
        before the first training step. Logits are computed in at least float32, whatever the dtype policy is.

    Args:
        num_levels: number of levels to choose from, from 1 to 64.
        units: size of the hidden vector, from 1 to 65536.
        objective: "softmax", "gumbel" or "value".
        cost_weight: initial value of the weight `cost_weight`, the score that a level loses per unit of cost, from 0 to
            1e30.
        costs: the cost of each level. None means its pixels relative to the finest level,
            `tfpyramid.ops.pixel_costs`.
        temperature: initial value of the weight `temperature`, from 1e-30 to 1e30. Smaller values bring the weights
            closer to one-hot.
        hard: choose one level in training too, with a straight-through gradient.
        seed: seed of the noise of "gumbel", as in `GumbelLevelSelector`.
        **kwargs: arguments of `keras.layers.Layer`.

    Input shape:
        The query, [batch, n], floating point; or a list of the query and summaries of the levels, each [batch, any]
        with the same batch size.

    Output shape:
        [batch, num_levels]. Each row sums to 1.

    Attributes:
        temperature: scalar weight, saved and exported but not trained; `training.TemperatureAnnealing` can lower it.
        cost_weight: scalar weight, saved and exported but not trained; assign a value to change the trade-off.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> selector = QueryLevelSelector(num_levels=4, objective="value", cost_weight=0.02)
        >>> selector(tf.ones([1, 16])).numpy()  # Untrained, all levels score equally: it chooses the cheapest.
        array([[0., 0., 0., 1.]], dtype=float32)

    References:
        Jang, Gu and Poole, Categorical Reparameterization with Gumbel-Softmax, 2017, section 2 ("gumbel").
    """

    def __init__(
        self,
        num_levels: int,
        units: int = 128,
        objective: str = "softmax",
        *,
        cost_weight: float = 0.0,
        costs: Sequence[float] | None = None,
        temperature: float = 1.0,
        hard: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_levels = _checks.num_levels(num_levels, meaning="the levels to choose from")
        self.units = _checks.channels("units", units, "the size of the hidden vector")
        self.objective = _checks.one_of("objective", objective, OBJECTIVES)
        meaning = "the score that a level loses per unit of cost"
        self.initial_cost_weight = _checks.at_least("cost_weight", cost_weight, 0, meaning)
        self.costs = None if costs is None else _check_costs(costs, self.num_levels)
        self.initial_temperature = _checks.temperature(temperature)
        self.hard = _checks.flag("hard", hard)
        self.seed = _checks.seed(seed)
        self._draws = seed_generator(self.seed) if objective == "gumbel" else None
        self._cost = MeanSeen(name=f"{self.name}_cost")

    def build(self, input_shape: Any) -> None:
        size = sum(shape[1] or 0 for shape in _vector_shapes(input_shape))
        glorot = keras.initializers.GlorotUniform()
        self.hidden_kernel = self.add_precise_weight("hidden_kernel", (size, self.units), glorot)
        self.hidden_bias = self.add_precise_weight("hidden_bias", (self.units,))
        self.logits_kernel = self.add_precise_weight("logits_kernel", (self.units, self.num_levels))
        self.logits_bias = self.add_precise_weight("logits_bias", (self.num_levels,))
        self.temperature = self.add_parameter("temperature", self.initial_temperature, trainable=False)
        self.cost_weight = self.add_parameter("cost_weight", self.initial_cost_weight, trainable=False)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor | list[tf.Tensor], training: bool | None = None) -> tf.Tensor:
        scores = self._scores(self.level_logits(inputs))
        seed = next_seed(self._draws) if training and self.objective == "gumbel" else None
        weights = straight_through.gumbel_softmax(scores, self.temperature, seed=seed, hard=self.hard or not training)
        if training:
            cost = self.report_cost(weights)
            if self.objective != "value":
                self.add_loss(tf.cast(self.cost_weight, tf.float32) * cost)
        return tf.cast(weights, self.compute_dtype)

    def choose(self, logits: tf.Tensor) -> tf.Tensor:
        """Return the one-hot weights of inference for the result of `level_logits`."""
        return straight_through.one_hot_st(self._scores(tf.convert_to_tensor(logits)), self.temperature)

    def report_cost(self, weights: tf.Tensor) -> tf.Tensor:
        """Return the mean cost of weights [batch, num_levels], and update the metric with it."""
        cost = tf.reduce_mean(tf.linalg.matvec(tf.cast(weights, tf.float32), self._level_costs(tf.float32)))
        self._cost.update_state(tf.stop_gradient(cost))
        return cost

    @as_called
    def level_logits(self, inputs: tf.Tensor | list[tf.Tensor]) -> tf.Tensor:
        """Return z of the equation, [batch, num_levels]: for "value", the log-odds that each level is good enough."""
        vectors = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        vectors = batches.check(dict(zip(_names(len(vectors)), vectors)))
        x = tf.concat(vectors, axis=1)
        # In half precision, different values often round to the same number, and the first level would win.
        work = working_dtype(x.dtype)
        hidden_kernel, hidden_bias, logits_kernel, logits_bias = (
            tf.cast(w, work) for w in (self.hidden_kernel, self.hidden_bias, self.logits_kernel, self.logits_bias)
        )
        return tf.nn.relu(tf.cast(x, work) @ hidden_kernel + hidden_bias) @ logits_kernel + logits_bias

    def _scores(self, logits: tf.Tensor) -> tf.Tensor:
        if self.objective != "value":
            return logits
        return tf.sigmoid(logits) - tf.cast(self.cost_weight, logits.dtype) * self._level_costs(logits.dtype)

    def _level_costs(self, dtype: tf.DType) -> tf.Tensor:
        return tf.constant(routing.pixel_costs(self.num_levels) if self.costs is None else self.costs, dtype)

    def level_usage(self, outputs: tf.Tensor) -> tf.Tensor:
        """Return the weights, [batch, levels], for `training.PyramidMonitor`."""
        return outputs

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (_vector_shapes(input_shape)[0][0], self.num_levels)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_levels": self.num_levels,
            "units": self.units,
            "objective": self.objective,
            "cost_weight": self.initial_cost_weight,
            "costs": None if self.costs is None else list(self.costs),
            "temperature": self.initial_temperature,
            "hard": self.hard,
            "seed": self.seed,
        }


def _check_costs(costs: Any, num_levels: int) -> tuple[float, ...]:
    values = _plain.real_array(costs)
    if values is None or values.shape != (num_levels,) or not np.all(np.isfinite(values)):
        raise ValueError(
            f"`costs` must be {num_levels} finite numbers, one for each level, or None. "
            f"{_checks.received('costs', costs)}"
        )
    return tuple(float(value) for value in values)


def _vector_shapes(input_shape: Any) -> list[tuple[int | None, ...]]:
    """Return the shapes of the query and the summaries, each [batch, size]."""
    shapes = one_or_several(input_shape)
    named = dict(zip(_names(len(shapes)), shapes))
    for name, shape in named.items():
        if len(shape) != 2 or shape[1] is None:
            raise ValueError(
                f"`{name}` must have the shape [batch, size] with a known size: one vector for each sample. "
                f"Received: {name} of shape {shape}"
            )
    _level_checks.one_batch(named)
    return shapes


def _names(count: int) -> list[str]:
    """Return the names of the inputs in errors."""
    return ["query", *(f"summaries[{k}]" for k in range(count - 1))]
