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
        `s = initial_strides exp(v)`, where the learned v, `log_strides`, starts at 0.
    """

    def __init__(
        self,
        initial_strides: float | tuple[float, float] = (2.0, 2.0),
        *,
        output_size: int | tuple[int, int] | None = None,
        cost_weight: float = 0.0,
        hard: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.initial_strides = _checks.both(initial_strides, self._check_stride)
        self.output_size = None if output_size is None else _checks.output_size(output_size)
        self.cost_weight = _checks.at_least("cost_weight", cost_weight, 0, "the weight of the added loss")
        self.hard = _checks.flag("hard", hard)
        self.log_strides = None  # `build` creates it.
        # XLA needs sizes when it compiles. Keras 3 reads this attribute for `compile(jit_compile="auto")`, its default.
        self.supports_jit = self.output_size is not None

    def _check_stride(self, value: object) -> float:
        return strided_convolution.check_stride("initial_strides", value)

    def build(self, input_shape: Any) -> None:
        self.compute_output_shape(input_shape)
        self.log_strides = self.add_parameter("log_strides", np.zeros(2))
        super().build(input_shape)

    @property
    def strides(self) -> tf.Tensor:
        """The current strides (s_y, s_x), [2]; integers of at least 1 if `hard`."""
        strides = self._soft_strides()
        if not self.hard:
            return strides
        return straight_through.surrogate_st(tf.maximum(tf.round(strides), 1), strides)

    def _soft_strides(self) -> tf.Tensor:
        if self.log_strides is None:
            return tf.constant(self.initial_strides)
        log_strides = tf.convert_to_tensor(self.log_strides)
        return tf.constant(self.initial_strides, log_strides.dtype) * tf.exp(log_strides)

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
        }
