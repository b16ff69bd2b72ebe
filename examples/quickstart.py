"""Quickstart: fixed pyramids, a pyramid that learns, and a model that is served without this package.

    python examples/quickstart.py [--output DIR] [--quick]

1. Gaussian and Laplacian pyramids of two photographs, one of odd sides, and the photographs back from their bands.
2. A classifier around `LearnablePyramid`, `PyramidConv2D` and `UpsampleConcat`, trained to name the one object of a
   rendered image ("teal triangle") by what the questions and answers of easy-VQA say of it. The share it gets right is
   no benchmark: the settings were tried on the same test images.
3. The model saved and reloaded as `.keras`, and exported as a SavedModel.
4. Another Python, in which tfpyramid cannot be imported, that answers with the SavedModel and differentiates it.
5. A figure of all that, `quickstart.png`, drawn by quickstart_figure.py, and the numbers in `metrics.json`.

Everything comes with packages (`pip install 'tfpyramid[examples]'`); nothing is downloaded. It takes about a minute on
two cores, half of that with `--quick`, which trains on a handful of images and so learns nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import running

START = time.perf_counter()

with running.imports("quickstart"):
    import easy_vqa
    import numpy as np
    import tensorflow as tf
    from quickstart_figure import draw
    from skimage import data, io
    from tqdm import tqdm

    from tfpyramid import layers, ops
    from tfpyramid.export import export_saved_model

keras = tf.keras  # Keras 3; Keras 2 with TensorFlow 2.15, and where TF_USE_LEGACY_KERAS=1 asks for it.
SEED = 1
COLORS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
SHAPES = ("circle", "rectangle", "triangle")
CLASSES = [f"{color} {shape}" for color in COLORS for shape in SHAPES]


def main() -> None:
    options = parse_options()
    output = options.output
    output.mkdir(parents=True, exist_ok=True)
    report = Report()
    numbers: dict[str, Any] = {"quick": options.quick, "seed": SEED}
    keras.utils.set_random_seed(SEED)

    with report.step("Pyramids of two photographs", share=3) as row:
        photographs = {name: decompose(getattr(data, name)()) for name in ("astronaut", "retina")}
        numbers["reconstruction_error"] = {name: parts["error"] for name, parts in photographs.items()}
        row["result"] = ", ".join(f"{name} exact to {parts['error']:.1e}" for name, parts in photographs.items())

    with report.step("Read easy-VQA", share=6) as row:
        train = labelled_images("train", limit=64 if options.quick else None)
        test = labelled_images("test", limit=32 if options.quick else None)
        row["result"] = f"{len(train[0])} images to train on, {len(test[0])} to test on, {len(CLASSES)} classes"

    with report.step("Train the learnable pyramid", share=48) as row:
        model = build_model()
        before = first_kernel(model)
        fit(model, *train, epochs=1 if options.quick else 5, bar=report.bar, share=48)
        numbers["kernel_change"] = float(np.abs(first_kernel(model) - before).max())
        row["result"] = f"{model.count_params()} weights; first kernel moved by up to {numbers['kernel_change']:.2f}"

    with report.step("Test", share=2) as row:
        answers = model.predict(test[0], verbose=0)
        numbers["accuracy"] = float(np.mean(answers.argmax(axis=1) == test[1]))
        numbers["baseline"] = float(np.mean(test[1] == np.bincount(train[1]).argmax()))
        row["result"] = f"{numbers['accuracy']:.1%} right; always the commonest class: {numbers['baseline']:.1%}"

    with report.step("Save and reload model.keras", share=2) as row:
        with running.written_aside(output / "model.keras") as path:
            model.save(path)
        reloaded = keras.models.load_model(output / "model.keras").predict(test[0], verbose=0)
        numbers["reload_difference"] = float(np.abs(reloaded - answers).max())
        row["result"] = f"largest difference {numbers['reload_difference']:.1e}"
        if not numbers["reload_difference"] <= 1e-6:
            sys.exit(f"quickstart: the reloaded model answers differently. Received: {row['result']}")

    with report.step("Export a SavedModel", share=20) as row:
        export_saved_model(model, output / "saved_model", overwrite=True)
        row["result"] = "checked in a fresh interpreter"

    with report.step("Serve it without tfpyramid", share=16) as row:
        # With a little noise: on the flat background of a drawing many units are where their ReLU bends, to the last
        # digit, and the last digit would decide about the gradient.
        noise = np.random.default_rng(0).uniform(0, 0.02, test[0][:16].shape)
        differences = serve_elsewhere(model, output / "saved_model", (test[0][:16] + noise).astype(np.float32))
        numbers.update(differences)
        texts = (f"{name.replace('_', ' ')} {value:.1e}" for name, value in differences.items())
        row["result"] = ", ".join(texts)

    with report.step("Draw quickstart.png", share=3) as row:
        figure = draw(photographs, before, first_kernel(model), test, answers, CLASSES)
        with running.written_aside(output / "quickstart.png") as path:
            figure.savefig(path)
        row["result"] = f"{os.path.getsize(output / 'quickstart.png') / 1e6:.1f} MB"

    numbers["seconds"] = report.finish()
    with running.written_aside(output / "metrics.json") as path:
        path.write_text(json.dumps(numbers, indent=2) + "\n")
    print(f"\nIn {output}: quickstart.png, metrics.json, model.keras, saved_model/")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("quickstart_output"), help="folder to write to")
    parser.add_argument("--quick", action="store_true", help="every step, on too few images to learn anything")
    return parser.parse_args()


class Report:
    """One progress bar for all steps, and what each came to."""

    def __init__(self) -> None:
        versions = f"TensorFlow {tf.__version__}, Keras {sys.modules[keras.Model.__module__.split('.')[0]].__version__}"
        self.rows = [{"step": "Start", "result": versions, "seconds": time.perf_counter() - START}]
        layout = "{desc:<28} {percentage:3.0f}% |{bar:30}| {elapsed}{postfix}"
        self.bar = tqdm(total=100, leave=False, mininterval=0.5, bar_format=layout)

    @contextlib.contextmanager
    def step(self, name: str, share: float) -> Iterator[dict[str, Any]]:
        """Time a step that is worth `share` percent of the bar; the caller fills in the result."""
        row = {"step": name, "result": ""}
        end, started = self.bar.n + share, time.perf_counter()
        self.bar.set_description_str(name)
        try:
            yield row
        except BaseException:
            self.bar.close()  # Or what is printed next would share its line.
            raise
        self.rows.append({**row, "seconds": time.perf_counter() - started})
        self.bar.set_postfix_str("")
        self.bar.update(end - self.bar.n)

    def finish(self) -> dict[str, float]:
        """Print the table; return the seconds of each step and their total."""
        self.bar.close()
        rows = [*self.rows, {"step": "Total", "result": "", "seconds": time.perf_counter() - START}]
        widths = [max(len(row[key]) for row in rows) for key in ("step", "result")]
        line = f"{{:{widths[0]}}}  {{:{widths[1]}}}  {{:>7}}"
        print(line.format("step", "result", "seconds"))
        print(line.format("-" * widths[0], "-" * widths[1], "-" * 7))
        for row in rows:
            print(line.format(row["step"], row["result"], f"{row['seconds']:.1f}"))
        return {row["step"]: round(row["seconds"], 2) for row in rows}


def decompose(photograph: np.ndarray) -> dict[str, Any]:
    """Return the pyramids of an image of 8 bits, and the image again, from its Laplacian pyramid."""
    images = tf.constant(photograph[np.newaxis] / 255, tf.float32)
    bands = ops.laplacian_pyramid(images, num_levels=6)
    again = ops.reconstruct(bands)
    return {
        "gaussian": [level[0].numpy() for level in ops.gaussian_pyramid(images, num_levels=6)],
        "laplacian": [band[0].numpy() for band in bands],
        "reconstruction": again[0].numpy(),
        "error": float(tf.reduce_max(tf.abs(again - images))),
    }


def labelled_images(part: str, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return images [n, 64, 64, 3] and their classes: those whose colour and shape the questions both give away.

    A question that is not answered by yes or no states facts: "what color is the circle? teal", "what is the teal
    shape? circle". An image has one object, so the facts of all its questions are of that one.
    """
    paths = getattr(easy_vqa, f"get_{part}_image_paths")()
    facts: dict[int, set[str]] = {image: set() for image in paths}
    for question, answer, image in zip(*getattr(easy_vqa, f"get_{part}_questions")()):
        if answer not in ("yes", "no"):
            facts[image].update([*question.rstrip("?").split(), answer])
    labels = {}
    for image in sorted(paths):
        color, shape = facts[image].intersection(COLORS), facts[image].intersection(SHAPES)
        if color and shape:
            labels[image] = CLASSES.index(f"{color.pop()} {shape.pop()}")
    chosen = list(labels)[:limit]
    images = np.stack([io.imread(paths[image]) for image in chosen])
    return images.astype(np.float32) / 255, np.array([labels[image] for image in chosen])


