"""Quickstart: fixed pyramids, a pyramid that learns, and a model that is served without this package.

    python examples/quickstart.py [--output DIR] [--quick]

1. Gaussian and Laplacian pyramids of two photographs, one of odd sides, and the photographs back from their bands.
2. A classifier around `LearnablePyramid`, `PyramidConv2D` and `UpsampleConcat`, trained to name the one object of a
   rendered image ("teal triangle") by what the questions and answers of easy-VQA say of it.
3. The model saved and reloaded as `.keras`, and exported as a SavedModel.
4. Another Python, in which tfpyramid cannot be imported, that answers with the SavedModel and differentiates it.
5. A figure of all that, `quickstart.png`, and the numbers in `metrics.json`.

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

START = time.perf_counter()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

try:
    import easy_vqa
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from skimage import data, io
    from tqdm import tqdm
except ImportError as error:
    sys.exit(f"quickstart: {error}. What the examples need is installed by: pip install 'tfpyramid[examples]'")


@contextlib.contextmanager
def without_stderr() -> Iterator[None]:
    """TensorFlow logs while it is imported, whatever its log level: only the descriptor itself can be turned off."""
    stderr = os.dup(2)
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


with without_stderr():
    import keras
    import tensorflow as tf

    from tfpyramid import layers, ops
    from tfpyramid.export import export_saved_model

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
        with written_aside(output / "model.keras") as path:
            model.save(path)
        reloaded = keras.models.load_model(output / "model.keras").predict(test[0], verbose=0)
        numbers["reload_difference"] = float(np.abs(reloaded - answers).max())
        row["result"] = f"largest difference {numbers['reload_difference']:.1e}"

    with report.step("Export a SavedModel", share=20) as row:
        export_saved_model(model, output / "saved_model", overwrite=True)
        row["result"] = "checked in a fresh interpreter"

    with report.step("Serve it without tfpyramid", share=16) as row:
        differences = serve_elsewhere(model, output / "saved_model", test[0][:16])
        numbers.update(differences)
        texts = (f"{name.replace('_', ' ')} {value:.1e}" for name, value in differences.items())
        row["result"] = ", ".join(texts)

    with report.step("Draw quickstart.png", share=3) as row:
        figure = draw(photographs, before, first_kernel(model), test, answers)
        with written_aside(output / "quickstart.png") as path:
            figure.savefig(path)
        row["result"] = f"{os.path.getsize(output / 'quickstart.png') / 1e6:.1f} MB"

    numbers["seconds"] = report.finish()
    with written_aside(output / "metrics.json") as path:
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
        versions = f"TensorFlow {tf.__version__}, Keras {keras.__version__}"
        self.rows = [{"step": "Start", "result": versions, "seconds": time.perf_counter() - START}]
        layout = "{desc:<28} {percentage:3.0f}% |{bar:30}| {elapsed}{postfix}"
        self.bar = tqdm(total=100, leave=False, mininterval=0.5, bar_format=layout)

    @contextlib.contextmanager
    def step(self, name: str, share: float) -> Iterator[dict[str, Any]]:
        """Time a step that is worth `share` percent of the bar; the caller fills in the result."""
        row = {"step": name, "result": ""}
        end, started = self.bar.n + share, time.perf_counter()
        self.bar.set_description_str(name)
        yield row
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


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a name in the same folder to write to, and rename what is there once it is whole."""
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


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
    return keras.ops.convert_to_numpy(model.get_layer("pyramid").downsamplers[0].kernel)


