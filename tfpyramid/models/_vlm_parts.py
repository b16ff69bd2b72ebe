"""The parts of `pyramid_vlm`: those that it builds, and checks of those of the user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfpyramid import _checks, _plain
from tfpyramid._compat import keras
from tfpyramid.layers._base import build_layer, check_layer, clone, output_shape

# For batch normalization. Keras's 0.99 needs more steps than training on a small data set has.
_MOMENTUM = 0.9
_LEAST_SIDE = 8  # Of a level with 3 by 3 windows inside it alone, also after a stride of 2.


def for_levels(name: str, given: Any, levels: Sequence[Any], *, optional: bool = False) -> list[keras.layers.Layer]:
    """Return a layer for each level: those of a list, or copies of one layer, with its weights if it is built."""
    if not isinstance(given, (list, tuple)):
        layer = check_layer(name, given)
        copies = [clone(layer, k) for k in range(len(levels))]
        for copy, shape in zip(copies, levels):
            if layer.built and layer.weights:
                if isinstance(shape, tuple):
                    build_layer(copy, shape)
                elif not copy.built:  # It takes a list of inputs.
                    copy.build(shape)
                copy.set_weights(layer.get_weights())
        return copies
    if len(given) != len(levels):
        raise ValueError(
            f"`{name}` must be one layer, or a list of {len(levels)} layers, one for each level. "
            f"Received: {len(given)} layers"
        )
    found = [None if optional and each is None else check_layer(f"{name}[{k}]", each) for k, each in enumerate(given)]
    if len({id(each) for each in found if each is not None}) < sum(each is not None for each in found):
        names = [each and each.name for each in found]
        raise ValueError(f"`{name}` must be different layers, one for each level. Received: layers {names}")
    return found


def check_features(
    encoders: Sequence[keras.layers.Layer], levels: Sequence[_checks.ImageShape], units: int | None
) -> None:
    """Raise `ValueError` unless all encoders return features of one known shape, [batch, units] if that is given."""
    rule = "`image_encoder` must return features of one known shape for each level, except the batch"
    found = []
    for encoder, shape in zip(encoders, levels):
        try:
            build_layer(encoder, shape)
            found.append(output_shape(encoder, shape))
        except Exception as error:  # The type of the error depends on the layer.
            says = _plain.first_line(error)
            raise ValueError(f"{rule}. Received: a level of shape {shape}, for which it says: {says}") from error
    if len({shape[1:] for shape in found}) > 1 or None in found[0][1:]:
        raise ValueError(f"{rule}: end it with a global pooling layer, for example. Received: output shapes {found}")
    if units is not None and found[0][1:] != (units,):
        raise ValueError(
            "`image_encoder` must return [batch, units] unless you pass a `decoder`: the default multiplies it by "
            f"the vector of the question. Received: output of shape {found[0]}, units={units}"
        )


def image_encoder(k: int, num_levels: int, channels: int, filters: int, units: int) -> keras.Sequential:
    """Return the encoder of level k, which halves the level until all levels have about one size, at least twice."""
    steps = max(num_levels - k, 2)
    # A larger first kernel on fine levels compensates for the samples that the stride skips.
    sizes = [5 if steps > 2 else 3, *[3] * (steps - 1)]
    layers = keras.layers
    stack = [keras.Input((None, None, channels))]
    for step, size in enumerate(sizes):
        stack += [
            layers.Conv2D(filters * 2 ** min(step, 2), size, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=_MOMENTUM),
            layers.ReLU(),
        ]
    stack += [layers.GlobalMaxPooling2D(), layers.Dense(units, activation="tanh")]
    return keras.Sequential(stack, name=f"encoder_{k}")


def coarse_encoder(k: int, num_levels: int, shape: _checks.ImageShape, filters: int, units: int) -> keras.Sequential:
    """Return the encoder of one of the two coarsest levels of a cascade, from the shape of the level.

    Nearly all questions read these levels. They have few channels, but strides would skip samples that tell the shape
    of a small object, so the coarsest level has none, and the next only in its second convolution.
    """
    layers = keras.layers
    stack = [keras.Input((None, None, shape[3]))]
    for count, stride in [(max(filters // 2, 1), 1), (filters, 2)][: num_levels - k]:
        stack += [
            layers.Conv2D(count, 3, strides=stride, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=_MOMENTUM),
            layers.ReLU(),
        ]
    # On few pixels, the windows that reach beyond the border would be half of all.
    inside = all(side is not None and side >= _LEAST_SIDE for side in shape[1:3])
    stack += [
        layers.Conv2D(2 * filters, 3, padding="valid" if inside else "same", use_bias=False),
        layers.GlobalMaxPooling2D(),
        # The maxima are fewer numbers than the map, and take less time.
        layers.BatchNormalization(momentum=_MOMENTUM),
        layers.ReLU(),
        layers.Dense(units, activation="tanh"),
    ]
    return keras.Sequential(stack, name=f"encoder_{k}")


def bag_of_words(vocabulary_size: int, units: int) -> keras.Sequential:
    """Return a layer from token ids to vectors that ignores the order of the words."""
    stack = [
        keras.Input((None,), dtype="int32"),
        keras.layers.CategoryEncoding(vocabulary_size, output_mode="multi_hot"),
        keras.layers.Dense(units, activation="relu"),
        keras.layers.Dense(units, activation="tanh"),
    ]
    return keras.Sequential(stack, name="question_encoder")


def answer_decoder(num_answers: int, units: int) -> keras.Model:
    features, question = keras.Input((units,), name="features"), keras.Input((units,), name="vector")
    hidden = keras.layers.Dense(units, activation="relu")(keras.layers.Multiply()([features, question]))
    # Losses need float32, under mixed precision too.
    answer = keras.layers.Dense(num_answers, activation="softmax", dtype="float32", name="answer")(hidden)
    return keras.Model([features, question], answer, name="decoder")
