"""Do the remedies for gradients across the levels of a flow network help?

    python benchmarks/bench_flow.py [--output FOLDER] [--quick]

A `pyramid_flow` of four levels is trained on the made pairs of examples/optical_flow.py: as it is by default, with each
remedy alone, and with all of them. The remedies are options of the model and of the loss:

- `stop_gradient`: no gradient of the flow from one level to the one before it;
- `sampling="lookup"`: costs at the positions that the flow points to, instead of warped features;
- `hardest=0.5`: loss max-pooling, the half of the pixels with the largest errors at each level;
- `normalize_gradients`: gradients of one length at each level.

At every step it takes the norm of the gradient of the whole loss for the features of each level, of both images. Two
numbers sum up a training. The ratio is the largest norm of a level divided by the smallest, the median over the steps.
The noise is the spread over the steps of the logarithm to base 10 of a level's norm, after subtracting a running mean:
half the distance of its 16th and 84th percentile, the standard deviation of a normal distribution. The error is the
mean end-point error on pairs from two photographs that the network was not trained on.

Results are written after every training, and an interrupted run resumes. `--quick` trains for a few steps.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import common
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from tqdm import tqdm

from tfpyramid import losses, models
from tfpyramid._compat import keras, raw

sys.path.insert(0, str(common.FOLDER.parent / "examples"))
import optical_flow_data as made  # noqa: E402

COLORS = ("#1d4ed8", "#60a5fa", "#ea580c", "#16a34a")
WINDOW = 25  # Steps of the running mean.


class Protocol(NamedTuple):
    """The settings of every training."""

    pairs: int
    steps: int
    seeds: int
    test_pairs: int = 32
    batch: int = 4
    side: int = 64
    levels: int = 4
    finest_level: int = 1
    max_displacement: int = 3
    patch_size: int = 5
    rate: float = 3e-3


FULL = Protocol(pairs=600, steps=150, seeds=3)
QUICK = Protocol(pairs=4, steps=2, seeds=1, test_pairs=2, side=32)


class Case(NamedTuple):
    name: str
    model: dict[str, Any]
    loss: dict[str, Any]


STOP, LOOKUP, NORMALIZE = {"stop_gradient": True}, {"sampling": "lookup"}, {"normalize_gradients": True}
HARDEST = {"hardest": 0.5}
CASES = [
    Case("none", {}, {}),
    Case("`stop_gradient`", STOP, {}),
    Case('`sampling="lookup"`', LOOKUP, {}),
    Case("`hardest=0.5`", {}, HARDEST),
    Case("`normalize_gradients`", NORMALIZE, {}),
    Case("all four", {**STOP, **LOOKUP, **NORMALIZE}, HARDEST),
]


def main() -> None:
    options = common.parse_options(__doc__)
    protocol = QUICK if options.quick else FULL
    path = options.output / "results/flow.json"
    results = common.read_json(path) if path.exists() else {}
    if results.get("protocol") != protocol._asdict():
        results = {"protocol": protocol._asdict(), "runs": []}
    runs = results["runs"]
    pool = made.pairs(made.copies(made.TRAINING, 80), protocol.pairs, 80, np.random.default_rng(0))
    tests = made.pairs(made.copies(made.VALIDATION, 96), protocol.test_pairs, 96, np.random.default_rng(1))
    done = {(run["remedy"], run["seed"]) for run in runs}
    todo = [(case, seed) for seed in range(protocol.seeds) for case in CASES if (case.name, seed) not in done]
    trainings: dict[str, Training] = {}
    with tqdm(todo, desc="Training", unit="network") as bar:
        for case, seed in bar:
            if case.name not in trainings:
                trainings[case.name] = Training(case, protocol)
            run = measured(trainings[case.name], seed, pool, tests)
            runs.append({"remedy": case.name, "seed": seed, **run})
            common.write_json(path, {**results, "environment": common.environment()})
            bar.write(
                f"{case.name}, seed {seed}: {run['error']:.2f} pixels, ratio {run['ratio']}, noise {run['noise']}"
            )
    common.prepare(options.output, "flow")
    common.update_table(options.output / "README.md", "flow", table(runs))
    print(table(runs))
    name = "flow_gradients.png"
    picture = (common.FOLDER.parent / "docs" if options.output == common.FOLDER else options.output) / name
    with common.written_aside(picture) as aside:
        draw(runs, protocol).savefig(aside)


class Training:
    """The training of a case: one graph for all seeds."""

    def __init__(self, case: Case, protocol: Protocol) -> None:
        self.case, self.protocol = case, protocol
        self.model = self.network()
        self.watched = keras.Model(
            self.model.input, {"flows": self.model.output, "features": list(self.model.get_layer("features_1").output)}
        )
        self.loss = losses.MultiScaleLoss(losses.EndPointError(**case.loss), decay=1.0)
        rate = keras.optimizers.schedules.CosineDecay(protocol.rate, protocol.steps)
        self.optimizer = keras.optimizers.Adam(rate, clipnorm=1.0)
        self.optimizer.build(self.model.trainable_variables)
        self.step = tf.function(self._step, autograph=False)

    def network(self) -> keras.Model:
        names = ("finest_level", "max_displacement", "patch_size")
        options = {name: getattr(self.protocol, name) for name in names}
        return models.pyramid_flow(self.protocol.levels, **options, **self.case.model)

    def reset(self, seed: int) -> None:
        keras.utils.set_random_seed(seed)
        self.model.set_weights(self.network().get_weights())
        for variable in self.optimizer.variables:
            if "learning_rate" not in variable.name:
                variable.assign(tf.zeros_like(variable))

    def _step(self, first: tf.Tensor, second: tf.Tensor, flow: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            found = self.watched({"first": first, "second": second}, training=True)
            objective = tf.add_n([self.loss(flow, each) for each in found["flows"].values()])
        weights = self.model.trainable_variables
        of_weights, of_features = tape.gradient(objective, [[raw(each) for each in weights], found["features"]])
        self.optimizer.apply_gradients(zip(of_weights, weights))
        return tf.stack([tf.norm(each) for each in of_features])


def measured(training: Training, seed: int, pool: made.Pairs, tests: made.Pairs) -> dict[str, Any]:
    protocol = training.protocol
    training.reset(seed)
    rng = np.random.default_rng(seed)
    norms = []
    for _ in range(protocol.steps):
        chosen = rng.choice(len(pool.first), protocol.batch, replace=False)
        pairs = made.turned(made.Pairs(*(each[chosen] for each in pool)), protocol.side, rng)
        norms.append(training.step(*map(tf.constant, pairs[:3])).numpy())
    found = training.model({"first": tests.first, "second": tests.second})["flow"].numpy()
    logs = np.log10(np.array(norms) + 1e-30)
    low, high = np.percentile(logs - smooth(logs), [16, 84], axis=0)
    return {
        "error": round(float(np.linalg.norm(found - tests.flow, axis=-1).mean()), 4),
        "no_flow": round(float(np.linalg.norm(tests.flow, axis=-1).mean()), 4),
        "ratio": round(float(10 ** np.median(logs.max(1) - logs.min(1))), 3),
        "noise": round(float(np.mean(high - low)) / 2, 4),
        "log10_norms": logs.round(3).tolist(),
    }


def smooth(values: np.ndarray) -> np.ndarray:
    """Return the running mean of each column, over fewer rows at the ends."""
    window = np.ones(WINDOW)
    counts = np.convolve(np.ones(len(values)), window, "same")[: len(values)]
    return np.stack([np.convolve(each, window, "same")[: len(values)] / counts for each in values.T], 1)


def of(case: Case, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [run for run in runs if run["remedy"] == case.name]


def table(runs: list[dict[str, Any]]) -> str:
    rows = []
    for case in CASES:
        found = of(case, runs)
        cells = [
            common.mean_and_spread([run[key] for run in found], digits)
            for key, digits in (("error", 2), ("ratio", 1), ("noise", 3))
        ]
        rows.append([case.name, *cells])
    return common.table(["remedy", "error, pixels", "largest / smallest norm of a level", "noise of a norm"], rows)


def draw(runs: list[dict[str, Any]], protocol: Protocol) -> Figure:
    """Return a plot for each case: the norm of each level over the training, the mean of the seeds, smoothed."""
    figure = Figure(figsize=(14, 6.4), dpi=100, layout="constrained")
    axes = figure.subplots(2, 3, sharex=True, sharey=True)
    for case, axis in zip(CASES, axes.flat):
        seeds = np.array([run["log10_norms"] for run in of(case, runs)])
        for level, color in zip(range(seeds.shape[2]), COLORS):
            lines = [10 ** smooth(each)[:, level] for each in seeds]
            at = np.arange(len(lines[0])) + 1
            axis.fill_between(at, np.min(lines, 0), np.max(lines, 0), color=color, alpha=0.2, linewidth=0)
            axis.plot(at, np.mean(lines, 0), color=color, label=f"level {level + protocol.finest_level}")
        axis.set_yscale("log")
        axis.set_title(case.name.replace("`", ""), fontsize=12)
        axis.grid(color="#e5e7eb")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].legend(frameon=False)
    figure.supylabel("norm of the gradient for the features of a level")
    figure.supxlabel("step; line: mean of the seeds, band: their range")
    return figure


if __name__ == "__main__":
    main()