def build_model() -> keras.Model:
    """Levels that are learned, features of each, and a small classifier on all of them side by side."""
    image = keras.Input((None, None, 3), name="image")
    levels = layers.LearnablePyramid(num_levels=3, downsample=layers.LearnableDownsample2D(), name="pyramid")(image)
    features = layers.PyramidConv2D(12, activation="relu")(levels)
    x = layers.UpsampleConcat(target_level=1)(features)
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    x = keras.layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(x)
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    x = keras.layers.Conv2D(32, 3, padding="same", activation="relu")(x)
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    x = keras.layers.GlobalMaxPooling2D()(x)
    return keras.Model(image, keras.layers.Dense(len(CLASSES), activation="softmax", name="label")(x))


def first_kernel(model: keras.Model) -> np.ndarray:
    """Return the kernel [rows, columns, channels, filters] between the two finest levels."""
    return model.get_layer("pyramid").downsamplers[0].kernel.numpy()


def fit(model: keras.Model, images: np.ndarray, labels: np.ndarray, epochs: int, bar: tqdm, share: float) -> None:
    def show(batch: int, logs: dict) -> None:
        epoch = f"{len(model.history.epoch) + 1}/{epochs}"
        bar.set_postfix_str(f"epoch {epoch}, loss {logs['loss']:.2f}, accuracy {logs['accuracy']:.0%}", refresh=False)
        bar.update(share / steps)

    steps = epochs * -(-len(images) // 32)
    rate = keras.optimizers.schedules.CosineDecay(5e-3, steps)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    progress = keras.callbacks.LambdaCallback(on_train_batch_end=show)
    model.fit(images, labels, batch_size=32, epochs=epochs, verbose=0, callbacks=[progress])


def differentiate(function: Callable, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the answers, and the gradient of the confidence in them with respect to the images."""
    with tf.GradientTape() as tape:
        tape.watch(image)
        label = function(image)
        confidence = tf.reduce_sum(tf.math.log(tf.reduce_max(label, axis=-1)))
    return label, tape.gradient(confidence, image)


def answer_elsewhere(saved_model: str, questions: str, answers: str) -> None:
    """What the other Python runs: the source of this function and of the one above, and nothing else of this file."""
    assert sys.modules["tfpyramid"] is None, "tfpyramid can be imported"
    served = tf.saved_model.load(saved_model)
    image = tf.constant(np.load(questions, allow_pickle=False))
    label, gradient = differentiate(lambda x: served.serve(x)["label"], image)
    signature = served.signatures["serving_default"](image=image)["label"]
    np.savez(answers, label=label, signature=signature, gradient=gradient)


def serve_elsewhere(model: keras.Model, saved_model: Path, images: np.ndarray) -> dict[str, float]:
    """Compare the model with its SavedModel in a Python that knows nothing of tfpyramid."""
    program = [
        "from __future__ import annotations",
        "import sys; sys.modules['tfpyramid'] = None  # From here on, importing it fails.",
        "import numpy as np, tensorflow as tf",
        *map(inspect.getsource, (differentiate, answer_elsewhere)),
        "answer_elsewhere(*sys.argv[1:])",
    ]
    with tempfile.TemporaryDirectory() as folder:
        questions, answers = Path(folder, "questions.npy"), Path(folder, "answers.npz")
        np.save(questions, images)
        command = [sys.executable, "-c", "\n".join(program), *map(str, (saved_model, questions, answers))]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            sys.exit(f"quickstart: the SavedModel does not answer elsewhere.\n{run.stderr}")
        with np.load(answers, allow_pickle=False) as archive:
            there = dict(archive)
    label, gradient = differentiate(lambda x: model(x, training=False), tf.constant(images))
    differences = {
        "answer_difference": float(max(np.abs(there[name] - label).max() for name in ("label", "signature"))),
        "gradient_difference": float(np.abs(there["gradient"] - gradient).max() / np.abs(gradient).max()),
    }
    if not max(differences.values()) < 1e-5:
        sys.exit(f"quickstart: the SavedModel answers differently elsewhere. Received: {differences}")
    return differences


if __name__ == "__main__":
    running.run("quickstart", main)
