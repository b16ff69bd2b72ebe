"""Scenes to search: a garment of Fashion-MNIST in a frame, somewhere on a photograph among garments without one.

`fovea.py` asks what is in the frame. Garments, textures and photographs are those of one split: no photograph of
scikit-image is used for two of training, validation and test.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pasted_garments
from skimage import color, data, transform

PHOTOGRAPHS = {
    "training": (
        *("astronaut", "brick", "cell", "coins", "gravel"),
        *("hubble_deep_field", "immunohistochemistry", "retina", "rocket"),
    ),
    "validation": ("coffee", "grass", "moon"),
    "test": ("camera", "cat", "stereo_motorcycle"),
}
LEAST = 640  # Shorter side of a photograph; smaller ones are magnified, so that scenes of 512 pixels differ.
SIZES = (20, 40)  # Pixels of the longer side of a garment.
FRAME = np.uint8([60, 255, 120])
MARGIN, THICK = 1, 2  # Pixels between a garment and its frame, and of the frame.
EDGE = MARGIN + THICK


class Scenes(NamedTuple):
    images: np.ndarray  # [n, side, side, 3], 8 bits.
    classes: np.ndarray  # [n], of the garment in the frame.
    centers: np.ndarray  # [n, 2], its (y, x) in [0, 1] of the image. Not for training.


def photographs(split: str) -> list[np.ndarray]:
    """Return the color images of a split, with 8 bits."""
    found = []
    for name in PHOTOGRAPHS[split]:
        image = getattr(data, name)()
        image = image[0] if isinstance(image, tuple) else image  # The left view.
        image = color.gray2rgb(image) if image.ndim == 2 else image
        scale = max(1.0, LEAST / min(image.shape[:2]))
        sides = [round(scale * side) for side in image.shape[:2]]
        large = np.uint8(np.rint(255 * transform.resize(image, sides, order=3).clip(0, 1))) if scale > 1 else image
        found.append(large)
    return found


def scenes(
    garments: tuple[np.ndarray, np.ndarray],
    backgrounds: list[np.ndarray],
    count: int,
    side: int,
    others: int,
    rng: np.random.Generator,
) -> Scenes:
    """Return random scenes, the same for the same arguments.

    Args:
        garments: images [n, 28, 28] in [0, 1] and their classes.
        backgrounds: the result of `photographs`.
        count: number of scenes.
        side: height and width of a scene.
        others: largest number of cards without a frame, half of them with garments; fewer if there is no free place.
        rng: generator of all random choices.
    """
    images = pasted_garments.crops(backgrounds, count, side, rng)
    reach = (SIZES[0] + 2 * EDGE, SIZES[1] + 2 * EDGE)
    extents, corners, used = pasted_garments.places(count, side, 1 + others, reach, rng)
    chosen = rng.integers(len(garments[0]), size=extents.shape)
    tints = rng.uniform(0.5, 1, (*extents.shape, 3)).astype(np.float32)
    for i, k in zip(*np.nonzero(used)):
        size, (y, x) = extents[i, k] - 2 * EDGE, corners[i, k]
        if k == 0:
            frame(images[i, y : y + extents[i, k], x : x + extents[i, k]])
        part = images[i, y + EDGE : y + EDGE + size, x + EDGE : x + EDGE + size]
        if k % 2:
            part[:] = texture(backgrounds, size, rng)
        else:
            paste(part, garments[0][chosen[i, k]], tints[i, k])
    centers = (corners[:, 0] + extents[:, :1] / 2) / side
    return Scenes(images, garments[1][chosen[:, 0]].astype(np.int32), centers.astype(np.float32))


def frame(part: np.ndarray) -> None:
    """Draw a frame at the edges of a part of an image."""
    for edge in (part[:THICK], part[-THICK:], part[:, :THICK], part[:, -THICK:]):
        edge[:] = FRAME


def paste(part: np.ndarray, look: np.ndarray, tint: np.ndarray) -> None:
    """Draw a garment on a black card on a part of an image."""
    matrix = pasted_garments.resizing(look.shape[0], len(part))
    part[:] = 255 * (matrix @ look @ matrix.T)[:, :, np.newaxis] * tint + 0.5


def texture(backgrounds: list[np.ndarray], size: int, rng: np.random.Generator) -> np.ndarray:
    """Return a square of one color, of stripes of two colors, or of a photograph."""
    kind = rng.integers(3)
    if kind == 2:
        return pasted_garments.crops(backgrounds, 1, size, rng)[0]
    first, second = rng.integers(256, size=(2, 3))
    stripes = (np.arange(size) // rng.integers(2, 6)) % 2 * kind
    return np.uint8(np.where(stripes[:, np.newaxis, np.newaxis], second, first) + np.zeros((1, size, 1), int))
