"""The images of scale_robustness.py: garments of any size, anywhere on a black canvas."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfpyramid import ops

CANVAS = 64
TRAINED = (24, 32)  # The smallest and the largest size of the training images.


def on_canvas(garments: np.ndarray, sizes: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Resize garments [n, 28, 28], and place each at random on a black canvas; return [n, side, side, 1]."""
    canvas = np.zeros((len(garments), side, side, 1), np.float32)
    for size in np.unique(sizes):
        (chosen,) = np.nonzero(sizes == size)
        resized = tf.image.resize(garments[chosen, :, :, np.newaxis], (size, size), antialias=True).numpy()
        corners = rng.integers(0, side - size + 1, size=(len(chosen), 2))
        for index, image, (y, x) in zip(chosen, resized, corners):
            canvas[index, y : y + size, x : x + size] = image
    return canvas


def resized_on_canvas(garments: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Make images of TRAINED sizes, and resize each by a step of the pyramid, from an octave up to an octave down.

    So the confidence layers see all sizes, and no garment is drawn at a size that the network was not trained on.
    """
    canvas = np.zeros((len(garments), CANVAS, CANVAS, 1), np.float32)
    images = on_canvas(garments, rng.integers(TRAINED[0], TRAINED[1] + 1, len(garments)), TRAINED[1], rng)
    steps = rng.integers(-2, 3, len(garments))
    for step in range(-2, 3):
        (chosen,) = np.nonzero(steps == step)
        finer = max(step, 0)
        levels = ops.gaussian_pyramid(images[chosen], 1 + abs(step), scale_factor=2**0.5, upsampled_levels=finer)
        resized = levels[0 if finer else -1].numpy()
        side = resized.shape[1]
        corners = rng.integers(0, CANVAS - side + 1, size=(len(chosen), 2))
        for index, image, (y, x) in zip(chosen, resized, corners):
            canvas[index, y : y + side, x : x + side] = image
    return canvas


def blurred(images: np.ndarray, levels: int) -> np.ndarray:
    """Blur images as the upsampled levels of a pyramid are: downsample by some levels, and upsample again."""
    scale_factor = 2 ** (levels / 2)
    level = ops.pyr_down(images, scale_factor=scale_factor)
    return ops.resize_by(level, scale_factor, images.shape[1:3]).numpy()
