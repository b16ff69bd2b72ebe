"""pyramid_vlm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfpyramid import _checks, _level_checks
from tfpyramid._compat import keras
from tfpyramid.layers._base import build_layer, check_layer, clone, output_shape
from tfpyramid.layers.downsampling.learnable_downsample import LearnableDownsample2D
from tfpyramid.layers.pyramids.learnable_pyramid import LearnablePyramid
from tfpyramid.layers.selection.level_router import LevelRouter
from tfpyramid.layers.selection.query_level_selector import QueryLevelSelector
from tfpyramid.models._vlm_model import PyramidVLM

# For batch normalization. Keras's 0.99 needs more steps than training on a small data set has.
_MOMENTUM = 0.9


def pyramid_vlm(
    vocabulary_size: int,
    num_answers: int,
    *,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    num_levels: int = 4,
    downsample: keras.layers.Layer | None = None,
    objective: str = "value",
    cost_weight: float = 0.02,
    filters: int = 16,
    units: int = 64,
    image_encoder: keras.layers.Layer | Sequence[keras.layers.Layer] | None = None,
    question_encoder: keras.layers.Layer | None = None,
    decoder: keras.layers.Layer | None = None,
    summaries: keras.layers.Layer | Sequence[keras.layers.Layer | None] | None = None,
    seed: int | None = None,
    name: str = "pyramid_vlm",
) -> keras.Model:
    """Return a model that answers questions about images and reads each image at the level that the question needs.

    A `QueryLevelSelector` chooses a level of a `LearnablePyramid` from the question, and from summaries of the levels
    if you pass `summaries`. A `LevelRouter` has one encoder for each level. At inference, each sample runs only the
    encoder of its level, and the pyramid down to that level. All levels share the decoder. Each encoder, the decoder
    and the summaries can be any Keras layer.

    Equation:
        `answer = softmax(dense(relu(dense(f * q))))`, with `q = tanh(...)` of the question and `f = tanh(...)` of the
        image at the chosen level, both of `units` numbers, multiplied elementwise.
        With the objective "value", training minimizes two terms: the compiled loss of the answer, averaged over the
        answers from all levels, and the binary cross-entropy between the selector's P(right | question, level) and
        whether the answer from that level was right. At inference the level is
        `argmax_k(P[k] - cost_weight pixels[k])`.
        With "softmax" or "gumbel", training minimizes the compiled loss of the answer plus `cost_weight` times the
        expected pixels. The features are the sum over the levels, weighted by the selector.

    Convention:
        With "value", each level learns from every sample, however often it is chosen. A softmax tends to converge to
        the level that is best on average, and with Gumbel draws the levels that are rarely drawn learn little.
        The model takes n questions for each image: [batch * n, any], with one label for each, the questions of one
        image in a row. Question i is about image i // n, in training and at inference. A `tf.data.Dataset` can yield
        such batches. Training with "value" then encodes an image once for all its questions; otherwise the image is
        repeated for each question. If the number of questions is not a multiple of the number of images, the model
        raises ValueError if both are known, else `tf.errors.InvalidArgumentError` when the graph runs.
        With `summaries`, the model computes all levels of the pyramid for each image, but still one encoder.
        A decoder may answer in words: [batch, words, num_answers], with labels [batch * n, words]. With "value", such
        an answer is right if all its words are.
        With "value", `model.selector.cost_weight.assign(...)` trades accuracy for pixels after training.
        The metric selector_cost is the mean fraction of pixels read: the pixels of the chosen level divided by those of
        the finest level.

    Args:
        vocabulary_size: number of token ids, from 2 to 2^20; ids are below it, and id 0 means no token. Only the
            default `question_encoder` uses it.
        num_answers: number of possible answers, from 1 to 2^20, or of words if `decoder` answers in words.
        input_shape: (height, width, channels) of the images; height and width may be None.
        num_levels: number of levels to choose from, from 1 to 64.
        downsample: the layer that makes the next level from a level, as in `LearnablePyramid`. None means
            `LearnableDownsample2D(kernel_size=2, border="constant")`, which reads each pixel once.
        objective: "value", "softmax" or "gumbel", as in `QueryLevelSelector`.
        cost_weight: weight of the pixels of the finest level against the probability of a right answer ("value"), or
            against the loss ("softmax", "gumbel"); from 0 to 1e30.
        filters: output channels of the first convolution of a default encoder, from 1 to 65536. Later convolutions have
            two and four times as many.
        units: size of the features of the default parts, from 1 to 65536.
        image_encoder: layer from a level [batch, height, width, channels] to features of known size, [batch, ...]. Each
            level gets a copy of it, with its weights if it is built. Or a list with a layer for each level, finest
            first; all must return the same shape. None means convolutions, a maximum over all places, and a dense
            layer.
        question_encoder: layer from token ids [batch, any] to vectors [batch, n]. None means a bag of words, which
            ignores their order, with n = `units`.
        decoder: layer from the list [features, vectors of the questions] to probabilities [batch, num_answers] or
            [batch, words, num_answers]. None means the equation above.
        summaries: layer from a level to vectors [batch, n], such as `keras.layers.GlobalAveragePooling2D()`, which the
            selector reads beside the question. Each level gets a copy of it. Or a list with a layer or None for each
            level. None means that the selector reads the question alone.
        seed: seed of the noise of "gumbel".
        name: name of the model.

    Returns:
        A model from {"image": [batch, height, width, channels], "question": token ids [batch * n, any]} to {"answer":
        probabilities [batch * n, num_answers], "level_weights": [batch * n, num_levels], one-hot}. Compile it with a
        single loss, which is that of "answer", and fit it to the labels. It has the attributes `router`, `selector`,
        `question_encoder`, `decoder` and `summaries`.

    Raises:
        ValueError: if an argument breaks a rule above.

    Example:
        >>> model = models.pyramid_vlm(vocabulary_size=30, num_answers=13)
        >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        >>> outputs = model({"image": tf.ones([2, 64, 64, 3]), "question": tf.constant([[4, 7, 0], [5, 2, 9]])})
        >>> {key: tuple(value.shape) for key, value in outputs.items()}
        {'answer': (2, 13), 'level_weights': (2, 4)}
        >>> model = models.pyramid_vlm(30, 13, summaries=keras.layers.GlobalAveragePooling2D())
        >>> len(model.summaries)
        4

    References:
        Kim, On, Lim, Kim, Ha and Zhang, Hadamard Product for Low-rank Bilinear Pooling, 2017, section 3 (tanh of both
        factors).
    """
    name = _checks.text("name", name)
    most = _checks.MOST_CLASSES
    meaning = "the number of token ids"
    vocabulary_size = _checks.integer("vocabulary_size", vocabulary_size, 2, meaning, maximum=most)
    num_answers = _checks.integer("num_answers", num_answers, 1, maximum=most)
    num_levels = _checks.num_levels(num_levels)
    filters = _checks.channels("filters", filters, "the output channels of the first convolution")
    units = _checks.channels("units", units, "the size of the features")
    input_shape = _checks.input_shape(input_shape)
    if question_encoder is not None:
        question_encoder = check_layer("question_encoder", question_encoder)
    if decoder is not None:
        decoder = check_layer("decoder", decoder)
    if downsample is None:
        # The pyramid must cost little compared with the encoders that it saves. A two-tap kernel reads each pixel once,
        # and zeros are the cheapest border.
        downsample = LearnableDownsample2D(kernel_size=2, border="constant", name="downsample")
    pyramid = LearnablePyramid(num_levels, downsample, name="pyramid")
    levels = _level_checks.level_shapes(pyramid.compute_output_shape((None, *input_shape)))
    if image_encoder is None:
        encoders = [_image_encoder(k, num_levels, shape[3], filters, units) for k, shape in enumerate(levels)]
    else:
        encoders = _for_levels("image_encoder", image_encoder, levels)
        _check_features(encoders, levels, units if decoder is None else None)
    parts = () if summaries is None else _for_levels("summaries", summaries, levels, optional=True)
    selector = QueryLevelSelector(num_levels, objective=objective, cost_weight=cost_weight, seed=seed, name="selector")
    model = PyramidVLM(
        LevelRouter(encoders, pyramid, name="router"),
        selector,
        _bag_of_words(vocabulary_size, units) if question_encoder is None else question_encoder,
        _decoder(num_answers, units) if decoder is None else decoder,
        input_shape,
        parts,
        name=name,
    )
    shape = tuple(model.output["answer"].shape)
    if len(shape) < 2 or shape[-1] != num_answers or None in shape[1:]:
        raise ValueError(
            "`decoder` must return [batch, num_answers] or [batch, words, num_answers], with known sizes. "
            f"Received: output of shape {shape}, num_answers={num_answers}"
        )
    return model


def _for_levels(
    name: str, given: Any, levels: Sequence[_checks.ImageShape], *, optional: bool = False
) -> list[keras.layers.Layer]:
    """Return a layer for each level: those of a list, or copies of one layer, with its weights if it is built."""
    if not isinstance(given, (list, tuple)):
        layer = check_layer(name, given)
        copies = [clone(layer, k) for k in range(len(levels))]
        for copy, shape in zip(copies, levels):
            if layer.built and layer.weights:
                build_layer(copy, shape)
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


def _check_features(
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
            first, *_ = str(error).strip().splitlines() or [type(error).__name__]
            raise ValueError(f"{rule}. Received: a level of shape {shape}, for which it says: {first}") from error
    if len({shape[1:] for shape in found}) > 1 or None in found[0][1:]:
        raise ValueError(f"{rule}: end it with a global pooling layer, for example. Received: output shapes {found}")
    if units is not None and found[0][1:] != (units,):
        raise ValueError(
            "`image_encoder` must return [batch, units] unless you pass a `decoder`: the default multiplies it by "
            f"the vector of the question. Received: output of shape {found[0]}, units={units}"
        )


def _image_encoder(k: int, num_levels: int, channels: int, filters: int, units: int) -> keras.Sequential:
    """Return the encoder of level k, which halves the level until all levels have about one size, at least twice."""
    layers = keras.layers
    stack = [keras.Input((None, None, channels))]
    for step in range(max(num_levels - k, 2)):
        # A larger first kernel on fine levels compensates for the samples that the stride skips.
        size = 5 if step == 0 and num_levels - k > 2 else 3
        stack += [
            layers.Conv2D(filters * 2 ** min(step, 2), size, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=_MOMENTUM),
            layers.ReLU(),
        ]
    stack += [layers.GlobalMaxPooling2D(), layers.Dense(units, activation="tanh")]
    return keras.Sequential(stack, name=f"encoder_{k}")


def _bag_of_words(vocabulary_size: int, units: int) -> keras.Sequential:
    """Return a layer from token ids to vectors that ignores the order of the words."""
    stack = [
        keras.Input((None,), dtype="int32"),
        keras.layers.CategoryEncoding(vocabulary_size, output_mode="multi_hot"),
        keras.layers.Dense(units, activation="relu"),
        keras.layers.Dense(units, activation="tanh"),
    ]
    return keras.Sequential(stack, name="question_encoder")


def _decoder(num_answers: int, units: int) -> keras.Model:
    features, question = keras.Input((units,), name="features"), keras.Input((units,), name="vector")
    hidden = keras.layers.Dense(units, activation="relu")(keras.layers.Multiply()([features, question]))
    # Losses need float32, under mixed precision too.
    answer = keras.layers.Dense(num_answers, activation="softmax", dtype="float32", name="answer")(hidden)
    return keras.Model([features, question], answer, name="decoder")
