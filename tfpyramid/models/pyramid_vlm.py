"""pyramid_vlm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfpyramid import _checks, _level_checks
from tfpyramid._compat import keras, shape_tuple
from tfpyramid.layers._base import check_layer, output_shape
from tfpyramid.layers.downsampling.learnable_downsample import LearnableDownsample2D
from tfpyramid.layers.pyramids.learnable_pyramid import LearnablePyramid
from tfpyramid.layers.selection.level_cascade import LevelCascade
from tfpyramid.layers.selection.level_router import LevelRouter
from tfpyramid.layers.selection.query_level_selector import OBJECTIVES, QueryLevelSelector
from tfpyramid.models import _vlm_parts
from tfpyramid.models._answer_confidence import AnswerConfidence
from tfpyramid.models._cascade_vlm import CascadeVLM
from tfpyramid.models._question_model import vectors_of
from tfpyramid.models._vlm_model import PyramidVLM
from tfpyramid.ops import routing


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
    confidences: keras.layers.Layer | Sequence[keras.layers.Layer] | None = None,
    seed: int | None = None,
    name: str = "pyramid_vlm",
) -> keras.Model:
    """Return a model that answers questions about images and reads each image at the level that the question needs.

    A `QueryLevelSelector` chooses a level of a `LearnablePyramid` from the question, and from summaries of the levels
    if you pass `summaries`. A `LevelRouter` has one encoder for each level. At inference, each sample runs only the
    encoder of its level, and the pyramid down to that level. All levels share the decoder. Each encoder, the decoder
    and the summaries can be any Keras layer.

    With the objective "cascade", the image decides too. A `LevelCascade` runs the encoder of the coarsest level, and
    goes on to finer levels only for the samples that are not sure of their answer.

    Equation:
        `answer = softmax(dense(relu(dense(f * q))))`, with `q = tanh(...)` of the question and `f = tanh(...)` of the
        image at the chosen level, both of `units` numbers, multiplied elementwise.
        With the objective "value", training minimizes two terms: the compiled loss of the answer, averaged over the
        answers from all levels, and the binary cross-entropy between the selector's P(right | question, level) and
        whether the answer from that level was right. At inference the level is
        `argmax_k(P[k] - cost_weight pixels[k])`.
        With "cascade", a confidence layer computes P(right | question, features) of each level but the finest, which
        is trained in the same way. At inference a question is answered at the coarsest level k with
        `P[k] >= threshold[k]`, or at level 0. At first, `threshold[k] = 1 - cost_weight pixels[k - 1]`.
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
        With "cascade", `model.cascade.threshold.assign(...)` does. Fit the confidence to data held out from training
        with `models.calibrate_confidence`, and take thresholds from `models.cost_curve`.
        The metric selector_cost is the mean fraction of pixels read: the pixels of the chosen level divided by those of
        the finest level. With "cascade" it is named cascade_cost, and the pixels of all levels that ran count.

    Args:
        vocabulary_size: number of token ids, from 2 to 2^20; ids are below it, and id 0 means no token. Only the
            default `question_encoder` uses it.
        num_answers: number of possible answers, from 1 to 2^20, or of words if `decoder` answers in words.
        input_shape: (height, width, channels) of the images; height and width may be None.
        num_levels: number of levels to choose from, from 1 to 64.
        downsample: the layer that makes the next level from a level, as in `LearnablePyramid`. None means
            `LearnableDownsample2D(kernel_size=2, border="constant")`, which reads each pixel once. With "cascade",
            `keras.layers.AveragePooling2D(2)` is faster, because `LevelCascade` then skips level 1.
        objective: "value", "softmax" or "gumbel", as in `QueryLevelSelector`, or "cascade".
        cost_weight: weight of the pixels of the finest level against the probability of a right answer ("value",
            "cascade"), or against the loss ("softmax", "gumbel"); from 0 to 1e30.
        filters: output channels of the first convolution of a default encoder, from 1 to 65536. Later convolutions have
            two and four times as many. With "cascade", the encoders of the two coarsest levels, if not of the finest,
            have from half to two times as many channels, and fewer strides.
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
            level. None means that the selector reads the question alone. Not for "cascade", which has no selector.
        confidences: for "cascade", layer from the list [features, vectors of the questions] to log-odds [batch, 1] that
            the answer is right. Each level but the finest gets a copy of it. Or a list with a layer for each of these
            levels. None means two dense layers that read both and how sure the answer is.
        seed: seed of the noise of "gumbel".
        name: name of the model.

    Returns:
        A model from {"image": [batch, height, width, channels], "question": token ids [batch * n, any]} to {"answer":
        probabilities [batch * n, num_answers], "level_weights": [batch * n, num_levels], one-hot}. Compile it with a
        single loss, which is that of "answer", and fit it to the labels. It has the attributes `router`, `selector`,
        `question_encoder`, `decoder` and `summaries`; with "cascade" `cascade`, `question_encoder` and `decoder`.

    Raises:
        ValueError: if an argument breaks a rule above.

    Example:
        >>> model = models.pyramid_vlm(vocabulary_size=30, num_answers=13)
        >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        >>> outputs = model({"image": tf.ones([2, 64, 64, 3]), "question": tf.constant([[4, 7, 0], [5, 2, 9]])})
        >>> {key: tuple(value.shape) for key, value in outputs.items()}
        {'answer': (2, 13), 'level_weights': (2, 4)}
        >>> model = models.pyramid_vlm(30, 13, objective="cascade", cost_weight=0.1)
        >>> model.cascade.threshold.numpy().tolist()  # Of levels 1, 2 and 3.
        [0.8999999761581421, 0.9750000238418579, 0.9937499761581421]

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
    objective = _checks.one_of("objective", objective, (*OBJECTIVES, "cascade"))
    cost_weight = _checks.at_least("cost_weight", cost_weight, 0, "the price of the pixels of the finest level")
    _check_objective(objective, num_levels, summaries, confidences)
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
        coarse = max(num_levels - 2, 1) if objective == "cascade" else num_levels
        encoders = [
            _vlm_parts.image_encoder(k, num_levels, shape[3], filters, units)
            if k < coarse
            else _vlm_parts.coarse_encoder(k, num_levels, shape, filters, units)
            for k, shape in enumerate(levels)
        ]
    else:
        encoders = _vlm_parts.for_levels("image_encoder", image_encoder, levels)
        _vlm_parts.check_features(encoders, levels, units if decoder is None else None)
    if question_encoder is None:
        question_encoder = _vlm_parts.bag_of_words(vocabulary_size, units)
    if decoder is None:
        decoder = _vlm_parts.answer_decoder(num_answers, units)
    if objective == "cascade":
        cascade = _cascade(encoders, confidences, pyramid, levels, question_encoder, cost_weight, units)
        model = CascadeVLM(cascade, question_encoder, decoder, input_shape, name=name)
    else:
        parts = () if summaries is None else _vlm_parts.for_levels("summaries", summaries, levels, optional=True)
        selector = QueryLevelSelector(
            num_levels, objective=objective, cost_weight=cost_weight, seed=seed, name="selector"
        )
        router = LevelRouter(encoders, pyramid, name="router")
        model = PyramidVLM(router, selector, question_encoder, decoder, input_shape, parts, name=name)
    shape = tuple(model.output["answer"].shape)
    if len(shape) < 2 or shape[-1] != num_answers or None in shape[1:]:
        raise ValueError(
            "`decoder` must return [batch, num_answers] or [batch, words, num_answers], with known sizes. "
            f"Received: output of shape {shape}, num_answers={num_answers}"
        )
    return model


