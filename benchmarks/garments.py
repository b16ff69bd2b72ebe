"""Fashion-MNIST on a canvas: in the center, shifted, or near the corner."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import tensorflow as tf

SIDE = 28
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

Split = tuple[np.ndarray, np.ndarray]


def load(folder: Path | None) -> tuple[Split, Split]:
    """Return the training and the test part as (images in [0, 1], labels), from idx .gz files or from Keras."""
    if folder is None:
        parts = [array for split in tf.keras.datasets.fashion_mnist.load_data() for array in split]
    else:
        parts = [read_idx(folder / f"{name}.gz") for name in FILES]
    images = [part.astype(np.float32) / 255 for part in parts[::2]]
    labels = [part.astype(np.int32) for part in parts[1::2]]
    return (images[0], labels[0]), (images[1], labels[1])


def part(folder: Path | None, train: int, test: int, quick: bool) -> tuple[Split, Split]:
    """Return the first `train` and `test` garments, or synthetic images for a quick run without a folder."""
    if quick and folder is None:
        return synthetic(train, 0), synthetic(test, 1)
    (images, labels), (test_images, test_labels) = load(folder)
    return (images[:train], labels[:train]), (test_images[:test], test_labels[:test])


def read_idx(path: Path) -> np.ndarray:
    """Return the unsigned bytes of an idx file: two zeros, the type (8), the number of axes, their sizes, the data."""
    data = gzip.decompress(path.read_bytes())
    if data[:3] != b"\0\0\x08":
        raise ValueError(f"`path` must be an idx file of unsigned bytes. Received: path={path}")
    axes = data[3]
    sizes = np.frombuffer(data, ">u4", axes, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(sizes)


def synthetic(count: int, seed: int) -> Split:
    """Return images of bars at ten angles, one for each class, for quick runs without the data set."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(10, size=count).astype(np.int32)
    angles = labels[:, None, None] * np.pi / 10
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    across = np.abs(y * np.cos(angles) - x * np.sin(angles))
    images = np.clip(3 - across, 0, 1) + rng.normal(scale=0.1, size=(count, SIDE, SIDE))
    return images.astype(np.float32), labels


def place(images: np.ndarray, canvas: int, corners: np.ndarray) -> np.ndarray:
    """Place images [n, side, side] at `corners` (upper left) on black canvases; return [n, canvas, canvas, 1]."""
    count, side, _ = images.shape
    placed = np.zeros((count, canvas, canvas, 1), np.float32)
    corners = np.broadcast_to(corners, (count, 2))
    for corner in np.unique(corners, axis=0):
        (chosen,) = np.nonzero((corners == corner).all(axis=1))
        y, x = corner
        placed[chosen, y : y + side, x : x + side, 0] = images[chosen]
    return placed


def centred(images: np.ndarray, canvas: int) -> np.ndarray:
    """Return images in the center of a canvas."""
    return place(images, canvas, np.full(2, (canvas - images.shape[1]) // 2))


def shifted(images: np.ndarray, canvas: int, seed: int) -> np.ndarray:
    """Return images at random positions of whole pixels, anywhere on the canvas."""
    margin = (canvas - images.shape[1]) // 2
    corners = np.random.default_rng(seed).integers(0, 2 * margin + 1, size=(len(images), 2))
    return place(images, canvas, corners)


def cornered(images: np.ndarray, canvas: int, margin: int, seed: int) -> np.ndarray:
    """Return images at random positions at most `margin` pixels from the upper left corner on both axes."""
    corners = np.random.default_rng(seed).integers(0, margin + 1, size=(len(images), 2))
    return place(images, canvas, corners)
