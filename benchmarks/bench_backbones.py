"""Which backbones of Keras do `feature_levels`, `FeaturePyramid` and `UpsampleConcat` work with, at which sizes?

    python benchmarks/bench_backbones.py [--output FOLDER] [--only NAME] [--quick]

For each family of `keras.applications`, without its top and with random weights, `feature_levels` finds the maps of the
strides 4, 8, 16 and 32. `FeaturePyramid` and `UpsampleConcat` follow with their defaults. One graph, traced for sides
that are unknown, makes a training step on a batch of each size: the sides of the levels must be those of the maps, the
loss and all gradients finite, and every weight of the layers after the backbone must change. A size that the backbone
itself refuses, without any layer of this package, is marked. A family that does not work with unknown sides is built
once for each size. Results are written after each family, and an interrupted run resumes. `--quick` runs one family at
one size.
"""

from __future__ import annotations

from typing import Any

import common
import numpy as np
import tensorflow as tf
from families import FAMILIES, KNOWN_SIDES
from tqdm import tqdm

from tfpyramid import layers, models

keras = tf.keras
SIZES = ((224, 224), (100, 100), (97, 131), (64, 64))
STRIDES = (4, 8, 16, 32)
FILTERS = 16


def main() -> None:
    options = common.parse_options(__doc__, FAMILIES)
    path = options.output / "results/backbones.json"
    runs = common.read_json(path)["families"] if path.exists() else []
    sizes = SIZES[-1:] if options.quick else SIZES
    wanted = options.only or (("MobileNet",) if options.quick else FAMILIES)
    done = {run["family"] for run in runs} - set(options.only or ())
    with tqdm([name for name in wanted if name not in done], desc="Training", unit="family") as bar:
        for name in bar:
            runs = [run for run in runs if run["family"] != name] + [measured(name, sizes)]
            runs.sort(key=lambda run: FAMILIES.index(run["family"]))
            common.write_json(path, {"families": runs, "environment": common.environment()})
            bar.write(f"{name}: {runs[-1]['sizes']}")
            keras.backend.clear_session()
    common.prepare(options.output, "backbones")
    common.update_table(options.output / "README.md", "backbones", table(runs, sizes))
    print(table(runs, sizes))


def measured(name: str, sizes: tuple[tuple[int, int], ...]) -> dict[str, Any]:
    """Return the channels of the levels, and the sides of the levels at each size or why there are none."""
    family = getattr(keras.applications, name)
    network, channels, results = None, [], {}
    for size in sizes:
        known = name in KNOWN_SIDES
        try:
            if network is None or known:
                backbone = family(include_top=False, weights=None, input_shape=(*(size if known else (None, None)), 3))
                network = Network(backbone, size if known else (None, None))
            results[f"{size[0]} × {size[1]}"] = network.trained(size)
            channels = network.channels
        except (ValueError, tf.errors.OpError):
            if known or _works(network.backbone, size):
                raise  # It is not the backbone that fails.
            results[f"{size[0]} × {size[1]}"] = "refused by the backbone"
    return {
        "family": name,
        "sides": "known" if name in KNOWN_SIDES else "unknown",
        "channels": channels,
        "sizes": results,
    }


def _works(backbone: keras.Model, size: tuple[int, int]) -> bool:
    try:
        backbone(np.zeros([1, *size, 3], np.float32))
    except (ValueError, tf.errors.OpError):
        return False
    return True


class Network:
    """A backbone, a feature pyramid and one map of all its levels, with a training step for images of any size."""

    def __init__(self, backbone: keras.Model, sides: tuple[int | None, int | None]) -> None:
        self.backbone = backbone
        levels = models.feature_levels(backbone, STRIDES)
        features = layers.FeaturePyramid(FILTERS, name="top_down")(levels.outputs)
        joined = layers.UpsampleConcat(name="joined")(features)
        self.model = keras.Model(levels.input, [joined, *features, *levels.outputs])
        self.channels = [level.shape[-1] for level in levels.outputs]
        # A graph for each size would take minutes to trace.
        graph = tf.function(self._step, input_signature=[tf.TensorSpec([None, None, None, 3])], autograph=False)
        self.step = graph if sides == (None, None) else self._step

    def _step(self, images: tf.Tensor) -> tuple:
        variables = [w if isinstance(w, tf.Variable) else w.value for w in self.model.trainable_variables]
        with tf.GradientTape() as tape:
            joined, *levels = self.model(images, training=True)
            loss = tf.reduce_mean(tf.square(joined - 1))
        gradients = tape.gradient(loss, variables)
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients if g is not None])
        for variable, gradient in zip(variables, gradients):
            if gradient is not None:
                variable.assign_sub(1e-3 * gradient)
        return loss, finite, [tf.shape(joined), *map(tf.shape, levels)]

    def trained(self, size: tuple[int, int]) -> list[list[int]]:
        """Return the sides of the levels, after a training step that is checked."""
        own = self.model.get_layer("top_down").trainable_weights
        before = [w.numpy() for w in own]
        images = np.random.default_rng(0).random([2, *size, 3], np.float32)
        loss, finite, shapes = self.step(images)
        sides = [shape.numpy()[1:3].tolist() for shape in shapes]
        joined, features, levels = sides[0], sides[1 : 1 + len(STRIDES)], sides[1 + len(STRIDES) :]
        assert np.isfinite(loss) and bool(finite), f"A loss of {loss}, gradients finite: {finite}"
        assert features == levels and joined == levels[0], sides
        assert all(np.any(old != new.numpy()) for old, new in zip(before, own)), "Some weights did not change."
        return levels


def table(runs: list[dict[str, Any]], sizes: tuple[tuple[int, int], ...]) -> str:
    names = [f"{height} × {width}" for height, width in sizes]
    rows = []
    for run in runs:
        cells = [run["sizes"].get(name, "") for name in names]
        shown = ["too small" if isinstance(cell, str) else _sides(cell) for cell in cells]
        rows.append([f"`{run['family']}`", run["sides"], ", ".join(map(str, run["channels"])), *shown])
    return common.table(["backbone", "sides of its input", "channels", *names], rows)


def _sides(levels: list[list[int]]) -> str:
    return ", ".join(str(n) if n == m else f"{n} × {m}" for n, m in levels)


if __name__ == "__main__":
    main()
