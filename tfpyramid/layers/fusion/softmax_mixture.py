"""SoftmaxMixture."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid._compat import keras, register
from tfpyramid.layers._base import BaseLayer
from tfpyramid.layers._inputs import split, split_shapes
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.logits import check_mixture, softmax_mixture

_INPUTS = ("a list of two tensors, [logits, scores]", [2])


@register
class SoftmaxMixture(BaseLayer):
    """One answer for an image, from the logits at several places of it, each weighted by the score of its place.

    With the scores of `FixationSampler`, the task trains the map that the places come from: the score of a place grows
    if the answer there is better than at the other places. No positions are needed as targets.

    Equation:
        For the logits z[i] and the score v[i] of place i: `y[c] = log sum_i softmax(v)[i] softmax(z[i])[c]`.
        The gradient of y[c] by v[i] is `r[i] - softmax(v)[i]`, with the responsibility
        `r[i] = softmax(v)[i] softmax(z[i])[c] / exp(y[c])`.

    Convention:
        The result is log-probabilities: use a loss with `from_logits=True`, and `exp` for probabilities.
        They are computed and returned in at least float32, whatever the dtype policy is. The layer reads its inputs in
        their own dtype. See `tfpyramid.ops.softmax_mixture` for infinite logits and scores.

    Args:
        **kwargs: arguments of `keras.layers.Layer`.

    Input shape:
        A list of two: logits [batch, n, classes], and scores [batch, n], floating point. n is at least 1 and may be
        unknown.

    Output shape:
        [batch, classes].

    Raises:
        ValueError: if the input breaks a rule above.

    Example:
        >>> logits, scores = tf.constant([[[9.0, 0.0], [0.0, 9.0]]]), tf.constant([[2.0, 0.0]])
        >>> tf.exp(SoftmaxMixture()([logits, scores])).numpy().round(2)  # The first place has the weight 0.88.
        array([[0.88, 0.12]], dtype=float32)

    References:
        Jacobs, Jordan, Nowlan and Hinton, Adaptive Mixtures of Local Experts, 1991; Yang, Dai,
        Salakhutdinov and Cohen, Breaking the Softmax Bottleneck, ICLR 2018.
    """

    def __init__(self, **kwargs: Any) -> None:
        # With autocast, Keras would round the scores to half precision before `call`.
        super().__init__(**{"autocast": False, **kwargs})

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        return tf.cast(softmax_mixture(*split(inputs, *_INPUTS)), self._output_dtype)

    @property
    def _output_dtype(self) -> tf.DType:
        return working_dtype(tf.as_dtype(self.compute_dtype))

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        """Return Keras 3's symbolic output in the dtype of `call`; the default is that of the layer."""
        spec = super().compute_output_spec(inputs, **kwargs)
        return keras.KerasTensor(spec.shape, self._output_dtype.name)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return check_mixture(*split_shapes(input_shape, *_INPUTS))
