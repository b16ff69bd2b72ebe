"""Visual questions: train a model that reads each image at the resolution that its question needs.

easy-VQA has questions about rendered images of 64 by 64 pixels, each with one object: which shape or color it has, and
whether it has a given shape or color. Colors are visible at 8 or 16 pixels, shapes not always. The model of
`tfpyramid.models.pyramid_vlm` has encoders for 64, 32, 16 and 8 pixels. It learns from the answers alone which
resolution each question needs.

1. Train with the objective "cascade": each question is asked at 8 pixels first, and goes on to finer levels until a
   confidence layer is sure of the answer.
2. On images held out from training, fit the confidences, and choose the thresholds: those with the highest accuracy
   among all that read at most PIXELS_ALLOWED.
3. For comparison, let the objectives "value", "softmax" and "gumbel" learn to choose one level of the same trained
   network by the question alone. Choose the `cost_weight` of "value" on the same held-out images.
4. Measure on the test images: the accuracy for each kind of question, at each fixed level, of the cascade and of the
   routers; the fraction of pixels read; the calibration error of the confidences; and accuracy against pixels.
5. Measure the time of 1,000 questions, for the models and their exports.
6. Export the model with its vocabulary, and ask it in plain strings. Draw `visual_questions.png` and `cost_curve.png`,
   and write `metrics.json`.

The data comes with packages (pip install 'tfpyramid[examples]'). Training takes three to four minutes for each seed, on
one core.
"""

from __future__ import annotations

import argparse
import json
import time
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
    from visual_questions_measure import calibration_error, every_level, print_summary, summary, times

    from tfpyramid import models, ops, visualize
    from tfpyramid.export import export_saved_model

