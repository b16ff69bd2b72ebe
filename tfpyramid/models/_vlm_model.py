"""The model that `pyramid_vlm` builds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfpyramid._compat import keras, register
from tfpyramid.layers._base import check_layer
from tfpyramid.layers.protocols import saved_names
from tfpyramid.layers.selection.level_router import LevelRouter
from tfpyramid.layers.selection.query_level_selector import QueryLevelSelector
from tfpyramid.models._batch_layers import ImageOfEachQuestion, repeat_for_questions
from tfpyramid.models._pyramid_model import TrainedModel


@register
class PyramidVLM(TrainedModel):
    """Answer a question about an image from the level that the question needs; see `tfpyramid.models.pyramid_vlm`.

    A functional model from {"image", "question"} to {"answer", "level_weights"}. With the selector's objective "value",
    training uses the answers from all levels. The model then returns {"answer": [questions, levels, answers],
    "level_logits": [questions, levels]} in training mode, and `compute_loss` and `compute_metrics` read both. A batch
    holds n questions for each image; question i is about image i // n, in training and at inference.

    Args:
        router: encoders of the levels, with the pyramid.
        selector: chooses the level from the question.
        question_encoder: layer from token ids [batch, any] to vectors [batch, n].
        decoder: layer from [features, vectors] to answers [batch, answers].
        input_shape: (height, width, channels) of the images; height and width may be None.
        **kwargs: arguments of `keras.Model`.
    """

    # Keras already saves these layers as members of `layers`.
    second_names = ("router", "selector", "question_encoder", "decoder")

    def __init__(
        self,
        router: LevelRouter,
        selector: QueryLevelSelector,
        question_encoder: keras.layers.Layer,
        decoder: keras.layers.Layer,
        input_shape: Sequence[int | None],
        **kwargs: Any,
    ) -> None:
        parts = {"router": router, "selector": selector, "question_encoder": question_encoder, "decoder": decoder}
        parts = {name: check_layer(name, part) for name, part in parts.items()}
        image = keras.Input(tuple(input_shape), name="image")
        tokens = keras.Input((None,), dtype="int32", name="question")
        question = parts["question_encoder"](tokens)
        weights = parts["selector"](question)
        images = ImageOfEachQuestion(name="image_of_each_question")([image, tokens])
        answer = parts["decoder"]([parts["router"]([images, weights]), question])
        super().__init__(
            inputs={"image": image, "question": tokens},
            outputs={"answer": answer, "level_weights": weights},
            **kwargs,
        )
        self._image_shape = tuple(input_shape)
        self.router: LevelRouter = parts["router"]
        self.selector: QueryLevelSelector = parts["selector"]
        self.question_encoder, self.decoder = parts["question_encoder"], parts["decoder"]

    def __dir__(self) -> list[str]:
        return saved_names(self, super().__dir__())

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> dict[str, tf.Tensor]:
        if not training or self.selector.objective != "value":
            return super().call(inputs, training=training, mask=mask)
        question = self.question_encoder(inputs["question"])
        # Encode each image once and repeat its features, which costs less than to repeat the image.
        features = [repeat_for_questions(level, question) for level in self.router.encode_all(inputs["image"])]
        return {
            "answer": tf.stack([self.decoder([level, question]) for level in features], axis=1),
            # The question encoder learns from the loss of the answers only, not from the loss of the level logits.
            "level_logits": self.selector.level_logits(tf.stop_gradient(question)),
        }

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, **kwargs: Any
    ) -> tf.Tensor:
        """Return the compiled loss of the answer; training with "value" adds the loss of the level logits."""
        answers = y_pred["answer"]
        if "level_logits" not in y_pred:
            return super().compute_loss(x, y, answers, sample_weight, **kwargs)
        num_levels = len(self.router.encoders)
        correct = tf.cast(tf.argmax(answers, axis=-1) == _labels(y, answers)[:, None], tf.float32)
        # Repeat each sample for each level, so that the compiled loss is the mean over the levels.
        y = tf.repeat(tf.convert_to_tensor(y), num_levels, axis=0)
        if sample_weight is not None:
            sample_weight = tf.repeat(tf.convert_to_tensor(sample_weight), num_levels, axis=0)
        answers = tf.reshape(answers, [-1, answers.shape[-1]])
        logits = tf.reshape(tf.cast(y_pred["level_logits"], tf.float32), [-1, 1])
        entropy = keras.losses.BinaryCrossentropy(from_logits=True)
        value_loss = entropy(tf.reshape(correct, [-1, 1]), logits, sample_weight=sample_weight)
        return super().compute_loss(x, y, answers, sample_weight, **kwargs) + value_loss

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Return the compiled metrics of the answer from the chosen level, and report the cost of that level."""
        answers = y_pred["answer"]
        if "level_logits" in y_pred:
            weights = self.selector.choose(y_pred["level_logits"])
            answers = tf.reduce_sum(tf.cast(weights, answers.dtype)[..., None] * answers, axis=1)
        else:
            weights = y_pred["level_weights"]
        self.selector.report_cost(weights)
        return super().compute_metrics(x, y, answers, sample_weight)

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            "router": serialize(self.router),
            "selector": serialize(self.selector),
            "question_encoder": serialize(self.question_encoder),
            "decoder": serialize(self.decoder),
            "input_shape": list(self._image_shape),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> PyramidVLM:
        return cls(**config)


def _labels(y: Any, answers: tf.Tensor) -> tf.Tensor:
    """Return class indices [batch] from indices or one-hot vectors."""
    y = tf.convert_to_tensor(y)
    if y.shape.rank == 2 and y.shape[1] == answers.shape[-1] > 1:
        return tf.argmax(y, axis=1)
    return tf.cast(tf.reshape(y, [-1]), tf.int64)
