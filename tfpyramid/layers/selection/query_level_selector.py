"""QueryLevelSelector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfpyramid import _checks, _level_checks, _plain
from tfpyramid._compat import NO_AUTOCAST, keras, next_seed, register, seed_generator, shape_tuple
from tfpyramid.layers._base import BaseLayer, as_called
from tfpyramid.ops import batches, routing, straight_through
from tfpyramid.ops.dtypes import working_dtype

OBJECTIVES = ("softmax", "gumbel", "value")


@register
class QueryLevelSelector(BaseLayer):
    """Weights over the levels of a pyramid, by what is asked of the image.

    Equation:
        `z = relu(x W1 + b1) W2 + b2`, x the query and the summaries side by side. What is chosen by is u: `u = z` for
        "softmax" and "gumbel", `u = sigmoid(z) - cost_weight costs` for "value", whose z are trained to be the
        log-odds that the level is good enough. With T the temperature,
        training: `w = softmax(u / T)`, of `u + g` with Gumbel noise g for "gumbel";
        inference, and always with `hard=True`, forward: the one-hot vector of the largest of these, the first of equal
        ones; backward: the gradient of the softmax.

    Convention:
        W2 and b2 start at 0: untrained, all levels are as good. "softmax" and "gumbel" are trained through the weights
        and in training add the loss `cost_weight mean_b(sum_k w[b, k] costs[k])`. "value" is trained apart from them,
        by the binary cross-entropy of `level_logits` and whether each level's answer was right, as in
        `tfpyramid.models.pyramid_vlm`; its `cost_weight` takes effect in the choice, so it may be set after training:
        `layer.cost_weight.assign(...)`. The metric NAME_cost, NAME that of the layer, is the mean cost of the weights
        in training; NaN where there was no training step. Logits are float32 at least, whatever the dtype policy.

    Args:
        num_levels: how many levels there are to choose from, from 1 to 64.
        units: size of the hidden vector, from 1 to 65536.
        objective: "softmax", "gumbel" or "value".
        cost_weight: where the weight `cost_weight` starts, what a unit of cost takes from a level, from 0 to 1e30.
        costs: what each level costs; None means its pixels relative to the finest, `tfpyramid.ops.pixel_costs`.
        temperature: where the weight `temperature` starts, from 1e-30 to 1e30; the smaller, the harder.
        hard: choose one level in training too, straight-through.
        seed: of the noise of "gumbel", as in `GumbelLevelSelector`.
        **kwargs: of `keras.layers.Layer`.

    Input shape:
        The query, [batch, n], floating point; or a list of it and summaries of the levels, [batch, any] each, of
        the same batch size.

    Output shape:
        [batch, num_levels]; each row sums to 1.

    Attributes:
        temperature: scalar weight, not trained: saved, exported, and there to be annealed.
        cost_weight: scalar weight, not trained: saved, exported, and there to be chosen.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> selector = QueryLevelSelector(num_levels=4, objective="value", cost_weight=0.02)
        >>> selector(tf.ones([1, 16])).numpy()  # Untrained, all are as good: the cheapest is chosen.
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
        self.initial_cost_weight = _checks.at_least("cost_weight", cost_weight, 0, "what a unit of cost takes")
        self.costs = None if costs is None else _check_costs(costs, self.num_levels)
        self.initial_temperature = _checks.temperature(temperature)
        self.hard = _checks.flag("hard", hard)
        self.seed = _checks.seed(seed)
        self._draws = seed_generator(self.seed) if objective == "gumbel" else None
        self._cost = _MeanSeen(name=f"{self.name}_cost")

    def build(self, input_shape: Any) -> None:
        size = sum(shape[1] or 0 for shape in _vector_shapes(input_shape))
        glorot = keras.initializers.GlorotUniform()

        def add_weight(name: str, shape: tuple[int, ...], initializer: Any = "zeros") -> Any:
            # Not rounded to halves in `call`, so that `level_logits` are the same outside of it.
            return self.add_weight(name=name, shape=shape, initializer=initializer, **NO_AUTOCAST)

        self.hidden_kernel = add_weight("hidden_kernel", (size, self.units), glorot)
        self.hidden_bias = add_weight("hidden_bias", (self.units,))
        self.logits_kernel = add_weight("logits_kernel", (self.units, self.num_levels))
        self.logits_bias = add_weight("logits_bias", (self.num_levels,))
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
        """Return the weights at inference, one-hot, for `level_logits`."""
        return straight_through.one_hot_st(self._scores(tf.convert_to_tensor(logits)), self.temperature)

    def report_cost(self, weights: tf.Tensor) -> tf.Tensor:
        """Return the mean cost of weights [batch, num_levels], and add it to the metric."""
        cost = tf.reduce_mean(tf.linalg.matvec(tf.cast(weights, tf.float32), self._level_costs(tf.float32)))
        self._cost.update_state(tf.stop_gradient(cost))
        return cost

    @as_called
    def level_logits(self, inputs: tf.Tensor | list[tf.Tensor]) -> tf.Tensor:
        """Return z of the equation, [batch, num_levels]: for "value", the log-odds that each level is good enough."""
        vectors = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        vectors = batches.check(dict(zip(_names(len(vectors)), vectors)))
        x = tf.concat(vectors, axis=1)
        # In halves, levels that differ in value would often be equal, and the first of them chosen.
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
        """Return what `training.PyramidMonitor` takes the mean of: the weights, [batch, levels]."""
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


class _MeanSeen(keras.metrics.Mean):
    """A mean that is NaN, not 0, before there is anything to average."""

    def result(self) -> tf.Tensor:
        return tf.convert_to_tensor(self.total) / tf.convert_to_tensor(self.count)

    # What was measured is no weight: with it, files of Keras 2, which saves metrics, would not cross.
    def save_own_variables(self, store: Any) -> None:
        pass

    def load_own_variables(self, store: Any) -> None:
        pass


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
    single = isinstance(input_shape, tf.TensorShape) or not any(
        isinstance(shape, (list, tuple, tf.TensorShape)) for shape in input_shape
    )
    shapes = [shape_tuple(shape) for shape in ([input_shape] if single else input_shape)]
    named = dict(zip(_names(len(shapes)), shapes))
    for name, shape in named.items():
        if len(shape) != 2 or shape[1] is None:
            raise ValueError(
                f"`{name}` must be [batch, size], of known size: one vector for each sample. "
                f"Received: {name} of shape {shape}"
            )
    _level_checks.one_batch(named)
    return shapes


def _names(count: int) -> list[str]:
    """Return what errors call the inputs."""
    return ["query", *(f"summaries[{k}]" for k in range(count - 1))]
