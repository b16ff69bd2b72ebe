"""The figures of docs/fovea.md."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from style import Panel, photograph, save, strip

from tfpyramid import layers, ops, visualize


def crops() -> None:
    photo = photograph("astronaut", 512)
    fixation = tf.constant([[0.22, 0.44]])
    levels = layers.FoveatedPyramid(32, 4)([photo, fixation])
    seen = visualize.show_fixations(photo, fixation, 32, 4)
    (axes,) = seen.axes
    seen.canvas.draw()
    drawn = np.asarray(seen.canvas.buffer_rgba())[..., :3] / 255
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
    # A map by hand, in the place of a learned one: how strong edges are in each cell.
    grey = tf.reduce_mean(photos, -1, keepdims=True)
    edges = tf.abs(grey - ops.resize_by(ops.pyr_down(grey), 2.0, grey.shape[1:3]))
    maps = [ops.gaussian_pyramid(edges, 5, kernel="box")[4]]
    maps.append(maps[0] * tf.linspace(1.0, 0.0, maps[0].shape[1])[None, :, None, None])
    maps = tf.concat(maps, -1)
    places = ops.soft_argmax(maps, 0.004)
    weights = tf.transpose(tf.nn.softmax(tf.reshape(maps / 0.004, [2, -1, 2]), 1), [0, 2, 1])
    weights = tf.reshape(weights, [2, 2, *maps.shape[1:3]])
    save(visualize.show_fixations(photos, places, 32, 3, maps=weights), "show_fixations")


def draw() -> None:
    crops()
    fixations()
