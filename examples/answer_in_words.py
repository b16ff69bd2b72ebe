"""Answers in words: a small transformer decoder in `pyramid_vlm`, which writes a sentence for each question.

easy-VQA has questions about rendered images of 64 by 64 pixels, each with one object. Its answers are single words, and
`models.pyramid_vlm` by default chooses one of them. Here the answers are sentences: "is there not a teal shape?" has
the answer "no there is a teal shape". All parts of the model are layers of this script: the encoders return a grid of
vectors for each level, the decoder attends to them and writes one word after the other, and the selector reads the mean
of the smallest level beside the question.

1. Train the model on sentences. Then train the default model on the single words, with the same data and steps.
2. Measure both on the test images: the answers that are right, a sentence only if all its words are, for each kind of
   question; and the fraction of pixels read.
3. Export the model that answers in words, with both vocabularies. The graph takes strings, decodes greedily and returns
   strings. Ask it the test questions, and compare. Write `answer_in_words.png` and `metrics.json`.

The data comes with packages (pip install 'tfpyramid[examples]'). The settings are those of visual_questions.py, which
were chosen on images held out from training, but with 12 passes over the images instead of 84 to save time. None was
chosen with the test images. `--split validation` measures on 400 images that it keeps from training. The example takes
four to five minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import running

START = time.perf_counter()

with running.imports("answer_in_words"):
    import numpy as np
    import tensorflow as tf
    from answer_in_words_figure import draw
    from answer_in_words_layers import Sentences, WordDecoder, encoder
    from visual_questions import COSTS, SIDES, fit, percentage
    from visual_questions_data import ANSWERS, KINDS, Questions, read

    from tfpyramid import models
    from tfpyramid.export import export_saved_model

keras = tf.keras  # Keras 3; Keras 2 with TensorFlow 2.15 or TF_USE_LEGACY_KERAS=1.
WORDS = 6  # The longest sentences have six words.
DRAWN = 4  # Images in the figure.
SETTINGS = {"passes": 12, "images": 32, "questions": 4, "rate": 2e-3, "held_out": 400}
QUICK = {"passes": 1, "images": 8, "questions": 4, "rate": 2e-3, "held_out": 60}


def sentence(question: str, answer: str) -> str:
    """Return the answer to a question as a sentence.

    Example:
        >>> sentence("is there not a teal shape?", "no")
        'no there is a teal shape'
        >>> sentence("what is the red shape?", "circle")
        'the red shape is a circle'
    """
    if answer in ("yes", "no"):
        negated = bool(re.search(r"\b(not|no)\b", question))
        thing = re.search(r"(\w+ shape|circle|rectangle|triangle)", question).group(1)
        return f"{answer} there is {'a' if (answer == 'yes') != negated else 'no'} {thing}"
    if "color" in question:
        thing = re.search(r"shape|circle|rectangle|triangle", question).group(0)
        return f"the {thing} is {answer}"
    color = re.search(r"what is the (\w+ )shape", question)
    return f"the {color.group(1) if color else ''}shape is a {answer}"


def in_words(questions: int, words: int, seed: int) -> keras.Model:
    """Return the model that answers in words, for the sizes of both vocabularies."""
    return models.pyramid_vlm(
        questions,
        words,
        input_shape=(SIDES[0], SIDES[0], 3),
        image_encoder=[encoder(SIDES[k], len(SIDES) - k) for k in range(len(SIDES))],
        decoder=WordDecoder(words, WORDS, name="words"),
        summaries=[None] * (len(SIDES) - 1) + [keras.layers.GlobalAveragePooling2D(name="mean")],
        seed=seed,
        name="in_words",
    )


def main() -> None:
    options = parse_options()
    settings = QUICK if options.quick else SETTINGS
    train = read("train", 200 if options.quick else None)
    if options.split == "validation":
        held_out = train.index >= train.index.max() + 1 - settings["held_out"]
        train, test = train[~held_out], train[held_out]
    else:
        test = read("test", 60 if options.quick else None)
    questions, words = keras.layers.TextVectorization(), keras.layers.TextVectorization(output_sequence_length=WORDS)
    questions.adapt(train.texts)
    words.adapt(sentences_of(train))
    options.output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(options.seed)

    model = in_words(questions.vocabulary_size(), len(words.get_vocabulary()), options.seed)
    of_words = models.pyramid_vlm(
        questions.vocabulary_size(), len(ANSWERS), input_shape=(SIDES[0], SIDES[0], 3), seed=options.seed
    )
    rows = {
        "in words": train_and_test(
            model, "in words", settings, questions, train, test, lambda given: words(sentences_of(given)).numpy()
        ),
        "one of 13 words": train_and_test(
            of_words, "one of 13 words", settings, questions, train, test, lambda given: given.answers
        ),
    }
    print_rows(rows)

    answers, levels = serve(model, questions, words, options.output / "saved_model", test)
    truths = sentences_of(test)
    export_accuracy = percentage(answers == truths)
    print(f"\nThe exported model, asked in strings: {export_accuracy} % of the sentences are right")
    drawn = shown(test)
    for k in drawn.T.flat:
        print(f"  {test.texts[k]:<42} {answers[k]:<34} read at {SIDES[levels[k]]} pixels")
    with running.written_aside(options.output / "answer_in_words.png") as path:
        draw([[panel(test, k, answers, truths, levels) for k in column] for column in drawn.T]).savefig(path)
    numbers = {"quick": options.quick, "split": options.split, "settings": settings}
    numbers.update(accuracy=rows, export_accuracy=export_accuracy)
    numbers["seconds"] = round(time.perf_counter() - START, 1)
    with running.written_aside(options.output / "metrics.json") as path:
        path.write_text(json.dumps(numbers, indent=2) + "\n")
    print(f"\nWritten to {options.output}: answer_in_words.png, metrics.json, saved_model/")
    print(f"{numbers['seconds']:.0f} seconds")


def parse_options() -> argparse.Namespace:
    quick = "run every step on a few images, which is too little to learn anything"
    parser = running.parser(__doc__, output="answer_in_words_output", quick=quick)
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="images to measure on")
    return parser.parse_args()


def train_and_test(
    model: keras.Model,
    title: str,
    settings: dict[str, Any],
    questions: Any,
    train: Questions,
    test: Questions,
    labels: Callable[[Questions], np.ndarray],
) -> dict[str, float]:
    """Train a model; return the percentages of right answers, the fraction of pixels, and the time of the training."""
    started = time.perf_counter()
    batches = labelled(train, labels(train)).training_batches(questions, settings["images"], settings["questions"])
    fit(model, batches, settings["passes"], settings["rate"], title)
    seconds = round(time.perf_counter() - started, 1)
    outputs = model.predict(test.batches(questions, 500), verbose=0)
    equal = outputs["answer"].argmax(axis=-1) == labels(test)
    right = equal.reshape(len(equal), -1).all(axis=1)
    kinds = {kind: percentage(right[test.kinds == kind]) for kind in KINDS}
    pixels = COSTS[outputs["level_weights"].argmax(axis=1)].mean()
    return {"all": percentage(right), **kinds, "pixels": round(float(pixels), 4), "training_seconds": seconds}


def sentences_of(questions: Questions) -> np.ndarray:
    return np.array([sentence(text, ANSWERS[k]) for text, k in zip(questions.texts, questions.answers)])


def labelled(questions: Questions, labels: np.ndarray) -> Questions:
    """Return the questions with other labels."""
    found = questions[np.arange(len(questions.texts))]
    found.answers = labels
    return found


def print_rows(rows: dict[str, dict[str, float]]) -> None:
    line = "{:<18}" + "{:>19}" * (2 + len(KINDS))
    print(line.format("right answers, %", "all", *KINDS, "fraction of pixels"))
    for name, row in rows.items():
        print(line.format(name, *(row[key] for key in ("all", *KINDS, "pixels"))))


def serve(model: keras.Model, questions: Any, words: Any, path: Path, test: Questions) -> tuple[np.ndarray, np.ndarray]:
    """Export the model and ask it all questions; return its sentences, and the levels that it read."""
    asked = models.with_text_input(model, questions)
    vocabulary = ["", *words.get_vocabulary()[1:]]
    texts = keras.Model(asked.input, Sentences(vocabulary, name="sentences")(asked(asked.input)))
    images = test.images / np.float32(255)
    few = {"image": tf.constant(images[test.index[:4]]), "question": tf.constant(test.texts[:4])}
    export_saved_model(texts, path, sample=few, overwrite=True)

    serving = tf.saved_model.load(str(path)).signatures["serving_default"]
    answers, levels = [], []
    for start in range(0, len(test.texts), 500):
        part = test[slice(start, start + 500)]
        found = serving(image=tf.constant(images[part.index]), question=tf.constant(part.texts))
        answers += [text.decode() for text in found["answer"].numpy()]
        levels += found["level"].numpy().tolist()
    return np.array(answers), np.array(levels)


def shown(test: Questions) -> np.ndarray:
    """Return questions [3, DRAWN] about images spread over the data: of a color, of a shape, and with "no" or "not"."""
    negated = np.array([bool(re.search(r"\b(not|no)\b", text)) for text in test.texts])
    rows = [test.kinds == KINDS[0], test.kinds == KINDS[1], negated]
    complete = [k for k in np.unique(test.index) if all(np.any(row[test.index == k]) for row in rows)]
    images = [complete[k] for k in np.linspace(0, len(complete) - 1, DRAWN).astype(int)]
    return np.array([[np.flatnonzero(row & (test.index == k))[0] for k in images] for row in rows])


def panel(test: Questions, k: int, answers: np.ndarray, truths: np.ndarray, levels: np.ndarray) -> dict[str, Any]:
    return {
        "image": test.images[test.index[k]] / np.float32(255),
        "question": test.texts[k],
        "answer": answers[k],
        "truth": truths[k],
        "side": SIDES[levels[k]],
    }


if __name__ == "__main__":
    running.run("answer_in_words", main)
