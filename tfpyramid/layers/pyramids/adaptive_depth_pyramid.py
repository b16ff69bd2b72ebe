"""AdaptiveDepthPyramid."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras, register
from tfpyramid.layers._base import ImageLayer, check_built
from tfpyramid.layers.downsampling.channel_adaptive_downsample import OPEN
from tfpyramid.layers.pyramids.learnable_pyramid import LearnablePyramid
from tfpyramid.ops import gates, portable


@register
class AdaptiveDepthPyramid(ImageLayer):
    """A learnable pyramid and one gate per level, which learn how many levels the task needs.

    A closed gate sets its level and all coarser ones to 0. After training, `pruned()` returns the pyramid without
    the closed levels, which costs less to compute.

    Equation:
        `level[k] = g[k] p[k]`, where p are the levels of a `LearnablePyramid`, `g[0] = 1`, and
        `g[k] = product_{j=1..k} sigmoid(z[j] / T)`, with learned z and the temperature T. With `hard=True`, forward:
        `g[k] = 1 if z[1], ..., z[k] are all >= 0 else 0`; backward: the gradient of the products of sigmoids
        (`tfpyramid.ops.cumulative_gates`). It also reaches a closed gate, so that the gate can open again.
        A `depth_penalty` adds the loss `depth_penalty * sum_{k>=1} g[k]`.

    Convention:
        All gates start open, at z = 2, where the sigmoid still has a gradient. Untrained, the layer equals its
        `LearnablePyramid` if it is hard; if it is soft at temperature 1, level k is 0.88^k of that.
        The task alone gives no reason to close a gate. The penalty does: it charges the expected number of levels
        beyond the finest. It counts levels, not pixels; all levels beyond level 0 together have at most a third of its
        pixels, and a coarse level has few.
        During training the pyramid is computed to its full depth. `pruned` returns the open levels alone.

    Args:
        max_levels: length of the list, from 1 to 64.
        downsample: layer that maps a level to the next, as in `LearnablePyramid`.
        share_weights: use one clone of `downsample` for every step.
        hard: make each gate 0 or 1 in the forward pass, with a straight-through gradient.
        temperature: initial value of the weight `temperature`, from 1e-30 to 1e30. Smaller values bring the gates
            closer to 0 or 1.
        depth_penalty: cost of an open level, from 0 to 1e30.
        **kwargs: arguments of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        [batch, height, width, channels], floating point. Sides are at least 1 and may be unknown.

    Output shape:
        A pair: a list of `max_levels` shapes, as in `LearnablePyramid`, and the gates, [batch, max_levels].
        The gates are equal for all images. They are repeated so that `predict` and a server can batch them like any
        other output. A model that returns both should return one list, `[*levels, gates]`, because a SavedModel has no
        nested outputs.

    Attributes:
        pyramid: the `LearnablePyramid` p.
        gate_logits: the learned z, [max_levels - 1].
        temperature: scalar weight, saved and exported but not trained; `training.TemperatureAnnealing` can lower it.
        depth: number of levels that are open now, an int.
        phase: position of sample 0 of a level, in samples of the level before it, as in `LearnablePyramid`.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> pyramid = AdaptiveDepthPyramid(3, hard=True)
        >>> levels, gates = pyramid(tf.ones([1, 33, 47, 3]))
        >>> [tuple(level.shape) for level in levels], gates.numpy().tolist()
        ([(1, 33, 47, 3), (1, 17, 24, 3), (1, 9, 12, 3)], [[1.0, 1.0, 1.0]])
        >>> _ = pyramid.gate_logits.assign([1.0, -1.0])
        >>> [tuple(level.shape) for level in pyramid.pruned()(tf.ones([1, 33, 47, 3]))]
        [(1, 33, 47, 3), (1, 17, 24, 3)]

    References:
        Bengio, Leonard and Courville, Estimating or Propagating Gradients Through Stochastic Neurons, 2013, section 4;
        Louizos, Welling and Kingma, Learning Sparse Neural Networks through L0 Regularization, 2018, section 2 (a
        penalty on open gates).
    """

    def __init__(
        self,
        max_levels: int,
        downsample: keras.layers.Layer | None = None,
        *,
        share_weights: bool = False,
        hard: bool = False,
        temperature: float = 1.0,
        depth_penalty: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_levels = _checks.num_levels(max_levels, "max_levels")
        self.hard = _checks.flag("hard", hard)
        self.initial_temperature = _checks.temperature(temperature)
        self.depth_penalty = _checks.at_least("depth_penalty", depth_penalty, 0, "the cost of an open level")
        self.pyramid = LearnablePyramid(
            self.max_levels, downsample, share_weights=share_weights, name="pyramid", dtype=self.dtype_policy
        )
        self.share_weights = self.pyramid.share_weights

    @property
    def downsample(self) -> keras.layers.Layer:
        """A new, untrained copy of the layer that every step of the pyramid is a clone of."""
        return self.pyramid.downsample

    @property
    def phase(self) -> Any:
        """Position of sample 0 of a level, in samples of the level before it: the phase of the pyramid."""
        return self.pyramid.phase

    def build(self, input_shape: Any) -> None:
        self._images_shape = _checks.image_shape("images", input_shape)
        self.pyramid.build(input_shape)
        self.gate_logits = self.add_parameter("gate_logits", np.full(self.max_levels - 1, OPEN))
        self.temperature = self.add_parameter("temperature", self.initial_temperature, trainable=False)
        super().build(input_shape)

    def call(self, images: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        levels = self.pyramid(images)
        opened = gates.cumulative_gates(self.gate_logits, self.temperature, hard=self.hard)
        if self.depth_penalty:
            self.add_loss(self.depth_penalty * tf.cast(tf.reduce_sum(opened[1:]), tf.float32))
        opened = tf.cast(opened, levels[0].dtype)
        # A plain product would turn a NaN in a closed level into NaN, because 0 * NaN is NaN.
        pairs = zip(levels[1:], tf.unstack(opened, self.max_levels)[1:])
        gated = levels[:1] + [portable.multiply_no_nan(level, gate) for level, gate in pairs]
        return gated, tf.tile(opened[None], [tf.shape(images)[0], 1])

    @property
    def depth(self) -> int:
        """Number of levels that are open now: 1, plus the gates before the first one with z < 0."""
        check_built(self, "depth")
        is_open = tf.convert_to_tensor(self.gate_logits).numpy() >= 0
        return 1 + int(np.cumprod(is_open).sum())

    def pruned(self, name: str | None = None) -> LearnablePyramid:
        """Return a pyramid of the open levels alone, with the trained weights.

        Its levels are equal to the open levels of this layer with `hard=True`.

        Args:
            name: name of the returned layer.

        Returns:
            A `LearnablePyramid` of `depth` levels with a copy of the weights.

        Raises:
            ValueError: if this layer is not built.
        """
        check_built(self, "pruned()")
        shallower = LearnablePyramid(
            self.depth, self.downsample, share_weights=self.share_weights, name=name, dtype=self.dtype_policy
        )
        shallower.build(self._images_shape)
        for copy, step in zip(shallower.downsamplers, self.pyramid.downsamplers):
            copy.set_weights(step.get_weights())
        return shallower

    def level_usage(self, outputs: tuple[list[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        """Return the gates, [batch, max_levels], for `training.PyramidMonitor`."""
        return outputs[-1]

    def compute_output_shape(self, input_shape: Any) -> tuple[list[tuple[int | None, ...]], tuple[int | None, ...]]:
        shapes = self.pyramid.compute_output_shape(input_shape)
        return shapes, (shapes[0][0], self.max_levels)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_levels": self.max_levels,
            "downsample": self.pyramid.get_config()["downsample"],
            "share_weights": self.share_weights,
            "hard": self.hard,
            "temperature": self.initial_temperature,
            "depth_penalty": self.depth_penalty,
        }
