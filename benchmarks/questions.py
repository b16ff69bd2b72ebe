"""Questions about small images: easy-VQA at half its resolution, from the package `easy-vqa`."""

from __future__ import annotations

from typing import NamedTuple

import easy_vqa
import numpy as np
from skimage import io

SIDE = 32
ANSWERS = easy_vqa.get_answers()


class Questions(NamedTuple):
    """For each question its 8-bit image, a multi-hot vector of its words, and the index of its answer in `ANSWERS`."""

    images: np.ndarray
    words: np.ndarray
    answers: np.ndarray


def words_of(text: str) -> set[str]:
    return set(text.lower().replace("?", "").split())


VOCABULARY = sorted(set().union(*map(words_of, easy_vqa.get_train_questions()[0])))


def read(part: str, first: int, last: int) -> Questions:
    """Return the questions of "train" or "test" about the images from `first` to `last` - 1."""
    paths = getattr(easy_vqa, f"get_{part}_image_paths")()
    chosen = sorted(paths)[first:last]
    images = {image: halved(io.imread(paths[image])) for image in chosen}
    chosen = [entry for entry in zip(*getattr(easy_vqa, f"get_{part}_questions")()) if entry[2] in images]
    texts, answers, image_of = zip(*chosen)
    return Questions(
        np.stack([images[image] for image in image_of]),
        np.array([[word in words_of(text) for word in VOCABULARY] for text in texts], np.float32),
        np.array([ANSWERS.index(answer) for answer in answers], np.int32),
    )


def halved(image: np.ndarray) -> np.ndarray:
    """Return the rounded means of blocks of 2 by 2 pixels."""
    means = image[..., :3].reshape(SIDE, 2, SIDE, 2, 3).mean((1, 3))
    return np.round(means).astype(np.uint8)
