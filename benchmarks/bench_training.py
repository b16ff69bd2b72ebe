"""What do gradient normalization, the diversity loss and annealing contribute to training? An ablation study.

    python benchmarks/bench_training.py [--output FOLDER] [--only NAME ...] [--quick]

A network answers the questions of easy-VQA about images of 32 by 32 pixels, from one of three levels of a
`LearnablePyramid` with 32, 16 and 8 pixels. A `QueryLevelSelector` with the objective "gumbel" weights the levels by
the question; its `cost_weight` penalizes pixels. Each level has an encoder: convolutions with strides of 2, batch
normalization and ReLU, global max pooling and a dense layer with `tanh`. A `LevelRouter` sums the features of all
levels in training, and runs only the encoder of the chosen level at inference. The features are multiplied by the
encoded question, and dense layers return the answer.

The parts that rows omit are `PyramidDiversity(0.01)` after the pyramid, `GradientNormalization()` after that, and
`TemperatureAnnealing(1.0, 0.1)` over the whole training; without it the temperature is 1. The optimizer is
`discriminative_optimizer`. It trains the pyramid ten times slower than the rest, except in the last row.

* accuracy: accuracy on the test questions, each answered from its chosen level;
* gain, same seed: difference in accuracy to the first row with the same seed, because the seed has a large effect;
* pixels: mean number of pixels of the chosen levels, relative to the finest level;
* kernels changed: norm of the change of the pyramid's kernels in training, relative to their norm;
* similarity: cosine similarity of neighbouring levels, `pyramid_diversity_loss`, mean over the test images.

The JSON also has the results for held-out training images, which are used to choose settings. Results are written after
every training, and an interrupted run resumes. `--quick` trains on a few questions, too few to measure anything.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import common
import numpy as np
import questions
import tensorflow as tf
from classifier import parse_options, percentage
from tqdm import tqdm

from tfpyramid import layers, losses, ops, training

keras = tf.keras
NUM_LEVELS = 3
CHANGE = 0.4  # The change of the kernels before gradients are compared, relative to their norm, as in training.


class Protocol(NamedTuple):
    """The settings of every training."""

    train: int  # Number of images; each has about ten questions.
    held_out: int
    test: int
    epochs: int
    seeds: int
    filters: int = 8
    units: int = 64
    batch: int = 128
    rate: float = 8e-3
    cost_weight: float = 0.01
    diversity: float = 0.01
    last_temperature: float = 0.1


FULL = Protocol(train=3_600, held_out=400, test=1_000, epochs=3, seeds=3)
QUICK = Protocol(train=2, held_out=1, test=1, epochs=1, seeds=1, filters=4, units=4, batch=16)


class Case(NamedTuple):
    """The parts that are used, and how many times slower than the rest the pyramid learns."""

    normalized: bool = True
    diverse: bool = True
    annealed: bool = True
    slower: float = 10


CASES = {
    "all three": Case(),
    "without gradient normalisation": Case(normalized=False),
    "without diversity loss": Case(diverse=False),
    "without annealing": Case(annealed=False),
    "annealing alone": Case(normalized=False, diverse=False),
    "none of the three": Case(normalized=False, diverse=False, annealed=False),
    "all three, pyramid as fast as the rest": Case(slower=1),
}


def main() -> None:
    options = parse_options(__doc__, list(CASES), data=False)
    protocol = QUICK if options.quick else FULL
    path = options.output / "results/training.json"
    results = common.read_json(path) if path.exists() else {}
    if results.get("protocol") != protocol._asdict():
        results = {"protocol": protocol._asdict(), "runs": []}
    runs = results["runs"]
    train = questions.read("train", 0, protocol.train)
    parts = {
        "held_out": questions.read("train", protocol.train, protocol.train + protocol.held_out),
        "test": questions.read("test", 0, protocol.test),
    }

    done = {(run["trained"], run["seed"]) for run in runs}
    todo = [
        (name, seed) for seed in range(protocol.seeds) for name in options.only or CASES if (name, seed) not in done
    ]
    with tqdm(todo, desc="Training", unit="network") as bar:
        for name, seed in bar:
            keras.utils.set_random_seed(seed)
            network = Network(CASES[name], protocol)
            seconds = network.fit(train)
            run = {"kernels_moved": network.moved(), **{part: network.measured(parts[part]) for part in parts}}
            runs.append({"trained": name, "seed": seed, **run, "seconds": round(seconds, 1)})
            common.write_json(path, {**results, "environment": common.environment("easy-vqa")})
            bar.write(f"{name}, seed {seed}: {run}, {seconds:.0f} s")

    results["gradients"] = gradient_lengths(train, protocol)
    common.write_json(path, {**results, "environment": common.environment("easy-vqa")})
    report = f"{table(runs)}\n\n{in_words(results['gradients'])}"
    common.prepare(options.output, "training")
    common.update_table(options.output / "README.md", "training", report)
    print(report)


class Network:
    """A model from 8-bit images and words to answers, its pyramid and its training."""

    def __init__(self, case: Case, protocol: Protocol) -> None:
        self.case, self.protocol = case, protocol
        image = keras.Input((questions.SIDE, questions.SIDE, 3), dtype="uint8", name="image")
        words = keras.Input((len(questions.VOCABULARY),), name="words")
        self.pyramid = layers.LearnablePyramid(NUM_LEVELS)
        levels = self.pyramid(keras.layers.Rescaling(1 / 255)(image))
        compared = losses.PyramidDiversity(protocol.diversity if case.diverse else 0)(levels)
        read = layers.GradientNormalization()(compared) if case.normalized else compared
        question = self._dense("tanh")(self._dense("relu")(words))
        self.selector = layers.QueryLevelSelector(
            NUM_LEVELS, protocol.units, "gumbel", cost_weight=protocol.cost_weight
        )
        weights = self.selector(question)
        features = layers.LevelRouter([self._encoder(k) for k in range(NUM_LEVELS)])([*read, weights])
        hidden = self._dense("relu")(keras.layers.Multiply()([features, question]))
        answer = keras.layers.Dense(len(questions.ANSWERS), activation="softmax")(hidden)
        self.model = keras.Model([image, words], answer)
        self._seen = keras.Model([image, words], [answer, weights, *levels])
        self._start = self._kernels()

    def _dense(self, activation: str) -> keras.layers.Layer:
        return keras.layers.Dense(self.protocol.units, activation=activation)

    def _encoder(self, k: int) -> keras.Sequential:
        """Return the encoder of level k, which halves it until all levels have about one size, at least twice."""
        stack = [keras.Input((None, None, 3))]
        for step in range(max(NUM_LEVELS - k, 2)):
            filters = self.protocol.filters * 2 ** min(step, 2)
            stack += [
                keras.layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False),
                keras.layers.BatchNormalization(momentum=0.9),
                keras.layers.ReLU(),
            ]
        return keras.Sequential([*stack, keras.layers.GlobalMaxPooling2D(), self._dense("tanh")])

    def optimizer(self, steps: int) -> keras.optimizers.Optimizer:
        """Return the optimizer with the default clipping, and learning rates with a cosine decay to 0 over `steps`."""
        task, pyramid = (
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps), global_clipnorm=norm)
            for rate, norm in ((self.protocol.rate, 5.0), (self.protocol.rate / self.case.slower, 1.0))
        )
        return training.discriminative_optimizer(self.model, pyramid=pyramid, task=task)

    def callbacks(self, steps: int) -> list[keras.callbacks.Callback]:
        end = self.protocol.last_temperature
        return [training.TemperatureAnnealing(1.0, end, steps=steps)] if self.case.annealed else []

    def fit(self, asked: questions.Questions) -> float:
        """Train the model; return the processor time in seconds."""
        steps = self.protocol.epochs * -(-len(asked.answers) // self.protocol.batch)
        self.model.compile(self.optimizer(steps), "sparse_categorical_crossentropy")
        start = time.process_time()
        self.model.fit(
            [asked.images, asked.words],
            asked.answers,
            batch_size=self.protocol.batch,
            epochs=self.protocol.epochs,
            callbacks=self.callbacks(steps),
            verbose=0,
        )
        return time.process_time() - start

    def _kernels(self) -> np.ndarray:
        return np.concatenate([np.ravel(kernel) for kernel in self.pyramid.get_weights()])

    def moved(self) -> float:
        """Return the norm of the change of the pyramid's kernels in training, relative to their initial norm."""
        return round(float(np.linalg.norm(self._kernels() - self._start) / np.linalg.norm(self._start)), 4)

    def measured(self, asked: questions.Questions) -> dict[str, Any]:
        """Return the results for these questions, and the fraction of questions at each level."""
        answers, weights, *levels = self._seen.predict([asked.images, asked.words], batch_size=500, verbose=0)
        fractions = weights.mean(0)
        return {
            "accuracy": percentage(answers.argmax(1) == asked.answers),
            "pixels": round(float(fractions @ ops.pixel_costs(NUM_LEVELS)), 4),
            "levels": fractions.astype(float).round(4).tolist(),
            "alike": round(float(np.mean(losses.pyramid_diversity_loss([tf.constant(x) for x in levels]))), 4),
        }


