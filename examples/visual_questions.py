"""Visual questions: train a model that reads each image at the resolution that the question needs.

easy-VQA has questions about rendered images of 64 by 64 pixels, each with one object: which shape or color it has, and
whether it has a given shape or color. Colors are visible at 8 or 16 pixels, shapes not always. The model of
`tfpyramid.models.pyramid_vlm` has encoders for 64, 32, 16 and 8 pixels. It learns from the answers alone which
resolution each question needs.

1. Train with the objective "value". Then continue for a short time with the objectives "softmax" and "gumbel".
2. Choose `cost_weight` on images held out from training: the weight with the highest accuracy among those that read at
   most a ninth of the pixels.
3. Measure on the test images: the accuracy for each kind of question, at each fixed level, with all levels weighted,
   and with the routed level; the fraction of pixels read; and the level of each kind of question.
4. Measure the time of 1,000 questions, routed and at the finest level, for the model and its export.
5. Export the model with its vocabulary, and ask it in plain strings. Draw `visual_questions.png`, and write
   `metrics.json`.

The data comes with packages (pip install 'tfpyramid[examples]'). On two idle cores, training takes about four minutes
for each seed, or three with TF_NUM_INTRAOP_THREADS=1 in the environment.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import running

START = time.perf_counter()

with running.imports("visual_questions"):
    import numpy as np
    import tensorflow as tf
    from tqdm import tqdm
    from visual_questions_data import ANSWERS, KINDS, Questions, read
    from visual_questions_figure import draw

    from tfpyramid import models, ops
    from tfpyramid.export import export_saved_model

keras = tf.keras  # Keras 3; Keras 2 with TensorFlow 2.15 or TF_USE_LEGACY_KERAS=1.
SIDES = (64, 32, 16, 8)
COSTS = ops.pixel_costs(len(SIDES))
COST_WEIGHTS = (0.0, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2)
PIXELS_ALLOWED = 1 / 9
REPEATS = 15  # Repetitions of a timed batch.
EPOCHS = 12  # The most epochs. Each has several passes over the images, because starting an epoch takes Keras time.
STEPS_SHOWN = 10  # Steps between two updates of the progress bar.
OTHERS = ("softmax", "gumbel")
# Training shows each image `passes` times: with `questions` questions for "value", with one for other objectives.
SETTINGS = {
    "passes": 84,
    "images": 32,
    "questions": 4,
    "rate": 2e-3,
    "other_passes": 10,
    "held_out": 400,
    "timed": 1000,
}
QUICK = {"passes": 1, "images": 8, "questions": 4, "rate": 2e-3, "other_passes": 1, "held_out": 8, "timed": 20}


def main() -> None:
    options = parse_options()
    settings = QUICK if options.quick else SETTINGS
    train, test = read("train", 200 if options.quick else None), read("test", 60 if options.quick else None)
    held_out = train.index >= train.index.max() + 1 - settings["held_out"]
    train, held_out = train[~held_out], train[held_out]
    words = keras.layers.TextVectorization()
    words.adapt(train.texts)
    options.output.mkdir(parents=True, exist_ok=True)
    runs = []
    for seed in range(options.seed, options.seed + options.seeds):
        model, run = train_and_test(seed, settings, words, train, held_out, test)
        runs.append(run)
        routed, finest = (run["accuracy"][name] for name in ("routed, value", f"always {SIDES[0]} px"))
        print(
            f"seed {seed}: trained in {run['training_seconds']:.0f} s; accuracy {routed['all']} % with "
            f"{routed['pixels']:.3f} of the pixels, {finest['all']} % with all of them"
        )
    numbers: dict[str, Any] = {"quick": options.quick, "settings": settings, "runs": runs, "summary": summary(runs)}
    print()
    print_summary(numbers["summary"], runs)

    panels = serve(models.with_text_input(model, words), options.output / "saved_model", test)
    with running.written_aside(options.output / "visual_questions.png") as path:
        draw(runs[-1]["levels"], KINDS, SIDES, panels).savefig(path)
    numbers["seconds"] = round(time.perf_counter() - START, 1)
    with running.written_aside(options.output / "metrics.json") as path:
        path.write_text(json.dumps(numbers, indent=2) + "\n")
    print(f"\nWritten to {options.output}: visual_questions.png, metrics.json, saved_model/")
    print(f"{numbers['seconds']:.0f} seconds")


def parse_options() -> argparse.Namespace:
    quick = "run every step on a few images, which is too little to learn anything"
    parser = running.parser(__doc__, output="visual_questions_output", quick=quick)
    help = "number of models to train, with the seeds from --seed on (default: %(default)s)"
    parser.add_argument("--seeds", type=int, default=1, help=help)
    return parser.parse_args()


def serve(model: keras.Model, path: Path, test: Questions) -> list[dict[str, Any]]:
    """Export the model, ask the export in strings, print some answers and return twelve with their images."""
    sample = test[np.linspace(0, len(test.texts) - 1, 12).astype(int)]
    images = tf.constant(sample.images[sample.index] / np.float32(255))
    inputs = {"image": images, "question": tf.constant(sample.texts)}
    export_saved_model(model, path, sample=inputs, overwrite=True)
    served = tf.saved_model.load(str(path)).signatures["serving_default"](**inputs)
    answers, levels = (np.argmax(served[name], axis=1) for name in ("answer", "level_weights"))
    print("\nThe exported model, asked in strings:")
    for text, answer, level in list(zip(sample.texts, answers, levels))[:6]:
        print(f"  {text:<42} {ANSWERS[answer]:<10} read at {SIDES[level]} pixels")
    columns = zip(images.numpy(), sample.texts, answers, sample.answers, levels)
    return [
        {"image": image, "question": text, "answer": ANSWERS[answer], "truth": ANSWERS[truth], "side": SIDES[level]}
        for image, text, answer, truth, level in columns
    ]


def train_and_test(
    seed: int, settings: dict[str, Any], words: Any, train: Questions, held_out: Questions, test: Questions
) -> tuple[keras.Model, dict[str, Any]]:
    keras.utils.set_random_seed(seed)
    batches = train.training_batches(words, settings["images"], settings["questions"])
    started = time.perf_counter()
    model = build(words, "value", seed)
    fit(model, batches, settings["passes"], settings["rate"], f"seed {seed}, value")
    run: dict[str, Any] = {"seed": seed, "training_seconds": round(time.perf_counter() - started, 1)}

    choose_cost_weight(model, levels_of(model, held_out.batches(words, 500)), held_out)
    run["cost_weight"] = float(model.selector.cost_weight.numpy())
    every = levels_of(model, test.batches(words, 500))
    outputs = model.predict(test.batches(words, 500), verbose=0)
    chosen = outputs["level_weights"].argmax(axis=1)
    right = every["answers"].argmax(axis=2) == test.answers[:, None]
    soft = np.einsum("bk,bka->ba", every["right"], every["answers"]).argmax(axis=1) == test.answers
    rows = {
        **{f"always {side} px": (right[:, k], COSTS[k]) for k, side in enumerate(SIDES)},
        "all levels, weighed": (soft, COSTS.sum()),
        "routed, value": (outputs["answer"].argmax(axis=1) == test.answers, COSTS[chosen].mean()),
    }
    run["levels"] = {kind: np.bincount(chosen[test.kinds == kind], minlength=len(SIDES)).tolist() for kind in KINDS}
    batches = train.training_batches(words, settings["images"] * 2, 1)
    for objective in OTHERS:
        other = build(words, objective, seed)
        start_from(other, model)
        fit(other, batches, settings["other_passes"], settings["rate"] / 10, f"seed {seed}, {objective}")
        outputs = other.predict(test.batches(words, 500), verbose=0)
        pixels = COSTS[outputs["level_weights"].argmax(axis=1)].mean()
        rows[f"routed, {objective}"] = (outputs["answer"].argmax(axis=1) == test.answers, pixels)
    run["accuracy"] = {
        name: {
            "all": percentage(correct),
            **{kind: percentage(correct[test.kinds == kind]) for kind in KINDS},
            "pixels": round(float(pixels), 4),
        }
        for name, (correct, pixels) in rows.items()
    }
    run["milliseconds"] = times(model, test, words, settings["timed"])
    return model, run


def build(words: Any, objective: str, seed: int) -> keras.Model:
    return models.pyramid_vlm(
        words.vocabulary_size(), len(ANSWERS), input_shape=(SIDES[0], SIDES[0], 3), objective=objective, seed=seed
    )


def start_from(other: keras.Model, model: keras.Model) -> None:
    """Copy all weights except those of the selector."""
    for name in ("router", "question_encoder", "decoder"):
        getattr(other, name).set_weights(getattr(model, name).get_weights())


def fit(model: keras.Model, batches: tf.data.Dataset, passes: int, rate: float, title: str) -> None:
    epochs = min(passes, EPOCHS)
    batches = batches.repeat(passes // epochs)
    steps = epochs * len(batches)
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    model.compile(
        keras.optimizers.Adam(schedule),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=min(STEPS_SHOWN, len(batches)),
    )
    layout = "{desc} {percentage:3.0f}% |{bar:30}| {elapsed}{postfix}"
    with tqdm(total=steps, desc=title, leave=False, mininterval=0.5, bar_format=layout) as bar:

        def show(batch: int, logs: dict[str, float]) -> None:
            values = (f"{name.rpartition('_')[2]} {value:.3f}" for name, value in logs.items())
            bar.set_postfix_str(", ".join(values), refresh=False)
            bar.update(min(STEPS_SHOWN, bar.total - bar.n))

        model.fit(
            batches,
            epochs=epochs,
            shuffle=False,
            verbose=0,
            callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=show)],
        )


def levels_of(model: keras.Model, batches: tf.data.Dataset) -> dict[str, np.ndarray]:
    """Return the answers from all levels [n, levels, answers], and P(right) of all levels [n, levels]."""

    @tf.function(reduce_retracing=True)
    def ask(inputs: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        question = model.question_encoder(inputs["question"])
        answers = [model.decoder([features, question]) for features in model.router.encode_all(inputs["image"])]
        return tf.stack(answers, axis=1), tf.sigmoid(model.selector.level_logits(question))

    answers, right = zip(*(ask(inputs) for inputs, _ in batches))
    return {"answers": np.concatenate(answers), "right": np.concatenate(right)}


def choice(right: np.ndarray, cost_weight: float) -> np.ndarray:
    """Return the level that the selector chooses for each question."""
    return np.argmax(right - cost_weight * COSTS, axis=1)


def choose_cost_weight(model: keras.Model, every: dict[str, np.ndarray], held_out: Questions) -> None:
    """Set `cost_weight` to the value with the highest accuracy among those that read at most PIXELS_ALLOWED."""
    right = every["answers"].argmax(axis=2) == held_out.answers[:, None]
    levels = {weight: choice(every["right"], weight) for weight in COST_WEIGHTS}
    allowed = [weight for weight in COST_WEIGHTS if COSTS[levels[weight]].mean() <= PIXELS_ALLOWED]
    accuracy = {weight: right[range(len(right)), levels[weight]].mean() for weight in allowed or COST_WEIGHTS[-1:]}
    model.selector.cost_weight.assign(max(accuracy, key=lambda weight: accuracy[weight]))


def times(model: keras.Model, questions: Questions, words: Any, count: int) -> dict[str, float]:
    """Return the median milliseconds of one batch, for the model and its export, routed and at the finest level."""
    finest = keras.Model(
        model.input,
        model.decoder(
            [model.router.encoders[0](model.input["image"]), model.question_encoder(model.input["question"])]
        ),
    )
    inputs, _ = next(iter(questions[:count].batches(words, count)))
    contenders: dict[str, Callable] = {}
    loaded = []  # The endpoint `serve` does not keep the variables of its model alive.
    with tempfile.TemporaryDirectory() as folder:
        for name, each in (("routed", model), ("finest", finest)):
            contenders[name] = tf.function(each)
            each.export(os.path.join(folder, name), **({"verbose": False} if keras.__version__ >= "3" else {}))
            loaded.append(tf.saved_model.load(os.path.join(folder, name)))
            contenders[f"{name}, exported"] = loaded[-1].serve
        taken: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(REPEATS + 2):  # The first two warm up.
            for name, ask in contenders.items():
                started = time.perf_counter()
                tf.nest.flatten(ask(inputs))[0].numpy()
                taken[name].append(1000 * (time.perf_counter() - started))
    return {name: round(statistics.median(values[2:]), 2) for name, values in taken.items()}


def percentage(correct: np.ndarray) -> float:
    return round(100 * float(np.mean(correct)), 2)


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean and the standard deviation over the seeds."""

    def over(values: list[float]) -> list[float]:
        return [round(statistics.mean(values), 4), round(statistics.stdev(values) if len(values) > 1 else 0.0, 4)]

    rows = runs[0]["accuracy"]
    speed = {
        where: [run["milliseconds"][f"finest{where}"] / run["milliseconds"][f"routed{where}"] for run in runs]
        for where in ("", ", exported")
    }
    return {
        "accuracy": {
            row: {key: over([run["accuracy"][row][key] for run in runs]) for key in rows[row]} for row in rows
        },
        "times as fast": over(speed[""]),
        "times as fast, exported": over(speed[", exported"]),
    }


def print_summary(numbers: dict[str, Any], runs: list[dict[str, Any]]) -> None:
    line = "{:<22}" + "{:>20}" * (2 + len(KINDS))
    print(line.format("accuracy, %", "all", *KINDS, "fraction of pixels"))
    for name, row in numbers["accuracy"].items():
        cells = (f"{mean:.3f} ± {spread:.3f}" for mean, spread in row.values())
        print(line.format(name, *cells))
    line = "{:<22}" + "{:>20}" * len(SIDES)
    print("\n" + line.format("level, % of questions", *(f"{side} pixels" for side in SIDES)))
    for kind in KINDS:
        counts = np.sum([run["levels"][kind] for run in runs], axis=0)
        print(line.format(kind, *(f"{100 * count / max(counts.sum(), 1):.1f}" for count in counts)))
    times = " ± ".join(f"{value:.1f}" for value in numbers["times as fast"])
    exported = " ± ".join(f"{value:.1f}" for value in numbers["times as fast, exported"])
    print(f"\nRouted is {times} times as fast as the finest level; exported, {exported} times")


if __name__ == "__main__":
    running.run("visual_questions", main)
