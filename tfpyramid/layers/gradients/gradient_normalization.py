"""GradientNormalization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfpyramid import _checks, _level_checks
from tfpyramid._compat import keras, register, shape_tuple
from tfpyramid.layers._base import TakesLevels
from tfpyramid.ops import gradients


@register
class GradientNormalization(TakesLevels):
    """The input unchanged; in the backward pass its gradient is scaled to a fixed length, for each level separately.

    Use it between levels whose gradients differ in size. It did not improve the models of this package, which leave it
    out.

    Equation:
        Forward: `y = x`. Backward: `dx = norm dy / ||dy||_2`, the length taken over the whole tensor or over each
        sample; in a list, over each level by itself. A gradient of zero remains zero. A NaN or infinity anywhere in dy
        makes all of it NaN instead of hiding it.

    Convention:
        For the layers before this one, `norm` sets the size of the gradient, and the scale of the loss does not: a loss
        weight or a float16 loss scale has no effect on them. A mixed precision optimizer that divides gradients by its
        loss scale therefore makes these gradients smaller. Train with this layer in float32 or bfloat16.

    Args:
        scope: "tensor" for one length over the whole of dy, or "sample" for one over each entry of the batch.
        norm: the length, from 1e-30 to 1e30.
        **kwargs: arguments of `keras.layers.Layer`.

    Input shape:
        Any, or a list or dict of any (levels), floating point. For "sample" the first axis is the batch.

    Output shape:
        That of the input.

    Raises:
        ValueError: if an argument or the input breaks a rule above.

    Example:
        >>> levels = [tf.ones([1, 4, 4, 1]), tf.ones([1, 2, 2, 1])]
        >>> with tf.GradientTape() as tape:
        ...     tape.watch(levels)
        ...     fine, coarse = GradientNormalization()(levels)
        ...     loss = 1000 * tf.reduce_sum(fine) + tf.reduce_sum(coarse)
        >>> [round(float(tf.norm(g)), 4) for g in tape.gradient(loss, levels)]
        [1.0, 1.0]

    References:
        Hofinger, Bulo, Porzi, Knapitsch, Pock and Kontschieder, Improving Optical Flow on a Pyramid Level, 2020,
        section 3 (gradients between pyramid levels).
    """

    def __init__(self, scope: str = "tensor", norm: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scope = _checks.one_of("scope", scope, gradients.SCOPES)
        self.norm = _checks.number("norm", norm, above=0, meaning="the length of the gradient")

    def call(self, inputs: Any) -> Any:
        if isinstance(inputs, (list, tuple)):
            return [self._normalized(level) for level in inputs]
        return self._normalized(inputs)

    def _normalized(self, x: tf.Tensor) -> tf.Tensor:
        return gradients.normalize_gradient(x, self.scope, self.norm)

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        """Check the dtype in Keras 3's symbolic call, which does not run `call`."""
        for tensor in inputs if isinstance(inputs, (list, tuple)) else [inputs]:
            _checks.floating("x", keras.backend.standardize_dtype(tensor.dtype))
        return super().compute_output_spec(inputs, **kwargs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        input_shape = _level_checks.level_list(input_shape) if isinstance(input_shape, Mapping) else input_shape
        # Some versions of Keras pass one shape as a list of numbers, so a list need not be a list of shapes.
        if isinstance(input_shape, (list, tuple)) and any(
            isinstance(s, (list, tuple, tf.TensorShape)) for s in input_shape
        ):
            return [shape_tuple(shape) for shape in input_shape]
        return shape_tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scope": self.scope, "norm": self.norm}
