"""Fashion-MNIST for the examples: its garments with their classes, for training, validation and test."""

from __future__ import annotations

import argparse
import gzip
import sys
from pathlib import Path

import numpy as np

GARMENTS = ("top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")

Split = tuple[np.ndarray, np.ndarray]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add `--data` and `--split`."""
    parser.add_argument("--data", type=Path, help="folder with the four idx .gz files (default: Keras downloads them)")
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="images to measure on")


def splits(script: str, options: argparse.Namespace) -> tuple[Split, Split]:
    """Return the garments to train on and those of the chosen split: images [n, 28, 28] in [0, 1] and classes.

    The last sixth of the training images is for validation. With `--quick` and no `--data`, the images are noise.
    """
    if options.quick and options.data is None:
        rng = np.random.default_rng(0)
        noise = rng.random((200, 28, 28), np.float32), rng.integers(len(GARMENTS), size=200).astype(np.int32)
        return noise, noise
    (images, classes), test = load(script, options.data)
    count = len(images) * 5 // 6
    validation = images[count:], classes[count:]
    return (images[:count], classes[:count]), validation if options.split == "validation" else test


def load(script: str, folder: Path | None) -> tuple[Split, Split]:
    """Return images [n, 28, 28] in [0, 1] and classes, for the training and the test part of Fashion-MNIST."""
    try:
        if folder is None:
            import tensorflow as tf

            parts = tf.keras.datasets.fashion_mnist.load_data()
        else:
            parts = [
                [read_idx(folder, f"{part}-{kind}") for kind in ("images-idx3", "labels-idx1")]
                for part in ("train", "t10k")
            ]
    except Exception as error:  # A failed download raises many kinds of errors.
        advice = "Download its four idx .gz files, and name their folder with `--data`."
        sys.exit(f"{script}: cannot load Fashion-MNIST: {error}. {advice}")
    training, test = ((images.astype(np.float32) / 255, labels.astype(np.int32)) for images, labels in parts)
    return training, test


def read_idx(folder: Path, name: str) -> np.ndarray:
    """Return the unsigned bytes of an idx file: two zeros, the type (8), the number of axes, their sizes, the data."""
    content = gzip.decompress((folder / f"{name}-ubyte.gz").read_bytes())
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"{name}-ubyte.gz is not an idx file of unsigned bytes")
    start = 4 + 4 * content[3]
    return np.frombuffer(content, np.uint8, offset=start).reshape(np.frombuffer(content[4:start], ">u4"))
