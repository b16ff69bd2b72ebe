"""The data of visual_questions.py: images, questions and answers of easy-VQA, and the kind of each question."""

from __future__ import annotations

import re
from typing import Any

import easy_vqa
import numpy as np
import tensorflow as tf
from skimage import io

keras = tf.keras
KINDS = ("which colour", "which shape", "is it this colour", "is it this shape")
SHIFT = 4
ANSWERS = easy_vqa.get_answers()


class Questions:
    """Questions, each with the index of its image, its answer and its kind; images have 8 bits."""

    def __init__(self, images: np.ndarray, index: np.ndarray, texts: np.ndarray, answers: np.ndarray) -> None:
        self.images, self.index, self.texts, self.answers = images, index, texts, answers
        self.kinds = np.array([kind_of(text, ANSWERS[answer]) for text, answer in zip(texts, answers)])

    def __getitem__(self, chosen: Any) -> Questions:
        return Questions(self.images, self.index[chosen], self.texts[chosen], self.answers[chosen])

    def batches(self, words: keras.layers.Layer, size: int) -> tf.data.Dataset:
        """Return a dataset of ({"image", "question"}, answer), in order."""
        tokens, images = tf.cast(words(self.texts), tf.int32), tf.constant(self.images)

        def gather(index: tf.Tensor, tokens: tf.Tensor, answers: tf.Tensor) -> tuple:
            return {"image": tf.cast(tf.gather(images, index), tf.float32) / 255, "question": tokens}, answers

        data = tf.data.Dataset.from_tensor_slices((self.index, tokens, self.answers))
        return data.batch(size).map(gather, num_parallel_calls=2).prefetch(2)

    def training_batches(self, words: keras.layers.Layer, size: int, questions: int) -> tf.data.Dataset:
        """Return a dataset with every image once, shuffled, flipped and shifted, and some of its questions."""
        order = np.argsort(self.index, kind="stable")
        tokens, answers = tf.cast(words(self.texts[order]), tf.int32), tf.constant(self.answers[order])
        chosen, first, count = np.unique(self.index[order], return_index=True, return_counts=True)
        images = tf.constant(self.images[chosen])

        def gather(k: tf.Tensor, first: tf.Tensor, count: tf.Tensor) -> tuple:
            start = tf.random.uniform(tf.shape(count), 0, 2**31 - 1 - questions, tf.int64)
            picked = first[:, None] + (start[:, None] + tf.range(questions, dtype=tf.int64)) % count[:, None]
            picked = tf.reshape(picked, [-1])
            image = tf.cast(augmented(tf.gather(images, k)), tf.float32) / 255
            return {"image": image, "question": tf.gather(tokens, picked)}, tf.gather(answers, picked)

        data = tf.data.Dataset.from_tensor_slices((np.arange(len(chosen)), first, count))
        return data.shuffle(len(chosen)).batch(size, drop_remainder=True).map(gather, num_parallel_calls=2).prefetch(4)


def augmented(images: tf.Tensor) -> tf.Tensor:
    """Flip a batch at random and shift it by up to SHIFT pixels, the same for all images.

    The position of an object relative to the few pixels of a coarse level changes how the object looks there.
    """
    for axis in (1, 2):
        if tf.random.uniform([]) < 0.5:
            images = tf.reverse(images, [axis])
    padded = tf.pad(images, [[0, 0], [SHIFT, SHIFT], [SHIFT, SHIFT], [0, 0]], "SYMMETRIC")
    return tf.image.random_crop(padded, tf.shape(images))


def read(part: str, limit: int | None) -> Questions:
    """Return the questions about the first `limit` images of a part of easy-VQA."""
    paths = getattr(easy_vqa, f"get_{part}_image_paths")()
    texts, answers, images = getattr(easy_vqa, f"get_{part}_questions")()
    chosen = sorted(paths)[:limit]
    position = {image: k for k, image in enumerate(chosen)}
    rows = zip(texts, answers, images)
    found = [(position[image], text, ANSWERS.index(answer)) for text, answer, image in rows if image in position]
    index, texts, answers = (np.array(column) for column in zip(*found))
    return Questions(np.stack([io.imread(paths[image]) for image in chosen]), index, texts, answers)


def kind_of(text: str, answer: str) -> str:
    """Return the kind of a question; the answer "yes" or "no" marks questions about a given shape or color."""
    if answer not in ("yes", "no"):
        return KINDS[0] if text.startswith("what") and "color" in text else KINDS[1]
    return KINDS[3] if re.search("circle|rectangle|triangle", text) else KINDS[2]
