"""Base class of the layers with learned strides."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.layers._base import ImageLayer
from tfpyramid.ops import straight_through, strided_convolution


class LearnedStrides(ImageLayer):
    """A layer with learned strides, which start at `initial_strides` exactly and remain positive.

    Equation:
        `s = initial_strides exp(k v)`, where the learned v, `scaled_log_strides`, starts at 0; k is `stride_speed`.

    Forward:  `log(s / initial_strides) = k v`.
    Backward: `dv = dlog(s) / k`, where the derivative is k dlog(s). A step of Adam at the rate r moves v by about r,
        however large the gradient is, and log(s) by k r. A step of SGD moves log(s) by r dlog(s), as if log(s) were
        the weight. With the derivative it would move k^2 times as far, and the strides would diverge.
    """

    def __init__(
        self,
        initial_strides: float | tuple[float, float] = (2.0, 2.0),
        *,
        output_size: int | tuple[int, int] | None = None,
        cost_weight: float = 0.0,
        hard: bool = False,
        stride_speed: float = 10.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.initial_strides = _checks.both(initial_strides, self._check_stride)
        self.output_size = None if output_size is None else _checks.output_size(output_size)
        self.cost_weight = _checks.at_least("cost_weight", cost_weight, 0, "the weight of the added loss")
        self.hard = _checks.flag("hard", hard)
        meaning = "the steps of Adam in log(strides) relative to its rate"
        self.stride_speed = _checks.number(
            "stride_speed", stride_speed, above=0, meaning=meaning, maximum=_checks.LARGEST
        )
        self.scaled_log_strides = None  # `build` creates it.
        # XLA needs sizes when it compiles. Keras 3 reads this attribute for `compile(jit_compile="auto")`, its default.
        self.supports_jit = self.output_size is not None

    def _check_stride(self, value: object) -> float:
        return strided_convolution.check_stride("initial_strides", value)

    def build(self, input_shape: Any) -> None:
        self.compute_output_shape(input_shape)
        self.scaled_log_strides = self.add_parameter("scaled_log_strides", np.zeros(2))
        super().build(input_shape)

    @property
    def strides(self) -> tf.Tensor:
        """The current strides (s_y, s_x), [2]; integers of at least 1 if `hard`."""
        strides = self._soft_strides()
        if not self.hard:
            return strides
        return straight_through.surrogate_st(tf.maximum(tf.round(strides), 1), strides)

    def _soft_strides(self) -> tf.Tensor:
        if self.scaled_log_strides is None:
            return tf.constant(self.initial_strides)
        v = tf.convert_to_tensor(self.scaled_log_strides)
        surrogate = v / self.stride_speed
        log_ratio = surrogate + tf.stop_gradient(self.stride_speed * v - surrogate)
        return tf.constant(self.initial_strides, v.dtype) * tf.exp(log_ratio)

    def add_cost(self) -> None:
        """Add the loss that rewards larger strides."""
        if self.cost_weight:
            self.add_loss(self.cost_weight / tf.reduce_prod(self.strides))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "initial_strides": self.initial_strides,
            "output_size": self.output_size,
            "cost_weight": self.cost_weight,
            "hard": self.hard,
            "stride_speed": self.stride_speed,
        }
