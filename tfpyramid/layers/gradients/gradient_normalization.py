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
    """Pass a tensor or levels on, and bring the gradient that comes back to a given length, level by level.

    Equation:
        Forward: `y = x`. Backward: `dx = norm dy / ||dy||_2`, the length taken over the whole tensor or over each
        sample of it; of a list, over each level by itself. A gradient of zero stays zero, and NaN or infinity anywhere
        in dy makes all of it NaN rather than hiding it.

    Convention:
        The loss no longer sets the size of the gradient in front of this layer, `norm` does: scaling the loss, by its
        weight or for float16, changes nothing there. Behind a mixed precision optimizer that divides gradients by its
        loss scale this makes them smaller, so train with it in float32 or bfloat16.

    Args:
        scope: "tensor", one length for the whole of dy, or "sample", one for each entry of the batch.
        norm: the length, from 1e-30 to 1e30.
        **kwargs: of `keras.layers.Layer`.

    Input shape:
        Any, or a list or dict of any (levels), floating point; for "sample" the first axis is the batch.

    Output shape:
        The same.

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
        """Keras 3's symbolic call, which does not run `call`: what `call` would say of a dtype is said here."""
        for tensor in inputs if isinstance(inputs, (list, tuple)) else [inputs]:
            _checks.floating("x", keras.backend.standardize_dtype(tensor.dtype))
        return super().compute_output_spec(inputs, **kwargs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        input_shape = _level_checks.level_list(input_shape) if isinstance(input_shape, Mapping) else input_shape
        # A list of shapes, or one shape, which some Keras passes as a list of numbers.
        if isinstance(input_shape, (list, tuple)) and any(
            isinstance(s, (list, tuple, tf.TensorShape)) for s in input_shape
        ):
            return [shape_tuple(shape) for shape in input_shape]
        return shape_tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scope": self.scope, "norm": self.norm}
