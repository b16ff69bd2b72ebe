"""The figures of docs/fovea.md."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from style import Panel, photograph, save, strip

from tfpyramid import layers, ops, visualize

TEMPERATURE = 0.04


def crops() -> None:
    photo = photograph("astronaut", 512)
    fixation = tf.constant([[0.22, 0.44]])
    levels = layers.FoveatedPyramid(32, 4)([photo, fixation])
    seen = visualize.show_fixations(photo, fixation, 32, 4)
    (axes,) = seen.axes
    canvas = FigureCanvasAgg(seen)
    canvas.draw()
    drawn = np.asarray(canvas.buffer_rgba())[..., :3] / 255
    box = axes.get_window_extent()
    height = len(drawn)
    drawn = drawn[height - round(box.y1) : height - round(box.y0), round(box.x0) : round(box.x1)]
    panels = [Panel(drawn, "512 × 512 pixels, squares of 4 crops")]
    panels += [
        Panel(level, f"crop {k}: {32 * 2**k} pixels wide,\n32 × 32 samples", scale=4) for k, level in enumerate(levels)
    ]
    save(strip("FoveatedPyramid: crops of one size around one fixation", panels), "foveated_pyramid")


def fixations() -> None:
    photos = tf.concat([photograph("astronaut", 400), photograph("coffee", 400)], 0)
    # Two maps by hand, in the place of learned ones: how red a cell is, and how bright.
    cells = ops.gaussian_pyramid(photos, 5, kernel="box")[4]
    red, green, blue = tf.unstack(cells, axis=-1)
    maps = tf.stack([red - (green + blue) / 2, tf.minimum(tf.minimum(red, green), blue)], -1)
    places = ops.soft_argmax(maps, TEMPERATURE)
    weights = tf.nn.softmax(tf.reshape(maps / TEMPERATURE, [2, -1, 2]), 1)
    weights = tf.reshape(tf.transpose(weights, [0, 2, 1]), [2, 2, *maps.shape[1:3]])
    save(visualize.show_fixations(photos, places, 32, 3, maps=weights), "show_fixations")


def draw() -> None:
    crops()
    fixations()
