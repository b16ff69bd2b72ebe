"""The model that `pyramid_vlm` builds with the objective "cascade"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfpyramid import ops
from tfpyramid._compat import keras, register
from tfpyramid.layers.selection.level_cascade import LevelCascade
from tfpyramid.models._answer_confidence import AnswerConfidence
from tfpyramid.models._batch_layers import ImageOfEachQuestion
from tfpyramid.models._every_level_model import ChoosesByCascade
from tfpyramid.models._question_model import QuestionModel, called, checked_parts, for_questions, vectors_of


@register
class CascadeVLM(ChoosesByCascade, QuestionModel):
    """Answer a question about an image from the coarsest level that is sure; see `tfpyramid.models.pyramid_vlm`.

    A functional model from {"image", "question"} to {"answer", "level_weights"}. In training mode it returns {"answer":
    [questions, levels, answers], "level_logits": [questions, levels - 1]}, as `QuestionModel` says.

    Args:
        cascade: encoders of the levels, confidences that read features and the query, and the pyramid.
        question_encoder: layer from token ids [batch, any] to vectors [batch, n].
        decoder: layer from [features, vectors] to answers [batch, answers] or [batch, words, answers].
        input_shape: (height, width, channels) of the images; height and width may be None.
        **kwargs: arguments of `keras.Model`.
    """

    # Keras already saves these layers as members of `layers`.
    second_names = ("cascade", "question_encoder", "decoder")

    def __init__(
        self,
        cascade: LevelCascade,
        question_encoder: keras.layers.Layer,
        decoder: keras.layers.Layer,
        input_shape: Sequence[int | None],
        **kwargs: Any,
    ) -> None:
        parts = checked_parts(cascade=cascade, question_encoder=question_encoder, decoder=decoder)
        image = keras.Input(tuple(input_shape), name="image")
        tokens = keras.Input((None,), dtype="int32", name="question")
        question = vectors_of("question_encoder", parts["question_encoder"], tokens)
        for confidence in parts["cascade"].confidences:
            if isinstance(confidence, AnswerConfidence):
                confidence.answer = parts["decoder"].__call__
        images = ImageOfEachQuestion(name="image_of_each_question")([image, tokens])
        features, weights = parts["cascade"]([images, question])
        super().__init__(
            inputs={"image": image, "question": tokens},
            outputs={"answer": called("decoder", parts["decoder"], [features, question]), "level_weights": weights},
            **kwargs,
        )
        self._image_shape = tuple(input_shape)
        self._set_cascade(parts["cascade"], ops.pixel_costs(parts["cascade"].num_levels))
        self.question_encoder, self.decoder = parts["question_encoder"], parts["decoder"]

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> dict[str, tf.Tensor]:
        if not training:
            return super().call(inputs, training=training, mask=mask)
        question = self.question_encoder(inputs["question"])
        features = for_questions(self.cascade.encode_all(inputs["image"]), question)
        # The confidence is a regression on what the levels see: it must not change what they see.
        seen = [tf.stop_gradient(level) for level in features]
        return {
            "answer": self.answers_of(features, question),
            "level_logits": self.cascade.confidence_logits(seen, tf.stop_gradient(question)),
        }

    def answer_every_level(self, inputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the answers from all levels and the log-odds of all but the finest, for `cost_curve`."""
        question = self.question_encoder(inputs["question"])
        features = for_questions(self.cascade.encode_all(inputs["image"]), question)
        return self.answers_of(features, question), self.cascade.confidence_logits(features, question)

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            "cascade": serialize(self.cascade),
            "question_encoder": serialize(self.question_encoder),
            "decoder": serialize(self.decoder),
            "input_shape": list(self._image_shape),
            "name": self.name,
        }
