"""The model that `pyramid_vlm` builds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfpyramid import ops
from tfpyramid._compat import keras, register
from tfpyramid.layers._base import check_layer
from tfpyramid.layers.selection.level_router import LevelRouter
from tfpyramid.layers.selection.query_level_selector import QueryLevelSelector
from tfpyramid.models._batch_layers import ImageOfEachQuestion
from tfpyramid.models._question_model import QuestionModel, called, checked_parts, for_questions, vectors_of


@register
class PyramidVLM(QuestionModel):
    """Answer a question about an image from the level that the question needs; see `tfpyramid.models.pyramid_vlm`.

    A functional model from {"image", "question"} to {"answer", "level_weights"}. With the selector's objective "value",
    training uses the answers from all levels. The model then returns {"answer": [questions, levels, answers],
    "level_logits": [questions, levels]} in training mode, and `compute_loss` and `compute_metrics` read both. A batch
    holds n questions for each image; question i is about image i // n, in training and at inference.

    Args:
        router: encoders of the levels, with the pyramid.
        selector: chooses the level from the question.
        question_encoder: layer from token ids [batch, any] to vectors [batch, n].
        decoder: layer from [features, vectors] to answers [batch, answers] or [batch, words, answers].
        input_shape: (height, width, channels) of the images; height and width may be None.
        summaries: for each level, a layer from the level to vectors [batch, n] that the selector reads beside the
            question, or None. No layers at all mean that it reads the question alone.
        **kwargs: arguments of `keras.Model`.
    """

    # Keras already saves these layers as members of `layers`.
    second_names = ("router", "selector", "question_encoder", "decoder", "summaries")

    def __init__(
        self,
        router: LevelRouter,
        selector: QueryLevelSelector,
        question_encoder: keras.layers.Layer,
        decoder: keras.layers.Layer,
        input_shape: Sequence[int | None],
        summaries: Sequence[keras.layers.Layer | None] = (),
        **kwargs: Any,
    ) -> None:
        parts = checked_parts(router=router, selector=selector, question_encoder=question_encoder, decoder=decoder)
        summaries = [None if part is None else check_layer(f"summaries[{k}]", part) for k, part in enumerate(summaries)]
        image = keras.Input(tuple(input_shape), name="image")
        tokens = keras.Input((None,), dtype="int32", name="question")
        question = vectors_of("question_encoder", parts["question_encoder"], tokens)
        seen = [
            ImageOfEachQuestion(name=f"summary_{k}_of_each_question")([vectors, tokens])
            for k, vectors in _summarized(summaries, parts["router"].pyramid, image)
        ]
        weights = parts["selector"]([question, *seen] if seen else question)
        images = ImageOfEachQuestion(name="image_of_each_question")([image, tokens])
        answer = called("decoder", parts["decoder"], [parts["router"]([images, weights]), question])
        super().__init__(
            inputs={"image": image, "question": tokens},
            outputs={"answer": answer, "level_weights": weights},
            **kwargs,
        )
        self._image_shape = tuple(input_shape)
        self.router: LevelRouter = parts["router"]
        self.selector: QueryLevelSelector = parts["selector"]
        self.question_encoder, self.decoder = parts["question_encoder"], parts["decoder"]
        self.summaries = summaries

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> dict[str, tf.Tensor]:
        if not training or self.selector.objective != "value":
            return super().call(inputs, training=training, mask=mask)
        question = self.question_encoder(inputs["question"])
        features = for_questions(self.router.encode_all(inputs["image"]), question)
        return {
            "answer": self.answers_of(features, question),
            "level_logits": self._level_logits(inputs, question, tf.stop_gradient),
        }

    def answer_every_level(self, inputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the answers from all levels and the log-odds that they are right, for `cost_curve`."""
        question = self.question_encoder(inputs["question"])
        features = for_questions(self.router.encode_all(inputs["image"]), question)
        return self.answers_of(features, question), self._level_logits(inputs, question)

    @property
    def objective(self) -> str:
        return self.selector.objective

    def probabilities(self, logits: tf.Tensor) -> tf.Tensor:
        """Return P of the equation of `pyramid_vlm` from the log-odds of `answer_every_level`."""
        return tf.sigmoid(logits)

    @property
    def level_costs(self) -> np.ndarray:
        return ops.pixel_costs(len(self.router.encoders))

    def choose(self, logits: tf.Tensor) -> tf.Tensor:
        return self.selector.choose(logits)

    def report_cost(self, weights: tf.Tensor) -> None:
        self.selector.report_cost(weights)

    def _level_logits(self, inputs: Any, question: tf.Tensor, prepare: Callable = tf.identity) -> tf.Tensor:
        # The question encoder and the pyramid learn from the loss of the answers only, not from that of the logits.
        query = prepare(question)
        summarized = _summarized(self.summaries, self.router.pyramid, inputs["image"], prepare)
        seen = for_questions([vectors for _, vectors in summarized], question)
        return self.selector.level_logits([query, *seen] if seen else query)

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            "router": serialize(self.router),
            "selector": serialize(self.selector),
            "question_encoder": serialize(self.question_encoder),
            "decoder": serialize(self.decoder),
            "input_shape": list(self._image_shape),
            "summaries": [None if part is None else serialize(part) for part in self.summaries],
            "name": self.name,
        }


def _summarized(
    summaries: Sequence[keras.layers.Layer | None],
    pyramid: keras.layers.Layer,
    images: Any,
    prepare: Callable = lambda level: level,
) -> list[tuple[int, Any]]:
    """Return (k, vectors) for each level k that has a summary."""
    if not any(summaries):
        return []
    pairs = list(enumerate(zip(summaries, pyramid(images))))
    return [(k, vectors_of(f"summaries[{k}]", part, prepare(level))) for k, (part, level) in pairs if part is not None]