def gradient_lengths(asked: questions.Questions, protocol: Protocol) -> dict[str, float]:
    """Return the norms of the gradients of the pyramid's kernels, for an untrained network with perturbed kernels."""
    keras.utils.set_random_seed(0)
    images, words, answers = (part[: protocol.batch] for part in asked)
    plain, normalized = (Network(Case(normalized=on), protocol) for on in (False, True))
    kernels = plain.pyramid.get_weights()
    steps = [np.random.default_rng(k).standard_normal(kernel.shape) for k, kernel in enumerate(kernels)]
    moved = [w + CHANGE * np.linalg.norm(w) * step / np.linalg.norm(step) for w, step in zip(kernels, steps)]
    lengths = {}
    for network, key in ((plain, "answers"), (normalized, "answers, normalised")):
        network.pyramid.set_weights(moved)
        with tf.GradientTape(persistent=True) as tape:
            entropy = keras.losses.sparse_categorical_crossentropy(
                answers, network.model([images, words], training=True)
            )
            entropy = tf.reduce_mean(entropy)
            levels = network.pyramid(tf.constant(images, tf.float32) / 255)
            alike = protocol.diversity * tf.reduce_mean(losses.pyramid_diversity_loss(levels))
        variables = network.pyramid.trainable_variables
        lengths[key] = float(tf.linalg.global_norm(tape.gradient(entropy, variables)))
        lengths["diversity"] = float(tf.linalg.global_norm(tape.gradient(alike, variables)))
    return {key: float(f"{length:.2g}") for key, length in lengths.items()}


