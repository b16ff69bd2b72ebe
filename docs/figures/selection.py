"""The figures of docs/selection.md."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from style import Panel, labelled, page, photograph, save, strip

from tfpyramid import layers, ops, visualize


def gumbel() -> None:
    logits = tf.tile(tf.constant([[1.5, 0.5, 0.0, -1.0]]), [24, 1])
    figure = page.page(960, 400)
    page.title(figure, 60, "GumbelLevelSelector: 24 draws for the same logits (1.5, 0.5, 0, -1)")
    cases = [("training, T = 1", 1.0, False, True), ("training, T = 0.1", 0.1, False, True),
             ("training, hard=True", 1.0, True, True), ("inference", 1.0, False, False)]  # fmt: skip
    for k, (heading, temperature, hard, training) in enumerate(cases):
        selector = layers.GumbelLevelSelector(temperature, hard=hard, seed=5)
        weights = selector(logits, training=training)
        axes = page.area(figure, 70 + 210 * k, 100, 170, 230)
        image = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        labelled(axes, "level", "" if k else "draw", heading)
        axes.set_xticks(range(4))
    bar = page.area(figure, 70 + 210 * 3 + 184, 100, 14, 230)
    page.color_bar(figure, image, bar)
    save(figure, "gumbel_level_selector")


def query() -> None:
    tf.keras.utils.set_random_seed(2)
    selector = layers.QueryLevelSelector(4, objective="value")
    queries = tf.constant(np.eye(3)[np.arange(12) % 3], tf.float32)
    selector(queries)
    # P(correct) for each kind of query and level, as training would make it.
    chance = np.array([[0.97, 0.97, 0.96, 0.95], [0.98, 0.97, 0.9, 0.5], [0.97, 0.75, 0.4, 0.3]])
    figure = page.page(960, 380)
    page.title(
        figure, 60, 'QueryLevelSelector, objective="value": the level with the largest P(correct) - cost_weight * cost'
    )
    costs = ops.pixel_costs(4)
    for k, weight in enumerate((0.0, 0.05, 0.5)):
        axes = page.area(figure, 70 + 300 * k, 104, 240, 200)
        for row, name in enumerate(("which colour", "which shape", "read the text")):
            utility = chance[row] - weight * np.asarray(costs)
            axes.plot(range(4), utility, "o-", color=page.COLORS[row], linewidth=1.6, markersize=5, label=name)
            best = int(utility.argmax())
            axes.plot(best, utility[best], "o", markersize=13, mfc="none", mec=page.COLORS[row], mew=1.6)
        labelled(axes, "level, 0 finest", "" if k else "utility", f"cost_weight = {weight:g}")
        axes.set_xticks(range(4))
        axes.set_ylim(0.2, 1.06)
        if not k:
            axes.legend(frameon=False, fontsize=9, labelcolor=page.INK, loc="lower left")
    save(figure, "query_level_selector")


def router() -> None:
    names = ("astronaut", "coffee", "chelsea", "rocket")
    corners = ((0, 112), (60, 170), (30, 90), (40, 180))
    photos = np.concatenate([photograph(name, 192, corner) for name, corner in zip(names, corners)])
    weights = tf.one_hot([0, 2, 1, 3], 4)
    levels = layers.GaussianPyramid(4)(photos)
    chosen = np.argmax(weights, axis=1)
    read = [
        Panel(levels[k][n : n + 1], f"encoder {k} reads level {k}\n{192 >> k} × {192 >> k} px", scale=0.95 * 2**k)
        for n, k in enumerate(chosen)
    ]
    rows = [Panel(photo[None], "image", scale=0.95) for photo in photos], read
    save(strip("LevelRouter at inference: each sample runs the encoder of its level only", *rows), "level_router")


class Chance(tf.keras.layers.Layer):
    """Log-odds of one level, taken from a query that holds those of all levels."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self.level = level

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        return inputs[1][:, self.level - 1 : self.level]

    def compute_output_shape(self, input_shape: list) -> tuple:
        return (input_shape[0][0], 1)


def cascade() -> None:
    names = ("astronaut", "coffee", "chelsea", "rocket")
    corners = ((0, 112), (60, 170), (30, 90), (40, 180))
    photos = np.concatenate([photograph(name, 192, corner) for name, corner in zip(names, corners)])
    # P of the levels 1, 2 and 3, as training might make it.
    chance = np.array([[0.97, 0.7, 0.35], [0.99, 0.98, 0.96], [0.99, 0.93, 0.6], [0.8, 0.5, 0.2]], np.float32)
    pyramid = layers.GaussianPyramid(4)
    pool = tf.keras.layers.GlobalAveragePooling2D()
    layer = layers.LevelCascade(pool, [Chance(k) for k in (1, 2, 3)], pyramid, threshold=0.9)
    _, weights = layer([tf.constant(photos), tf.constant(np.log(chance / (1 - chance)))])
    levels, stops = pyramid(photos), np.argmax(weights, axis=1)

    def caption(n: int, k: int) -> str:
        if k == 0:
            return "level 0\nthe finest: stop"
        return f"level {k}\nP = {chance[n, k - 1]:.2f}: {'stop' if k == stops[n] else 'go on'}"

    rows = [
        [Panel(levels[k][n : n + 1], caption(n, k), scale=0.6 * 2**k) for k in range(3, stops[n] - 1, -1)]
        for n in range(len(names))
    ]
    heading = "LevelCascade at inference, threshold 0.9: each sample stops at the first level that is sure"
    save(strip(heading, *rows), "level_cascade")


def gates() -> None:
    layer = layers.ChannelAdaptiveDownsample2D()
    tf.keras.utils.set_random_seed(1)
    photos = np.concatenate([photograph(name, 128) for name in ("astronaut", "coffee", "chelsea", "rocket")])
    layer(photos)
    layer.squeeze_bias.assign([1.0])
    layer.excite_kernel.assign([[-1.4, -2.0, -3.0]])
    names = ["red", "green", "blue"]
    save(visualize.show_gates(layer.gates(photos), names=names), "gates")


def draw() -> None:
    for figure in (gumbel, query, router, cascade, gates):
        figure()