def _check_objective(objective: str, num_levels: int, summaries: Any, confidences: Any) -> None:
    """Raise `ValueError` for an argument that the objective does not use."""
    if objective != "cascade":
        if confidences is not None:
            rule = "`confidences` must be None unless the objective is 'cascade', because nothing else reads them."
            raise ValueError(f"{rule} Received: confidences with objective={objective!r}")
        return
    if summaries is not None:
        rule = "`summaries` must be None with the objective 'cascade': it has no selector that could read them."
        raise ValueError(f"{rule} {_checks.received('summaries', summaries)}")
    if num_levels < 2:
        rule = "`num_levels` must be at least 2 with the objective 'cascade', which goes from coarse to fine."
        raise ValueError(f"{rule} Received: num_levels={num_levels}")


def _cascade(
    encoders: Sequence[keras.layers.Layer],
    confidences: Any,
    pyramid: keras.layers.Layer,
    levels: Sequence[_checks.ImageShape],
    question_encoder: keras.layers.Layer,
    cost_weight: float,
    units: int,
) -> LevelCascade:
    costs = routing.pixel_costs(len(levels))[:-1]
    features = shape_tuple(output_shape(encoders[0], levels[0]))
    tokens = keras.Input((None,), dtype="int32")
    query = (None, vectors_of("question_encoder", question_encoder, tokens).shape[1])
    if confidences is None:
        confidences = [AnswerConfidence(units, name=f"confidence_{k}") for k in range(1, len(levels))]
    else:
        confidences = _vlm_parts.for_levels("confidences", confidences, [[features, query]] * len(costs))
    threshold = np.clip(1 - cost_weight * costs, 0, 1).tolist()
    return LevelCascade(encoders, confidences, pyramid, threshold=threshold, name="cascade")