def fit(model: keras.Model, images: np.ndarray, labels: np.ndarray, epochs: int, bar: tqdm, share: float) -> None:
    class Progress(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
            self.epoch = epoch + 1

        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
            text = f"epoch {self.epoch}/{epochs}, loss {logs['loss']:.2f}, accuracy {logs['accuracy']:.0%}"
            bar.set_postfix_str(text, refresh=False)
            bar.update(share / steps)

    steps = epochs * -(-len(images) // 32)
    rate = keras.optimizers.schedules.CosineDecay(5e-3, steps)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(images, labels, batch_size=32, epochs=epochs, verbose=0, callbacks=[Progress()])


def differentiate(function: Callable, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the answers, and the gradient of the confidence in them with respect to the images."""
    with tf.GradientTape() as tape:
        tape.watch(image)
        label = function(image)
        confidence = tf.reduce_sum(tf.math.log(tf.reduce_max(label, axis=-1)))
    return label, tape.gradient(confidence, image)


def answer_elsewhere(saved_model: str, questions: str, answers: str) -> None:
    """What the other Python runs: the source of this function and of the one above, and nothing else of this file."""
    try:
        import tfpyramid  # noqa: F401
    except ImportError:
        served = tf.saved_model.load(saved_model)
    else:
        raise AssertionError("tfpyramid can be imported")
    with np.load(questions, allow_pickle=False) as archive:
        image = tf.constant(archive["image"])
    label, gradient = differentiate(lambda x: served.serve(x)["label"], image)
    signature = served.signatures["serving_default"](image=image)["label"]
    np.savez(answers, label=label, signature=signature, gradient=gradient)


def serve_elsewhere(model: keras.Model, saved_model: Path, images: np.ndarray) -> dict[str, float]:
    """Compare the model with its SavedModel in a Python that knows nothing of tfpyramid."""
    program = [
        "from __future__ import annotations",
        "import sys",
        "sys.modules['tfpyramid'] = None  # From here on, importing it fails.",
        "import numpy as np, tensorflow as tf",
        inspect.getsource(differentiate),
        inspect.getsource(answer_elsewhere),
        "answer_elsewhere(*sys.argv[1:])",
    ]
    with tempfile.TemporaryDirectory() as folder:
        questions, answers = Path(folder, "questions.npz"), Path(folder, "answers.npz")
        np.savez(questions, image=images)
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


WIDTH, HEIGHT, MARGIN, GAP = 1800, 1310, 60, 36  # Of the figure, in pixels.
THIRD = (WIDTH - 2 * MARGIN - 2 * GAP) / 3
INK, PALE, GOOD, BAD = "#1f2430", "#6b7280", "#15803d", "#c2410c"
CHANNELS = {"red": "#dc2626", "green": "#16a34a", "blue": "#2563eb"}


def draw(
    photographs: dict[str, dict[str, Any]],
    before: np.ndarray,
    after: np.ndarray,
    test: tuple[np.ndarray, np.ndarray],
    answers: np.ndarray,
) -> Figure:
    """Return the figure: pyramids above, what the learnable one learned in the middle, answers below."""
    figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100)
    write(figure, MARGIN, 68, "Image pyramids that learn", size=23, weight="bold")
    write(figure, MARGIN, 98, "tfpyramid quickstart", size=13, color=PALE)

    draw_pyramids(figure, 196, **photographs)
    square = (2 * THIRD - GAP) / 3
    retina = photographs["retina"]
    note = f"from its six Laplacian bands, exact to {retina['error']:.1e}"
    picture(figure, MARGIN, 650, square, retina["reconstruction"], "The retina again", note)
    limit = max(np.abs(before).max(), np.abs(after).max())
    x = MARGIN + square + GAP
    draw_kernel(figure, x, 650, square, before, limit, "Kernel before training", "the Gaussian, each colour apart")
    x += square + GAP
    draw_kernel(figure, x, 650, square, after, limit, "Kernel after training", "same scale, red above zero, blue below")
    draw_response(figure, MARGIN + 2 * (THIRD + GAP), 650, THIRD, square, before, after)
    draw_answers(figure, 1105, *test, answers)
    return figure


def draw_pyramids(figure: Figure, y: float, astronaut: dict[str, Any], retina: dict[str, Any]) -> None:
    *residuals, lowpass = astronaut["laplacian"]
    # Each residual by its own contrast: the finest would be all grey beside the coarsest.
    visible = [0.5 + 0.5 * band / np.percentile(np.abs(band), 99.5) for band in residuals]
    sides = ", ".join(str(len(level)) for level in retina["gaussian"])
    panels = [
        ("Gaussian pyramid", "each level blurred, and every second sample kept", astronaut["gaussian"]),
        ("Laplacian pyramid", "what the next level lacks; contrast stretched about mid-grey", [*visible, lowpass]),
        ("Odd sides are no trouble", f"a retina of {sides} samples a side", retina["gaussian"]),
    ]
    for k, (title, note, levels) in enumerate(panels):
        picture(figure, MARGIN + k * (THIRD + GAP), y, THIRD, mosaic(levels), title, note)


def draw_kernel(
    figure: Figure, x: float, y: float, width: float, kernel: np.ndarray, limit: float, title: str, note: str
) -> None:
    """Draw a kernel [rows, columns, 3, 3] as nine tiles, from the channel at the left to the channel below."""
    size = len(kernel)
    tiles = kernel.transpose(2, 0, 3, 1).reshape(3 * size, 3 * size)
    axes = picture(figure, x, y, width, tiles, title, note, cmap="RdBu_r", vmin=-limit, vmax=limit)
    for edge in (size - 0.5, 2 * size - 0.5):
        axes.axhline(edge, color="white", linewidth=4)
        axes.axvline(edge, color="white", linewidth=4)
    for k, (name, color) in enumerate(CHANNELS.items()):
        middle = (k + 0.5) * width / 3
        write(figure, x + middle, y + width + 18, f"to {name}", size=10, color=color, ha="center")
        write(figure, x - 6, y + middle, f"from {name}", size=10, color=color, ha="right", va="center", rotation=90)


def draw_response(
    figure: Figure, x: float, y: float, width: float, height: float, before: np.ndarray, after: np.ndarray
) -> None:
    """Draw how much of horizontal waves a kernel lets through, from each channel to the same channel."""
    axes = area(figure, x + 44, y, width - 54, height)
    waves = np.linspace(0, 0.5, 201)
    basis = np.exp(-2j * np.pi * np.outer(waves, np.arange(len(before))))
    axes.axvspan(0.25, 0.5, color="#f3f4f6")
    for k, (name, color) in enumerate(CHANNELS.items()):
        gain = np.abs(basis @ after[:, :, k, k].sum(axis=0))
        axes.plot(waves, gain, color=color, linewidth=2, label=f"after, {name}")
    gain = np.abs(basis @ before[:, :, 0, 0].sum(axis=0))
    axes.plot(waves, gain, "--", color=INK, linewidth=2, label="before")
    # Below the axes: how the curves run differs from training to training.
    axes.legend(frameon=False, fontsize=10, labelcolor=INK, loc="upper center", bbox_to_anchor=(0.46, -0.06), ncols=4)
    remark = "folds back when every\nsecond sample is kept"
    axes.text(0.98, 0.97, remark, size=11, color=PALE, ha="right", va="top", transform=axes.transAxes)
    axes.set_xlim(0, 0.5)
    axes.set_ylim(0)
    axes.tick_params(labelsize=10, color=PALE, labelcolor=PALE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    write(figure, x, y - 38, "What the kernel lets through", size=14, weight="bold")
    write(figure, x, y - 14, "gain of each colour to itself, over cycles per sample, horizontally", size=11, color=PALE)


def draw_answers(figure: Figure, y: float, images: np.ndarray, labels: np.ndarray, answers: np.ndarray) -> None:
    """Draw ten test images with what the model calls them, two of its mistakes among them if it made any."""
    right = answers.argmax(axis=1) == labels
    hits, misses = np.flatnonzero(right), np.flatnonzero(~right)
    shown = [*hits[: 10 - min(2, len(misses))], *misses][:10]
    gap = 24
    side = (WIDTH - 2 * MARGIN - 9 * gap) / 10
    note = f"{right.mean():.1%} of {len(right)} are right, among {len(CLASSES)} classes"
    if len(misses):
        note += "; mistakes in orange, the truth in grey"
    for k, index in enumerate(shown):
        x = MARGIN + k * (side + gap)
        heading = ("Test images, and what the model calls them", note) if k == 0 else ("", "")
        picture(figure, x, y, side, images[index], *heading, interpolation="nearest")
        write(figure, x, y + side + 20, CLASSES[answers[index].argmax()], size=11, color=GOOD if right[index] else BAD)
        if not right[index]:
            write(figure, x, y + side + 38, CLASSES[labels[index]], size=11, color=PALE)


def picture(
    figure: Figure, x: float, y: float, width: float, image: np.ndarray, title: str, note: str, **style: Any
) -> Axes:
    """Put an image with its upper left corner at (x, y), in pixels, and a title and a note above it."""
    axes = area(figure, x, y, width, width * image.shape[0] / image.shape[1])
    axes.imshow(image.clip(0, 1) if image.ndim == 3 else image, aspect="auto", **style)
    axes.set_axis_off()
    write(figure, x, y - 38, title, size=14, weight="bold")
    write(figure, x, y - 14, note, size=11, color=PALE)
    return axes


def area(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    return figure.add_axes((x / WIDTH, 1 - (y + height) / HEIGHT, width / WIDTH, height / HEIGHT))


def write(figure: Figure, x: float, y: float, text: str, color: str = INK, **style: Any) -> None:
    figure.text(x / WIDTH, 1 - y / HEIGHT, text, color=color, **style)


def mosaic(levels: list[np.ndarray]) -> np.ndarray:
    """Return the finest level with the others in a column to its right, on white."""
    height, width, channels = levels[0].shape
    gap = width // 160
    left, top = width + gap, 0
    canvas = np.ones((height, left + levels[1].shape[1], channels), np.float32)
    canvas[:, :width] = levels[0]
    for level in levels[1:]:
        canvas[top : top + level.shape[0], left : left + level.shape[1]] = level
        top += level.shape[0] + gap
    return canvas


if __name__ == "__main__":
    main()
