"""Quickstart: compute fixed pyramids, train a learnable one, and serve the model without tfpyramid.

1. Compute the Gaussian and Laplacian pyramids of two photographs, and reconstruct the photographs from their bands.
   One photograph has odd sides.
2. Train a classifier with `LearnablePyramid`, `PyramidConv2D` and `UpsampleConcat`. It names the color and shape of the
   object in a rendered image of easy-VQA ("teal triangle").
3. Save the model as `.keras`, load it again, and export it as a SavedModel.
4. Run the SavedModel in a new Python process that cannot import tfpyramid, and compute its gradient there.
5. Draw `quickstart.png`, and write all numbers to `metrics.json`.

Caveat: the settings were chosen with the test images, so the accuracy is not a benchmark result.

The data comes with packages (pip install 'tfpyramid[examples]'); nothing is downloaded. The example takes about a
minute on two cores, and half a minute with --quick.
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

keras = tf.keras  # Keras 3; Keras 2 with TensorFlow 2.15 or TF_USE_LEGACY_KERAS=1.
COLORS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
SHAPES = ("circle", "rectangle", "triangle")
CLASSES = [f"{color} {shape}" for color in COLORS for shape in SHAPES]


def main() -> None:
    options = parse_options()
    output = options.output
    output.mkdir(parents=True, exist_ok=True)
    report = Report()
    numbers: dict[str, Any] = {"quick": options.quick, "seed": options.seed}
    keras.utils.set_random_seed(options.seed)

    with report.step("Pyramids of two photographs", percent=3) as row:
        photographs = {name: decompose(getattr(data, name)()) for name in ("astronaut", "retina")}
        numbers["reconstruction_error"] = {name: parts["error"] for name, parts in photographs.items()}
        row["result"] = ", ".join(f"{name} exact to {parts['error']:.1e}" for name, parts in photographs.items())

    with report.step("Read easy-VQA", percent=6) as row:
        train = labelled_images("train", limit=64 if options.quick else None)
        test = labelled_images("test", limit=32 if options.quick else None)
        row["result"] = f"{len(train[0])} training images, {len(test[0])} test images, {len(CLASSES)} classes"

    with report.step("Train the learnable pyramid", percent=48) as row:
        model = build_model()
        before = first_kernel(model)
        fit(model, *train, epochs=1 if options.quick else 5, bar=report.bar, percent=48)
        numbers["kernel_change"] = float(np.abs(first_kernel(model) - before).max())
        row["result"] = f"{model.count_params()} weights; first kernel changed by up to {numbers['kernel_change']:.2f}"

    with report.step("Test", percent=2) as row:
        answers = model.predict(test[0], verbose=0)
        numbers["accuracy"] = float(np.mean(answers.argmax(axis=1) == test[1]))
        numbers["baseline"] = float(np.mean(test[1] == np.bincount(train[1]).argmax()))
        row["result"] = f"accuracy {numbers['accuracy']:.1%}; most common class alone: {numbers['baseline']:.1%}"

    with report.step("Save and reload model.keras", percent=2) as row:
        with running.written_aside(output / "model.keras") as path:
            model.save(path)
        reloaded = keras.models.load_model(output / "model.keras").predict(test[0], verbose=0)
        numbers["reload_difference"] = float(np.abs(reloaded - answers).max())
        row["result"] = f"largest difference {numbers['reload_difference']:.1e}"
        if not numbers["reload_difference"] <= 1e-6:
            sys.exit(f"quickstart: the loaded model predicts differently. Received: {row['result']}")

    with report.step("Export a SavedModel", percent=20) as row:
        export_saved_model(model, output / "saved_model", overwrite=True)
        with running.written_aside(output / "classes.txt") as path:
            path.write_text("".join(f"{name}\n" for name in CLASSES))
        row["result"] = "verified without this package"

    with report.step("Serve it without tfpyramid", percent=16) as row:
        # On a flat background many ReLU inputs are 0 up to rounding, where rounding decides about the gradient. A
        # little noise avoids this.
        noise = np.random.default_rng(0).uniform(0, 0.02, test[0][:16].shape)
        differences = compare_in_new_process(model, output / "saved_model", (test[0][:16] + noise).astype(np.float32))
        numbers.update(differences)
        texts = (f"{name.replace('_', ' ')} {value:.1e}" for name, value in differences.items())
        row["result"] = ", ".join(texts)

    with report.step("Draw quickstart.png", percent=3) as row:
        figure = draw(photographs, before, first_kernel(model), test, answers, CLASSES)
        with running.written_aside(output / "quickstart.png") as path:
            figure.savefig(path)
        row["result"] = f"{os.path.getsize(output / 'quickstart.png') / 1e6:.1f} MB"

    numbers["seconds"] = report.finish()
    with running.written_aside(output / "metrics.json") as path:
        path.write_text(json.dumps(numbers, indent=2) + "\n")
    print(f"\nWritten to {output}: quickstart.png, metrics.json, model.keras, saved_model/, classes.txt")


def parse_options() -> argparse.Namespace:
    quick = "run every step on a few images, which is too little to learn anything"
    return running.parser(__doc__, output="quickstart_output", seed=1, quick=quick).parse_args()


class Report:
    """One progress bar for all steps, and a table of their results."""

    def __init__(self) -> None:
        versions = f"TensorFlow {tf.__version__}, Keras {sys.modules[keras.Model.__module__.split('.')[0]].__version__}"
        self.rows = [{"step": "Start", "result": versions, "seconds": time.perf_counter() - START}]
        layout = "{desc:<28} {percentage:3.0f}% |{bar:30}| {elapsed}{postfix}"
        self.bar = tqdm(total=100, leave=False, mininterval=0.5, bar_format=layout)

    @contextlib.contextmanager
    def step(self, name: str, percent: float) -> Iterator[dict[str, Any]]:
        """Time a step that fills `percent` percent of the bar; the caller sets the result."""
        row = {"step": name, "result": ""}
        end, started = self.bar.n + percent, time.perf_counter()
        self.bar.set_description_str(name)
        try:
            yield row
        except BaseException:
            self.bar.close()  # Otherwise the error message would start on the line of the bar.
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
    """Return the pyramids of an 8-bit image, and its reconstruction from the Laplacian pyramid."""
    images = tf.constant(photograph[np.newaxis] / 255, tf.float32)
    bands = ops.laplacian_pyramid(images, num_levels=6)
    reconstruction = ops.reconstruct(bands)
    return {
        "gaussian": [level[0].numpy() for level in ops.gaussian_pyramid(images, num_levels=6)],
        "laplacian": [band[0].numpy() for band in bands],
        "reconstruction": reconstruction[0].numpy(),
        "error": float(tf.reduce_max(tf.abs(reconstruction - images))),
    }


def labelled_images(part: str, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return images [n, 64, 64, 3] and their classes, for all images whose questions mention the color and the shape.

    easy-VQA has no labels, but each image has one object. A question with another answer than yes or no states facts
    about it: "what color is the circle? teal", "what is the teal shape? circle".
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
    """Return a model with a learned pyramid, features of each level, and a small classifier of all features."""
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


def fit(model: keras.Model, images: np.ndarray, labels: np.ndarray, epochs: int, bar: tqdm, percent: float) -> None:
    def show(batch: int, logs: dict) -> None:
        epoch = f"{len(model.history.epoch) + 1}/{epochs}"
        bar.set_postfix_str(f"epoch {epoch}, loss {logs['loss']:.2f}, accuracy {logs['accuracy']:.0%}", refresh=False)
        bar.update(percent / steps)

    steps = epochs * -(-len(images) // 32)
    rate = keras.optimizers.schedules.CosineDecay(5e-3, steps)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    progress = keras.callbacks.LambdaCallback(on_train_batch_end=show)
    model.fit(images, labels, batch_size=32, epochs=epochs, verbose=0, callbacks=[progress])


def differentiate(function: Callable, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the predictions, and the gradient of the log probability of the predicted class for the images."""
    with tf.GradientTape() as tape:
        tape.watch(image)
        label = function(image)
        confidence = tf.reduce_sum(tf.math.log(tf.reduce_max(label, axis=-1)))
    return label, tape.gradient(confidence, image)


