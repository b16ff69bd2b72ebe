"""The figures of docs/losses.md."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from skimage import data
from style import Panel, photograph, save, strip

from tfpyramid import layers, losses, metrics, ops, training, visualize


def multi_scale() -> None:
    mask = 1 - np.float32(data.horse()[None, :, 30:370, None][:, :320, :320])
    mask = tf.constant(mask if mask.mean() < 0.5 else 1 - mask)
    levels = ops.gaussian_pyramid(tf.round(ops.pyr_down(mask)), 4)
    panels = [
        Panel(x, f"target of output {k}\n{x.shape[1]} × {x.shape[2]} px, weight {0.5**k:g}", scale=2**k)
        for k, x in enumerate(levels)
    ]
    save(strip("MultiScaleLoss brings one mask to the size of every output", panels), "multi_scale_loss")


def diversity() -> None:
    photos = photograph("astronaut", 160, (0, 150))
    pyramids = {
        "Gaussian": ops.gaussian_pyramid(photos, 3),
        "residuals": ops.laplacian_pyramid(photos, 4)[:3],
        "level 1 negated": [x * (-1) ** k for k, x in enumerate(ops.gaussian_pyramid(photos - 0.5, 3))],
    }
    rows = []
    for name, levels in pyramids.items():
        loss = float(losses.pyramid_diversity_loss(levels)[0])
        signed = 0.5 if min(float(tf.reduce_min(x)) for x in levels) < 0 else None
        rows.append(
            [
                Panel(x, f"{name}: loss {loss:.2f}" if not k else f"level {k}", scale=1.2 * 2**k, limit=signed)
                for k, x in enumerate(levels)
            ]
        )
    save(
        strip("pyramid_diversity_loss: 1 if neighbouring levels are alike, less otherwise", *rows), "pyramid_diversity"
    )


def shift_consistency() -> None:
    photos = photograph("chelsea", 160, (40, 100))
    first, second = metrics.shifted_pair(photos, 24, seed=3)
    difference = tf.abs(first - second)
    panels = [
        Panel(photos, "image\n160 × 160 px", scale=1.3),
        Panel(first, f"first window\n{first.shape[1]} × {first.shape[2]} px", scale=1.3),
        Panel(second, "second window", scale=1.3),
        Panel(tf.reduce_mean(difference, -1, keepdims=True), "difference", scale=1.3),
    ]
    save(strip("shifted_pair(images, max_shift=24): two windows of each image", panels), "shifted_pair")


def gradient_norms() -> None:
    tf.keras.utils.set_random_seed(0)
    photos = np.concatenate([photograph(name, 64, (60, 60)) for name in ("astronaut", "coffee", "chelsea", "rocket")])
    image = tf.keras.Input((None, None, 3))
    levels = layers.LearnablePyramid(4, name="pyramid")(image)
    features = layers.PyramidConv2D(8, activation="relu", name="convs")(levels)
    model = tf.keras.Model(image, tf.keras.layers.Conv2D(3, 3, padding="same")(layers.UpsampleConcat()(features)))
    model.compile(tf.keras.optimizers.Adam(3e-3), "mse")
    monitor = training.PyramidMonitor(sample=(photos, photos))
    history = model.fit(photos, photos, epochs=25, verbose=0, callbacks=[monitor]).history
    save(visualize.show_gradient_norms(history), "gradient_norms")


def draw() -> None:
    for figure in (multi_scale, diversity, shift_consistency, gradient_norms):
        figure()
