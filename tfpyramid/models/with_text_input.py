"""with_text_input."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras


def with_text_input(model: keras.Model, vectorization: Any, name: str = "question") -> keras.Model:
    """Return a model that takes strings instead of token ids.

    The result shares its layers with `model`. Export the result, so that the SavedModel contains the vocabulary.

    Args:
        model: a functional model with a dict of inputs; one input takes token ids [batch, any].
        vectorization: an adapted `keras.layers.TextVectorization` that returns integers.
        name: name of the input of token ids, and of the input of strings that replaces it.

    Returns:
        A model with the inputs and outputs of `model`, except that input `name` takes strings [batch].

    Raises:
        ValueError: if `model` has no input `name`, or `vectorization` is not adapted.

    Example:
        >>> words = keras.layers.TextVectorization()
        >>> words.adapt(["what color is the shape?", "is there a circle?"])
        >>> model = models.pyramid_vlm(words.vocabulary_size(), num_answers=13)
        >>> text_model = models.with_text_input(model, words)
        >>> answer = text_model({"image": tf.ones([1, 64, 64, 3]), "question": tf.constant(["is there a circle?"])})
        >>> tuple(answer["answer"].shape)
        (1, 13)
    """
    if not isinstance(model, keras.Model) or not isinstance(getattr(model, "input", None), dict):
        rule = "`model` must be a functional keras.Model with a dict of inputs."
        raise ValueError(f"{rule} {_checks.received('model', model)}")
    inputs = model.input
    if not isinstance(name, str) or name not in inputs:
        rule = f"`name` must be the name of an input of the model, one of {sorted(inputs)}."
        raise ValueError(f"{rule} {_checks.received('name', name)}")
    # Before `adapt` the vocabulary holds only the tokens for padding and for unknown words.
    if not isinstance(vectorization, keras.layers.TextVectorization) or len(vectorization.get_vocabulary()) <= 2:
        raise ValueError(
            "`vectorization` must be a keras.layers.TextVectorization with a vocabulary. Call its `adapt` first. "
            f"{_checks.received('vectorization', vectorization)}"
        )
    text = keras.Input((), dtype=tf.string.name, name=name)
    inputs_with_text = {
        key: text if key == name else keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=key)
        for key, tensor in inputs.items()
    }
    outputs = model({**inputs_with_text, name: vectorization(text)})
    return keras.Model(inputs_with_text, outputs, name=f"{model.name}_of_text")