def predict_without_tfpyramid(saved_model: str, inputs: str, outputs: str) -> None:
    """Run the SavedModel; the new process gets only the source of this function and of `differentiate`."""
    assert sys.modules["tfpyramid"] is None, "tfpyramid can be imported"
    served = tf.saved_model.load(saved_model)
    image = tf.constant(np.load(inputs, allow_pickle=False))
    label, gradient = differentiate(lambda x: served.serve(x)["label"], image)
    signature = served.signatures["serving_default"](image=image)["label"]
    np.savez(outputs, label=label, signature=signature, gradient=gradient)


def compare_in_new_process(model: keras.Model, saved_model: Path, images: np.ndarray) -> dict[str, float]:
    """Compare the model with its SavedModel in a Python process that cannot import tfpyramid."""
    program = [
        "from __future__ import annotations",
        "import sys; sys.modules['tfpyramid'] = None  # Makes an import of tfpyramid fail.",
        "import numpy as np, tensorflow as tf",
        *map(inspect.getsource, (differentiate, predict_without_tfpyramid)),
        "predict_without_tfpyramid(*sys.argv[1:])",
    ]
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder, "inputs.npy"), Path(folder, "outputs.npz")
        np.save(inputs, images)
        command = [sys.executable, "-c", "\n".join(program), *map(str, (saved_model, inputs, outputs))]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            sys.exit(f"quickstart: the SavedModel fails in a new process.\n{run.stderr}")
        with np.load(outputs, allow_pickle=False) as archive:
            served = dict(archive)
    label, gradient = differentiate(lambda x: model(x, training=False), tf.constant(images))
    differences = {
        "answer_difference": float(max(np.abs(served[name] - label).max() for name in ("label", "signature"))),
        "gradient_difference": float(np.abs(served["gradient"] - gradient).max() / np.abs(gradient).max()),
    }
    if not max(differences.values()) < 1e-5:
        sys.exit(f"quickstart: the SavedModel predicts differently in a new process. Received: {differences}")
    return differences


if __name__ == "__main__":
    running.run("quickstart", main)