def in_words(lengths: dict[str, float]) -> str:
    return (
        f"Norms of the gradients of the pyramid's kernels before training, after a random change of the kernels by "
        f"{CHANGE} of their norm: {lengths['answers']:g} for the loss of the answers, "
        f"{lengths['answers, normalised']:g} for the same with `GradientNormalization`, and for the weighted diversity "
        f"loss {lengths['diversity']:g}."
    )


def table(runs: list[dict[str, Any]]) -> str:
    """Return the results for the test questions, with mean and standard deviation over the seeds."""
    accuracies = {(run["trained"], run["seed"]): run["test"]["accuracy"] for run in runs}
    first = next(iter(CASES))
    rows = []
    for name in CASES:
        own = [run for run in runs if run["trained"] == name]
        if own:
            # The seed determines the chosen levels in nearly all cases, so compare cases with the same seed.
            shared = [seed for trained, seed in accuracies if trained == name and (first, seed) in accuracies]
            gains = [accuracies[name, seed] - accuracies[first, seed] for seed in shared]
            gain = common.mean_and_spread(gains, 1) if gains and name != first else ""
            columns = [[run["test"]["pixels"] for run in own], [run["kernels_moved"] for run in own]]
            columns += [[run["test"]["alike"] for run in own]]
            cells = [common.mean_and_spread(column) for column in columns]
            rows.append([name, common.mean_and_spread([run["test"]["accuracy"] for run in own], 1), gain, *cells])
    header = ["training", "accuracy, %", "gain, same seed", "pixels", "kernels changed", "similarity"]
    return common.table(header, rows)


if __name__ == "__main__":
    main()
