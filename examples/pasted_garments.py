"""Scenes with exact masks and boxes: garments of Fashion-MNIST pasted on photographs and textures of scikit-image.

`segmentation.py` and `detection.py` train on them. Each garment gets a size, a color and a place of its own, so that
no two garments of a scene overlap. Training, validation and test use different garments, and different parts of the
photographs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from skimage import color, data

PHOTOGRAPHS = (
    *("astronaut", "brick", "camera", "coffee", "grass", "gravel"),
    *("hubble_deep_field", "immunohistochemistry", "moon", "retina", "rocket"),
)
SIZES = (14, 48)  # Pixels of the longer side of the square that a garment is resized to.
FAINT = 10 / 255  # Fainter pixels are background: Fashion-MNIST has specks of them around the garments.
ATTEMPTS = 12  # Places to try for a garment; it is omitted if all of them overlap with another one.


class Scenes(NamedTuple):
    """Images with what is on them. Arrays of objects have `most` places; an unused place has class -1 and zeros.

    Boxes are (y_min, x_min, y_max, x_max) in pixels, and tight: rows y_min to y_max - 1 have a pixel of the object.
    """

    images: np.ndarray  # [n, side, side, 3], 8 bits.
    masks: np.ndarray  # [n, side, side], 0 for the background, 1 + class for a garment.
    boxes: np.ndarray  # [n, most, 4], float32.
    classes: np.ndarray  # [n, most], 0 to 9, or -1.
    sizes: np.ndarray  # [n, most], the side of the square of the garment, in pixels.


def backgrounds(split: str) -> list[np.ndarray]:
    """Return color images of 8 bits: the left half of each photograph for training, a quarter for each other.

    Args:
        split: "training", "validation" or "test".
    """
    start, end = {"training": (0, 2), "validation": (2, 3), "test": (3, 4)}[split]
    found = []
    for name in PHOTOGRAPHS:
        image = getattr(data, name)()
        image = color.gray2rgb(image) if image.ndim == 2 else image
        quarter = image.shape[1] // 4
        found.append(np.ascontiguousarray(image[:, start * quarter : end * quarter]))
    return found


def scenes(
    garments: tuple[np.ndarray, np.ndarray],
    photographs: list[np.ndarray],
    count: int,
    *,
    seed: int,
    side: int = 96,
    most: int = 4,
    sizes: tuple[int, int] = SIZES,
) -> Scenes:
    """Return `count` scenes, the same for the same arguments.

    Args:
        garments: images [n, 28, 28] in [0, 1] and their classes.
        photographs: the result of `backgrounds`.
        seed: of all random choices.
        side: height and width of a scene, at most that of the smallest photograph.
        most: largest number of garments in a scene; the number is uniform from 1, less those without a free place.
        sizes: smallest and largest size of a garment, in pixels; the logarithm of the size is uniform.
    """
    rng = np.random.default_rng(seed)
    images = crops(photographs, count, side, rng)
    masks = np.zeros((count, side, side), np.uint8)
    boxes = np.zeros((count, most, 4), np.float32)
    extents, corners, used = places(count, side, most, sizes, rng)
    chosen = rng.integers(len(garments[0]), size=(count, most))
    tints = rng.uniform(0.25, 1, (count, most, 3)).astype(np.float32)
    labels = garments[1][chosen].astype(np.int32)
    for size in np.unique(extents[used]):
        scene, place = np.nonzero(used & (extents == size))
        looks = garments[0][chosen[scene, place]]
        matrix = resizing(looks.shape[1], size)
        shades = matrix @ looks @ matrix.T
        mattes = matrix @ (looks > FAINT).astype(np.float32) @ matrix.T  # Opacity; soft edges look less artificial.
        for i, k, shade, matte in zip(scene, place, shades, mattes):
            y, x = corners[i, k]
            solid = matte >= 0.5
            if not solid.any():  # Thin straps can vanish.
                used[i, k] = False
                continue
            part = images[i, y : y + size, x : x + size]
            garment = (60 + 195 * shade)[:, :, np.newaxis] * tints[i, k]
            part[:] = part + matte[:, :, np.newaxis] * (garment - part) + 0.5
            masks[i, y : y + size, x : x + size][solid] = 1 + labels[i, k]
            boxes[i, k] = box(solid) + np.array([y, x, y, x])
    return Scenes(images, masks, boxes, np.where(used, labels, -1), np.where(used, extents, 0).astype(np.int32))


def crops(photographs: list[np.ndarray], count: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return random parts of random photographs, half of them mirrored."""
    found = np.empty((count, side, side, 3), np.uint8)
    for i, k in enumerate(rng.integers(len(photographs), size=count)):
        y, x = rng.integers(np.array(photographs[k].shape[:2]) - side + 1)
        found[i] = photographs[k][y : y + side, x : x + side]
        if rng.random() < 0.5:
            found[i] = found[i, :, ::-1].copy()
    return found


def places(
    count: int, side: int, most: int, sizes: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the sizes [count, most] of objects, their upper left corners, and the places that are used."""
    low, high = np.log(sizes[0] - 0.5), np.log(sizes[1] + 0.5)
    extents = np.clip(np.rint(np.exp(rng.uniform(low, high, (count, most)))), *sizes).astype(int)
    wanted = np.arange(most) < rng.integers(1, most + 1, size=(count, 1))
    corners = np.zeros((count, most, 2), int)
    used = np.zeros((count, most), bool)
    every = np.arange(count)
    for k in range(most):
        extent = extents[:, k, np.newaxis]
        tried = rng.integers(0, side - extent[:, :, np.newaxis] + 1, size=(count, ATTEMPTS, 2))
        other, reach = corners[:, np.newaxis, :k], extents[:, np.newaxis, :k, np.newaxis]
        new = tried[:, :, np.newaxis]
        apart = ((new + extent[:, np.newaxis, np.newaxis] <= other) | (new >= other + reach)).any(axis=-1)
        free = (apart | ~used[:, np.newaxis, :k]).all(axis=-1)
        corners[:, k] = tried[every, free.argmax(axis=1)]
        used[:, k] = wanted[:, k] & free.any(axis=1)
    return extents, corners, used


def resizing(old: int, new: int) -> np.ndarray:
    """Return the matrix [new, old] of linear interpolation, antialiased where it makes smaller."""
    scale = old / new
    center = (np.arange(new)[:, np.newaxis] + 0.5) * scale - 0.5
    weights = np.maximum(0, 1 - np.abs(np.arange(old) - center) / max(1.0, scale))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def box(solid: np.ndarray) -> np.ndarray:
    """Return (y_min, x_min, y_max, x_max) of the pixels that are True."""
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])