keras = tf.keras  # Keras 3; Keras 2 with TensorFlow 2.15 or TF_USE_LEGACY_KERAS=1.
SIDES = (64, 32, 16, 8)
COSTS = ops.pixel_costs(len(SIDES))
PIXELS_ALLOWED = {"cascade": 0.04, "value": 1 / 9}  # Of the held-out images.
EPOCHS = 12  # The most epochs. Each has several passes over the images, because starting an epoch takes Keras time.
STEPS_SHOWN = 10  # Steps between two updates of the progress bar.
ROUTERS = ("value", "softmax", "gumbel")
# Training shows each image `passes` times with `questions` questions.
SETTINGS = {
    "passes": 72,
    "images": 32,
    "questions": 4,
    "rate": 2e-3,
    "other_passes": 4,
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
        stopped, finest = (run["accuracy"][name] for name in ("cascade", f"always {SIDES[0]} px"))
        print(
            f"seed {seed}: trained in {run['training_seconds']:.0f} s; accuracy {stopped['all']} % with "
            f"{stopped['pixels']:.3f} of the pixels, {finest['all']} % with all of them"
        )
    numbers: dict[str, Any] = {"quick": options.quick, "settings": settings, "runs": runs, "summary": summary(runs)}
    print()
    print_summary(numbers["summary"], runs, KINDS, SIDES)

    panels = serve(models.with_text_input(model, words), options.output / "saved_model", test)
    with running.written_aside(options.output / "visual_questions.png") as path:
        draw(runs[-1]["levels"], KINDS, SIDES, panels).savefig(path)
    with running.written_aside(options.output / "cost_curve.png") as path:
        curves = {name: (None, *curve) for name, curve in runs[-1]["curves"].items()}
        visualize.show_cost_curve(curves).savefig(path)
    numbers["seconds"] = round(time.perf_counter() - START, 1)
    with running.written_aside(options.output / "metrics.json") as path:
        path.write_text(json.dumps(numbers, indent=2) + "\n")
    print(f"\nWritten to {options.output}: visual_questions.png, cost_curve.png, metrics.json, saved_model/")
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
    model = build(words, "cascade", seed)
    fit(model, batches, settings["passes"], settings["rate"], f"seed {seed}, cascade")
    run: dict[str, Any] = {"seed": seed, "training_seconds": round(time.perf_counter() - started, 1)}
    routers = {}
    for objective in ROUTERS:
        routers[objective] = router_of(model, words, objective, seed)
        fit(routers[objective], batches, settings["other_passes"], settings["rate"], f"seed {seed}, {objective}")
    run |= tested(model, routers, words, held_out, test)
    run["milliseconds"] = times(model, routers["value"], test, words, settings["timed"])
    return model, run


def tested(
    model: keras.Model, routers: dict[str, keras.Model], words: Any, held_out: Questions, test: Questions
) -> dict[str, Any]:
    """Set the thresholds on the held-out questions, and return what is measured on the test questions."""
    chosen_on, questions = held_out.batches(words, 500), test.batches(words, 500)
    models.calibrate_confidence(model, chosen_on)
    router = routers["value"]
    set_threshold(model.cascade.threshold, model, chosen_on, PIXELS_ALLOWED["cascade"])
    set_threshold(router.selector.cost_weight, router, chosen_on, PIXELS_ALLOWED["value"])

    every = every_level(model, questions)
    right = every["answers"].argmax(axis=2) == test.answers[:, None]
    rows = {f"always {side} px": (right[:, k], COSTS[k]) for k, side in enumerate(SIDES)}
    read = {"cascade": np.cumsum(COSTS[::-1])[::-1]}  # A question has read the coarser levels too.
    chosen = {}
    for name, each in {"cascade": model, **{f"routed, {name}": router for name, router in routers.items()}}.items():
        outputs = each.predict(questions, verbose=0)
        chosen[name] = outputs["level_weights"].argmax(axis=1)
        rows[name] = (outputs["answer"].argmax(axis=1) == test.answers, read.get(name, COSTS)[chosen[name]].mean())
    levels = {kind: np.bincount(chosen["cascade"][test.kinds == kind], minlength=len(SIDES)) for kind in KINDS}
    errors = [calibration_error(every["probabilities"][:, k - 1], right[:, k]) for k in range(1, len(SIDES))]
    curves = {name: models.cost_curve(each, questions)[1:] for name, each in (("cascade", model), ("router", router))}
    curves |= {name: ([rows[name][0].mean()], [rows[name][1]]) for name in rows if name.startswith("always")}
    return {
        "thresholds": model.cascade.threshold.numpy().round(5).tolist(),
        "cost_weight": float(router.selector.cost_weight.numpy()),
        "levels": {kind: counts.tolist() for kind, counts in levels.items()},
        "calibration error": {f"{side} px": round(error, 4) for side, error in zip(SIDES[1:], errors)},
        "curves": {name: [list(map(float, values)) for values in curve] for name, curve in curves.items()},
        "accuracy": {
            name: {
                "all": percentage(correct),
                **{kind: percentage(correct[test.kinds == kind]) for kind in KINDS},
                "pixels": round(float(pixels), 4),
            }
            for name, (correct, pixels) in rows.items()
        },
    }


def build(words: Any, objective: str, seed: int, **options: Any) -> keras.Model:
    shape = (SIDES[0], SIDES[0], 3)
    options = {"downsample": keras.layers.AveragePooling2D(2), "objective": objective, "seed": seed, **options}
    return models.pyramid_vlm(words.vocabulary_size(), len(ANSWERS), input_shape=shape, **options)


def router_of(model: keras.Model, words: Any, objective: str, seed: int) -> keras.Model:
    """Return a model that chooses levels by the question, with the trained parts of a cascade, which do not change."""
    encoders = [keras.models.clone_model(encoder) for encoder in model.cascade.encoders]
    router = build(words, objective, seed, image_encoder=encoders)
    parts = [(router.question_encoder, model.question_encoder), (router.decoder, model.decoder)]
    for part, trained in [*parts, *zip(encoders, model.cascade.encoders)]:
        part.set_weights(trained.get_weights())
        part.trainable = False
    return router


def set_threshold(weight: Any, model: keras.Model, batches: tf.data.Dataset, pixels: float) -> None:
    """Set a weight of a model to the value with the highest accuracy among those that read at most so many pixels."""
    curve = models.cost_curve(model, batches)
    weight.assign(curve.thresholds[curve.within(max(pixels, curve.pixels[0]))])


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


def percentage(correct: np.ndarray) -> float:
    return round(100 * float(np.mean(correct)), 2)


if __name__ == "__main__":
    running.run("visual_questions", main)
