"""AdaptiveDepthPyramid."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras, register
from tfpyramid.layers._base import ImageLayer
from tfpyramid.layers.downsampling.channel_adaptive_downsample import OPEN
from tfpyramid.layers.pyramids.learnable_pyramid import LearnablePyramid
from tfpyramid.ops import gates, portable


@register
class AdaptiveDepthPyramid(ImageLayer):
    """A learnable pyramid whose depth is learned: a gate for each level, and a closed gate closes what is deeper.

    Equation:
        `level[k] = g[k] p[k]`, p the levels of a `LearnablePyramid`; `g[0] = 1`,
        `g[k] = product_{j=1..k} sigmoid(z[j] / T)`, z learned and T the temperature. With `hard=True`, forward:
        `g[k] = 1 if z[1], ..., z[k] are all >= 0 else 0`; backward: the gradient of the products of sigmoids
        (`tfpyramid.ops.cumulative_gates`), which a closed gate still hears, and so can open again.
        With a `depth_penalty`, a loss of `depth_penalty * sum_{k>=1} g[k]` is added.

    Convention:
        All gates start open, at z = 2, where the sigmoid still moves: untrained and hard it is its `LearnablePyramid`;
        untrained and soft at temperature 1 level k is 0.88^k of that. The task alone has no reason to close a gate:
        the penalty, the depth that is expected beyond the finest level, is that reason. It counts levels and not
        pixels: all that is deeper than level 0 has at most a third of its pixels, and a deep level next to none.
        The pyramid is computed to its full depth while it learns; `pruned` is the pyramid of the open levels alone.

    Args:
        max_levels: length of the list, from 1 to 64.
        downsample: the layer that goes from a level to the next, as in `LearnablePyramid`.
        share_weights: use one clone of it for every step.
        hard: open or close each level in the forward pass, straight-through.
        temperature: where the weight `temperature` starts, from 1e-30 to 1e30; the smaller, the harder.
        depth_penalty: what an open level costs, from 0 to 1e30.
        **kwargs: of `keras.layers.Layer`, and `data_format`, which must be "channels_last".

    Input shape:
        [batch, height, width, channels], floating point; sides of at least 1, known or not.

    Output shape:
        Two things: a list of `max_levels` shapes, as of `LearnablePyramid`, and the gates, [batch, max_levels]. They
        are equal for all images, and repeated so that `predict` and a server can batch them as any other output. A
        model that returns both should return them as one list, `[*levels, gates]`: a SavedModel has no nested outputs.

    Attributes:
        pyramid: the `LearnablePyramid` p.
        gate_logits: the learned z, [max_levels - 1].
        temperature: scalar weight, not trained: saved, exported, and there to be annealed.
        depth: how many levels are open now, an int.
        phase: where sample 0 of a level sits, in samples of the level before it, as in `LearnablePyramid`.

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
        Louizos, Welling and Kingma, Learning Sparse Neural Networks through L0 Regularization, 2018, section 2 (gates
        that are charged for being open).
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
        self.depth_penalty = _checks.at_least("depth_penalty", depth_penalty, 0, "what an open level costs")
        self.pyramid = LearnablePyramid(
            self.max_levels, downsample, share_weights=share_weights, name="pyramid", dtype=self.dtype_policy
        )
        self.share_weights = self.pyramid.share_weights

    @property
    def downsample(self) -> keras.layers.Layer:
        """An untrained layer as each step of the pyramid was before training."""
        return self.pyramid.downsample

    @property
    def phase(self) -> float:
        """Where sample 0 of a level sits, in samples of the level before it: the phase of the pyramid."""
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
        # A level whose gate is closed is 0, whatever it holds: 0 times NaN would be NaN.
        pairs = zip(levels[1:], tf.unstack(opened, self.max_levels)[1:])
        gated = levels[:1] + [portable.multiply_no_nan(level, gate) for level, gate in pairs]
        return gated, tf.tile(opened[None], [tf.shape(images)[0], 1])

    @property
    def depth(self) -> int:
        """How many levels are open now: 1 and the gates before the first whose z is less than 0."""
        self._check_built("depth")
        is_open = tf.convert_to_tensor(self.gate_logits).numpy() >= 0
        return 1 + int(np.cumprod(is_open).sum())

    def pruned(self, name: str | None = None) -> LearnablePyramid:
        """Return the pyramid of the open levels, trained as they are: what this layer returns of them with `hard`.

        Args:
            name: of the layer that is returned.

        Returns:
            A `LearnablePyramid` of `depth` levels with weights of its own, equal to those here.

        Raises:
            ValueError: if this layer is not built.
        """
        self._check_built("pruned()")
        shallower = LearnablePyramid(
            self.depth, self.downsample, share_weights=self.share_weights, name=name, dtype=self.dtype_policy
        )
        shallower.build(self._images_shape)
        for copy, step in zip(shallower.downsamplers, self.pyramid.downsamplers):
            copy.set_weights(step.get_weights())
        return shallower

    def level_usage(self, outputs: tuple[list[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        """Return what `training.PyramidMonitor` takes the mean of: the gates, [batch, max_levels]."""
        return outputs[-1]

    def _check_built(self, name: str) -> None:
        if not self.built:
            raise ValueError(
                f"`{name}` is there when the layer is built: call it on images first. Received: built=False"
            )

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
