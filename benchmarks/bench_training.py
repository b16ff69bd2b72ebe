"""What gradient normalisation, the diversity loss and annealing do to a training: each switched off by itself.

    python benchmarks/bench_training.py [--output FOLDER] [--only NAME ...] [--quick]

A network answers the questions of easy-VQA, at 32 pixels a side, by one of three levels of a `LearnablePyramid`, of 32,
16 and 8 pixels. A `QueryLevelSelector` with the objective "gumbel" weighs the levels by the question, and pays for
pixels by its `cost_weight`. Each level has an encoder: convolutions of strides 2 with batch norm and ReLU, the maximum
over all positions, `tanh` of a dense layer. A `LevelRouter` sums what they make of the levels in training, and runs the
chosen one alone at inference. The answer is read off the product with the encoded question.

The parts that are switched off are `PyramidDiversity(0.01)` behind the pyramid, `GradientNormalization()` behind that,
and `TemperatureAnnealing(1.0, 0.1)` over the whole training, without which the temperature stays 1. All is trained by
`discriminative_optimizer`, the pyramid ten times slower than the rest; in the last row, as fast.

* accuracy: right answers to the test questions, each by the level that is chosen for it;
* against the first: how many points more than the first row has with the same seed, which decides on much else;
* pixels: the mean share of the finest level's pixels that the chosen levels have;
* kernels moved: the length of what training added to the pyramid's kernels, relative to that of the kernels;
* alike: the cosine of neighbouring levels, `pyramid_diversity_loss`, mean over the test images.

The same of questions about training images that were held out is kept beside them: settings are chosen by those.
Results are kept after every training, and a run that was interrupted goes on where it ended. `--quick` trains on a
handful of questions, which measures nothing.
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
MOVED = 0.4  # Of the kernels' length: about what training does, for the gradients that are compared.


class Protocol(NamedTuple):
    """What every training has in common."""

    train: int  # Images; each has about ten questions.
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
    """Which parts are on, and how many times slower than the rest the pyramid learns."""

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
    """A model of images of 8 bits and words to answers, its pyramid, and how it is trained."""

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
        """Return the encoder of level k: as many halvings as bring all levels to about one size, and two at least."""
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
        """Return one that has its defaults' clipping, and rates that fall to 0 in `steps` as a cosine does."""
        task, pyramid = (
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps), global_clipnorm=norm)
            for rate, norm in ((self.protocol.rate, 5.0), (self.protocol.rate / self.case.slower, 1.0))
        )
        return training.discriminative_optimizer(self.model, pyramid=pyramid, task=task)

    def callbacks(self, steps: int) -> list[keras.callbacks.Callback]:
        end = self.protocol.last_temperature
        return [training.TemperatureAnnealing(1.0, end, steps=steps)] if self.case.annealed else []

    def fit(self, asked: questions.Questions) -> float:
        """Train, and return the seconds of processor time that it took."""
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
        """Return how far training moved the pyramid's kernels, relative to their length."""
        return round(float(np.linalg.norm(self._kernels() - self._start) / np.linalg.norm(self._start)), 4)

    def measured(self, asked: questions.Questions) -> dict[str, Any]:
        """Return what the table tells, of these questions, and the share of them that is read at each level."""
        answers, weights, *levels = self._seen.predict([asked.images, asked.words], batch_size=500, verbose=0)
        shares = weights.mean(0)
        return {
            "accuracy": percentage(answers.argmax(1) == asked.answers),
            "pixels": round(float(shares @ ops.pixel_costs(NUM_LEVELS)), 4),
            "levels": shares.astype(float).round(4).tolist(),
            "alike": round(float(np.mean(losses.pyramid_diversity_loss([tf.constant(x) for x in levels]))), 4),
        }


def gradient_lengths(asked: questions.Questions, protocol: Protocol) -> dict[str, float]:
    """Return how long the gradients in the pyramid's kernels are, untrained but for kernels moved at random."""
    keras.utils.set_random_seed(0)
    images, words, answers = (part[: protocol.batch] for part in asked)
    plain, normalized = (Network(Case(normalized=on), protocol) for on in (False, True))
    kernels = plain.pyramid.get_weights()
    steps = [np.random.default_rng(k).standard_normal(kernel.shape) for k, kernel in enumerate(kernels)]
    moved = [w + MOVED * np.linalg.norm(w) * step / np.linalg.norm(step) for w, step in zip(kernels, steps)]
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
        f"In kernels that were moved by {MOVED} of their length at random, before any training, the gradient of the "
        f"answers' loss has the length {lengths['answers']:g}, {lengths['answers, normalised']:g} behind "
        f"`GradientNormalization`, and that of the diversity loss, weighted, {lengths['diversity']:g}."
    )


def table(runs: list[dict[str, Any]]) -> str:
    """Return what was measured on the test questions, mean and spread over the seeds."""
    accuracies = {(run["trained"], run["seed"]): run["test"]["accuracy"] for run in runs}
    first = next(iter(CASES))
    rows = []
    for name in CASES:
        own = [run for run in runs if run["trained"] == name]
        if own:
            # A seed decides on levels for all cases much alike, so that only a difference in the same seed says much.
            shared = [seed for trained, seed in accuracies if trained == name and (first, seed) in accuracies]
            gains = [accuracies[name, seed] - accuracies[first, seed] for seed in shared]
            gain = common.mean_and_spread(gains, 1) if gains and name != first else ""
            columns = [[run["test"]["pixels"] for run in own], [run["kernels_moved"] for run in own]]
            columns += [[run["test"]["alike"] for run in own]]
            cells = [common.mean_and_spread(column) for column in columns]
            rows.append([name, common.mean_and_spread([run["test"]["accuracy"] for run in own], 1), gain, *cells])
    header = ["trained", "accuracy, %", "against the first, same seed", "pixels", "kernels moved", "alike"]
    return common.table(header, rows)


if __name__ == "__main__":
    main()
