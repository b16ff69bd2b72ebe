"""with_text_input."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._compat import keras


def with_text_input(model: keras.Model, vectorization: Any, name: str = "question") -> keras.Model:
    """Put a text vectorization in front of a model, so that it takes strings where it took token ids.

    The result shares the model's layers. It is what to export: the vocabulary is part of the SavedModel.

    Args:
        model: functional, with inputs by name, one of which takes token ids [batch, any].
        vectorization: an adapted `keras.layers.TextVectorization` of integers.
        name: of the input of token ids, and of the input of strings in its place.

    Returns:
        A model of the same inputs and outputs, but that `name` takes strings [batch].

    Raises:
        ValueError: if `model` has no input `name`, or `vectorization` is not adapted.

    Example:
        >>> words = keras.layers.TextVectorization()
        >>> words.adapt(["what color is the shape?", "is there a circle?"])
        >>> model = models.pyramid_vlm(words.vocabulary_size(), num_answers=13)
        >>> asked = models.with_text_input(model, words)
        >>> answer = asked({"image": tf.ones([1, 64, 64, 3]), "question": tf.constant(["is there a circle?"])})
        >>> tuple(answer["answer"].shape)
        (1, 13)
    """
    if not isinstance(model, keras.Model) or not isinstance(getattr(model, "input", None), dict):
        rule = "`model` must be a functional keras.Model that takes its inputs in a dict."
        raise ValueError(f"{rule} {_checks.received('model', model)}")
    inputs = model.input
    if not isinstance(name, str) or name not in inputs:
        rule = f"`name` must be an input of the model, one of {sorted(inputs)}."
        raise ValueError(f"{rule} {_checks.received('name', name)}")
    # Before it is adapted there are but the tokens for padding and for words that are not known.
    if not isinstance(vectorization, keras.layers.TextVectorization) or len(vectorization.get_vocabulary()) <= 2:
        raise ValueError(
            "`vectorization` must be a keras.layers.TextVectorization that has a vocabulary: call its `adapt` first. "
            f"{_checks.received('vectorization', vectorization)}"
        )
    text = keras.Input((), dtype=tf.string.name, name=name)
    asked = {
        key: text if key == name else keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=key)
        for key, tensor in inputs.items()
    }
    return keras.Model(asked, model({**asked, name: vectorization(text)}), name=f"{model.name}_of_text")
