"""The layers of answer_in_words.py: encoders of images, a decoder that writes sentences, and strings for its words."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

keras = tf.keras  # Keras 3; Keras 2 with TensorFlow 2.15 or TF_USE_LEGACY_KERAS=1.


@keras.utils.register_keras_serializable("answer_in_words")
class WordDecoder(keras.layers.Layer):
    """Write a sentence: one block of a transformer, which reads the image, the question and the words so far.

    Each word is the most probable one, in training too, because the labels do not reach the layers of a model. Word 0
    means none: it starts the sentence, and fills it up after its end. Keys and values of the image and of each word are
    computed once and kept; `keras.layers.MultiHeadAttention` would compute them again for each later word.

    Args:
        vocabulary_size: number of words.
        words: length of the sentences.
        units: size of the vectors.
    """

    def __init__(self, vocabulary_size: int, words: int, units: int = 64, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.vocabulary_size, self.words, self.units = vocabulary_size, words, units
        layers = keras.layers
        self.embedding = layers.Embedding(vocabulary_size, units, name="embedding")
        self.places = layers.Embedding(words, units, name="places")
        self.of_question = layers.Dense(units, name="of_question")
        self.ask_words = layers.Dense(3 * units, name="ask_words")  # Query, key and value of a word.
        self.from_words = layers.Dense(units, name="from_words")
        self.show_image = layers.Dense(2 * units, name="show_image")  # Keys and values of its places.
        self.ask_image = layers.Dense(units, name="ask_image")
        self.from_image = layers.Dense(units, name="from_image")
        self.widen = layers.Dense(2 * units, activation="relu", name="widen")
        self.narrow = layers.Dense(units, name="narrow")
        self.norms = [layers.LayerNormalization(name=f"norm_{k}") for k in range(3)]
        # Losses need float32, under mixed precision too.
        self.choose = layers.Dense(vocabulary_size, activation="softmax", dtype="float32", name="choose")

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Return the probabilities of each word, [batch, words, vocabulary], for [features, questions]."""
        features, question = inputs  # [batch, places, units], [batch, units]
        about = self.of_question(question)
        image = tf.split(self.show_image(tf.concat([features, about[:, None]], axis=1)), 2, axis=-1)
        word = tf.zeros(tf.shape(question)[:1], tf.int32)
        places = self.places(tf.range(self.words))
        keys, values, probabilities = [], [], []
        for k in range(self.words):
            x = self.embedding(word) + places[k] + about
            query, key, value = tf.split(self.ask_words(self.norms[0](x)), 3, axis=-1)
            keys.append(key)
            values.append(value)
            x = x + self.from_words(attend(query, tf.stack(keys, axis=1), tf.stack(values, axis=1)))
            x = x + self.from_image(attend(self.ask_image(self.norms[1](x)), *image))
            x = x + self.narrow(self.widen(self.norms[2](x)))
            probabilities.append(self.choose(x))
            word = tf.argmax(probabilities[-1], axis=-1, output_type=tf.int32)
        return tf.stack(probabilities, axis=1)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (input_shape[0][0], self.words, self.vocabulary_size)

    def get_config(self) -> dict[str, Any]:
        config = {"vocabulary_size": self.vocabulary_size, "words": self.words, "units": self.units}
        return {**super().get_config(), **config}


@keras.utils.register_keras_serializable("answer_in_words")
class Sentences(keras.layers.Layer):
    """Map the outputs of the model to strings, in which word 0 is empty, and to the index of the level."""

    def __init__(self, vocabulary: list[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.vocabulary = list(vocabulary)

    def call(self, outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        words = tf.gather(tf.constant(self.vocabulary), tf.argmax(outputs["answer"], axis=-1))
        answer = tf.strings.strip(tf.strings.reduce_join(words, axis=-1, separator=" "))
        return {"answer": answer, "level": tf.argmax(outputs["level_weights"], axis=-1, output_type=tf.int32)}

    def compute_output_spec(self, outputs: dict[str, Any]) -> dict[str, Any]:
        shape = outputs["answer"].shape[:1]
        return {"answer": keras.KerasTensor(shape, "string"), "level": keras.KerasTensor(shape, "int32")}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "vocabulary": self.vocabulary}


def attend(query: tf.Tensor, keys: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Return the values [batch, n, units], weighted by how their keys fit one query [batch, units]."""
    scores = tf.reduce_sum(query[:, None] * keys, axis=-1, keepdims=True) / keys.shape[-1] ** 0.5
    return tf.reduce_sum(tf.nn.softmax(scores, axis=1) * values, axis=1)


def encoder(side: int, steps: int, units: int = 64) -> keras.Model:
    """Return an encoder of images of a side: at least two strided convolutions, and a maximum, to 2 by 2 vectors."""
    layers = keras.layers
    stack: list[Any] = [keras.Input((side, side, 3))]
    for step in range(max(steps, 2)):
        stack += [
            layers.Conv2D(
                16 * 2 ** min(step, 2), 5 if step == 0 and steps > 2 else 3, 2, padding="same", use_bias=False
            ),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
        ]
    stack += [layers.MaxPooling2D(side // 2 ** max(steps, 2) // 2)]
    return keras.Sequential(
        [*stack, layers.Dense(units, activation="tanh"), layers.Reshape((4, units))], name=f"grid_{side}"
    )
