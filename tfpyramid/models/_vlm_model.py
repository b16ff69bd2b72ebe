"""The model that `pyramid_vlm` builds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
        parts = {"router": router, "selector": selector, "question_encoder": question_encoder, "decoder": decoder}
        parts = {name: check_layer(name, part) for name, part in parts.items()}
        summaries = [None if part is None else check_layer(f"summaries[{k}]", part) for k, part in enumerate(summaries)]
        image = keras.Input(tuple(input_shape), name="image")
        tokens = keras.Input((None,), dtype="int32", name="question")
        question = _vectors("question_encoder", parts["question_encoder"], tokens)
        seen = [
            ImageOfEachQuestion(name=f"summary_{k}_of_each_question")([vectors, tokens])
            for k, vectors in _summarized(summaries, parts["router"].pyramid, image)
        ]
        weights = parts["selector"]([question, *seen] if seen else question)
        images = ImageOfEachQuestion(name="image_of_each_question")([image, tokens])
        answer = _called("decoder", parts["decoder"], [parts["router"]([images, weights]), question])
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

    def __dir__(self) -> list[str]:
        return saved_names(self, super().__dir__())

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> dict[str, tf.Tensor]:
        if not training or self.selector.objective != "value":
            return super().call(inputs, training=training, mask=mask)
        question = self.question_encoder(inputs["question"])
        # Encode each image once and repeat its features, which costs less than to repeat the image.
        features = [repeat_for_questions(level, question) for level in self.router.encode_all(inputs["image"])]
        # The question encoder and the pyramid learn from the loss of the answers only, not from that of the logits.
        query = tf.stop_gradient(question)
        seen = [
            repeat_for_questions(vectors, question)
            for _, vectors in _summarized(self.summaries, self.router.pyramid, inputs["image"], tf.stop_gradient)
        ]
        # One call for all levels takes fewer operations than one for each.
        count = len(features)
        of_levels = tf.reshape(tf.stack(features, axis=1), [-1, *features[0].shape[1:]])
        answers = self.decoder([of_levels, tf.repeat(question, count, axis=0)])
        return {
            "answer": tf.reshape(answers, [-1, count, *answers.shape[1:]]),
            "level_logits": self.selector.level_logits([query, *seen] if seen else query),
        }

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, **kwargs: Any
    ) -> tf.Tensor:
        """Return the compiled loss of the answer; training with "value" adds the loss of the level logits."""
        answers = y_pred["answer"]
        if "level_logits" not in y_pred:
            return super().compute_loss(x, y, answers, sample_weight, **kwargs)
        num_levels = len(self.router.encoders)
        equal = tf.argmax(answers, axis=-1) == _labels(y, answers)[:, None]
        correct = tf.cast(tf.reduce_all(equal, list(range(2, equal.shape.rank))), tf.float32)  # All words are.
        # Repeat each sample for each level, so that the compiled loss is the mean over the levels.
        y = tf.repeat(tf.convert_to_tensor(y), num_levels, axis=0)
        if sample_weight is not None:
            sample_weight = tf.repeat(tf.convert_to_tensor(sample_weight), num_levels, axis=0)
        answers = tf.reshape(answers, [-1, *answers.shape[2:]])
        logits = tf.reshape(tf.cast(y_pred["level_logits"], tf.float32), [-1, 1])
        entropy = keras.losses.BinaryCrossentropy(from_logits=True)
        # A weight for each word weighs the answer by their mean.
        weight = sample_weight
        if weight is not None and weight.shape.rank > 1:
            weight = tf.reduce_mean(weight, list(range(1, weight.shape.rank)))
        value_loss = entropy(tf.reshape(correct, [-1, 1]), logits, sample_weight=weight)
        return super().compute_loss(x, y, answers, sample_weight, **kwargs) + value_loss

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Return the compiled metrics of the answer from the chosen level, and report the cost of that level."""
        answers = y_pred["answer"]
        if "level_logits" in y_pred:
            weights = self.selector.choose(y_pred["level_logits"])
            answers = tf.einsum("bk,bk...->b...", tf.cast(weights, answers.dtype), answers)
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
            "summaries": [None if part is None else serialize(part) for part in self.summaries],
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> PyramidVLM:
        return cls(**config)


def _labels(y: Any, answers: tf.Tensor) -> tf.Tensor:
    """Return class indices [batch] or [batch, words] from indices or one-hot vectors."""
    y = tf.convert_to_tensor(y)
    if y.shape.rank == answers.shape.rank - 1 and y.shape[-1] == answers.shape[-1] > 1:
        return tf.argmax(y, axis=-1)
    return tf.cast(tf.reshape(y, [-1, *answers.shape[2:-1]]), tf.int64)


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
    return [(k, _vectors(f"summaries[{k}]", part, prepare(level))) for k, (part, level) in pairs if part is not None]


def _called(name: str, layer: keras.layers.Layer, inputs: Any) -> Any:
    """Return the output of a layer of the user's, and name the argument in its error."""
    try:
        return layer(inputs)
    except Exception as error:  # The type of the error depends on the layer.
        shapes = [tuple(x.shape) for x in tf.nest.flatten(inputs)]
        first, *_ = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"`{name}` must be a layer that can be called on inputs of shapes {shapes}. "
            f"Received: {name}={layer.name!r}, which says: {first}"
        ) from error


def _vectors(name: str, layer: keras.layers.Layer, inputs: Any) -> Any:
    """Return the output of a layer of the user's, which must be a vector for each sample."""
    found = _called(name, layer, inputs)
    shape = getattr(found, "shape", None)
    if shape is None or len(shape) != 2 or shape[1] is None:
        raise ValueError(
            f"`{name}` must return one vector for each sample, [batch, size] with a known size. "
            f"Received: output of shape {None if shape is None else tuple(shape)}"
        )
    return found
