"""Scenes for fovea.py: garments on a photograph, each in a frame, one of them in a green one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from pasted_garments import FAINT, backgrounds, resizing

SIZES = range(20, 41)  # Pixels of the side of a garment.
FRAME, GAP = 3, 1  # Pixels of a frame, and of the gap between it and the square of the garment.
DARKEST = 40  # Of a garment; so it differs from a black background.
GREEN = (30, 230, 60)
OTHER_COLORS = ((230, 40, 40), (50, 80, 240), (240, 220, 40), (220, 50, 220), (240, 240, 240), (240, 130, 30))
OTHERS = 7 / 512**2  # Garments in frames of other colors, for each pixel of a scene.
SMALLEST = 64  # Side of a scene with one garment.
PLACES = 20  # Places to try for a garment; it is omitted if all of them overlap with another one.


class Scene(NamedTuple):
    image: np.ndarray  # [side, side, 3], 8 bits.
    label: int  # Class of the garment in the green frame.
    center: np.ndarray  # (y, x) of its frame, as a fraction of the scene.


class Scenes:
    """Random scenes of one split of the garments and photographs."""

    def __init__(self, garments: tuple[np.ndarray, np.ndarray], split: str) -> None:
        """Take garments [n, 28, 28] in [0, 1] with their classes, and the split of the photographs."""
        self.garments, self.labels = garments
        # Photographs that are smaller than a scene continue as if mirrored at their borders.
        self.photographs = backgrounds(split)
        self.resizings = {size: resizing(28, size) for size in SIZES}

    def draw(self, side: int, rng: np.random.Generator) -> Scene:
        """Return a scene of `side` by `side` pixels."""
        image = self._background(side, rng)
        others = 0 if side <= SMALLEST else max(1, round(OTHERS * side**2))
        taken: list[tuple[int, int, int]] = []
        label, center = 0, np.zeros(2)
        for number in range(others + 1):
            chosen, size = rng.integers(len(self.garments)), int(rng.choice(SIZES))
            extent = size + 2 * (FRAME + GAP)
            place = free_place(side, extent, taken, rng)
            if place is None:
                continue
            taken.append((*place, extent))
            color = GREEN if number == 0 else OTHER_COLORS[rng.integers(len(OTHER_COLORS))]
            y, x = place
            self._paint(image[y : y + extent, x : x + extent], chosen, color, rng)
            if number == 0:
                label, center = int(self.labels[chosen]), (np.array(place) + extent / 2) / side
        return Scene(image, label, center)

    def several(self, count: int, side: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the images, labels and centers of `count` scenes, the same for the same arguments."""
        rng = np.random.default_rng(seed)
        images, labels, centers = zip(*(self.draw(side, rng) for _ in range(count)))
        return np.stack(images), np.array(labels, np.int32), np.array(centers, np.float32)

    def batches(self, size: int, side: int, rng: np.random.Generator) -> tf.data.Dataset:
        """Return an endless data set of images in [0, 1] and labels."""

        def generate() -> Iterator[Any]:
            while True:
                images, labels, _ = zip(*(self.draw(side, rng) for _ in range(size)))
                yield np.stack(images), np.array(labels, np.int32)

        signature = (tf.TensorSpec([size, side, side, 3], tf.uint8), tf.TensorSpec([size], tf.int32))
        data = tf.data.Dataset.from_generator(generate, output_signature=signature)
        return data.map(lambda images, labels: (as_floats(images), labels)).prefetch(2)

    def _background(self, side: int, rng: np.random.Generator) -> np.ndarray:
        """Return a random part of a photograph with random gains of its colors, half of the time mirrored."""
        photograph = self.photographs[rng.integers(len(self.photographs))]
        rows, columns = (mirrored(length, side, rng) for length in photograph.shape[:2])
        image = photograph[np.ix_(rows, columns)]
        gains = rng.uniform(0.6, 1.1, 3)
        for channel, gain in enumerate(gains):
            table = np.minimum(np.arange(256) * gain, 255).astype(np.uint8)
            image[..., channel] = table[image[..., channel]]
        return image

    def _paint(self, part: np.ndarray, chosen: int, color: tuple[int, int, int], rng: np.random.Generator) -> None:
        """Paint a tinted garment and its frame on a square part of an image."""
        inside = part[FRAME:-FRAME, FRAME:-FRAME].copy()
        part[:] = np.minimum(np.array(color) * rng.uniform(0.8, 1.05), 255)
        part[FRAME:-FRAME, FRAME:-FRAME] = inside
        border = FRAME + GAP
        garment, below = self.garments[chosen], part[border:-border, border:-border]
        matrix = self.resizings[len(below)]
        shade = (matrix @ garment @ matrix.T)[..., np.newaxis]
        matte = (matrix @ (garment > FAINT).astype(np.float32) @ matrix.T)[..., np.newaxis]
        above = (DARKEST + (250 - DARKEST) * shade) * rng.uniform(0.5, 1, 3)
        below[:] = below + matte * (above - below) + 0.5


def as_floats(images: Any) -> tf.Tensor:
    """Return images of 8 bits as numbers from 0 to 1."""
    return tf.cast(images, tf.float32) / 255


def mirrored(length: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return `side` successive indices of an axis that continues mirrored at its ends, in a random direction."""
    start = rng.integers(max(1, length - side + 1))
    indices = np.arange(start, start + side) % (2 * length)
    indices = np.minimum(indices, 2 * length - 1 - indices)
    return indices[::-1] if rng.random() < 0.5 else indices


def free_place(
    side: int, extent: int, taken: list[tuple[int, int, int]], rng: np.random.Generator
) -> tuple[int, int] | None:
    """Return the upper left corner of a random square that overlaps with none that is taken, or None."""
    for y, x in rng.integers(0, side - extent + 1, (PLACES, 2)):
        if all(y + extent <= v or v + n <= y or x + extent <= u or u + n <= x for v, u, n in taken):
            return int(y), int(x)
    return None
