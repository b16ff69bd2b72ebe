"""The style of the documentation's figures: that of `tfpyramid.visualize`, and what several figures share."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from skimage import data

from tfpyramid.visualize import _page as page

FOLDER = Path(__file__).resolve().parents[1] / "images"
LARGEST = 195_000  # Bytes of a figure.
LEFT, TOP, GAP, CAPTION = 28, 58, 26, 34  # In pixels.


def photograph(name: str, size: int = 192, corner: tuple[int, int] = (0, 0)) -> np.ndarray:
    """Return a square crop of a photograph of scikit-image, [1, size, size, channels] from 0 to 1."""
    image = np.float32(getattr(data, name)()) / 255
    rows, columns = corner
    image = image[rows : rows + size, columns : columns + size]
    return image[None] if image.ndim == 3 else image[None, :, :, None]


def save(figure: Figure, name: str) -> None:
    """Write a figure as a PNG. One that would be too large gets a palette, which makes it a third as large."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    image = Image.open(stream).convert("RGB")
    path = FOLDER / f"{name}.png"
    for colors in (None, 256):
        (image.quantize(colors) if colors else image).save(path, optimize=True)
        if path.stat().st_size <= LARGEST:
            return
    raise SystemExit(f"{path} has {path.stat().st_size} bytes; at most {LARGEST}")


class Panel:
    """An image with a caption, drawn at `scale` pixels of the figure for each sample."""

    def __init__(self, image: object, caption: str, *, scale: float = 1.0, limit: float | None = None) -> None:
        """`limit` draws a signed image, red above zero and blue below, from -limit to limit."""
        values = np.asarray(image, np.float64)
        values = values[0] if values.ndim == 4 else values
        self.image = values.mean(axis=2) if limit else np.clip(values, 0, 1)
        if self.image.ndim == 3 and self.image.shape[2] == 1:
            self.image = self.image[:, :, 0]
        self.caption, self.limit = caption, limit
        self.height, self.width = (scale * side for side in self.image.shape[:2])

    def draw(self, axes: Axes) -> None:
        low, high, colors = (-self.limit, self.limit, page.SIGNED) if self.limit else (0, 1, "gray")
        axes.imshow(self.image, cmap=colors, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
        page.bare(axes)


def strip(heading: str, *rows: Sequence[Panel]) -> Figure:
    """Draw rows of panels under a title; each panel has its caption, of one or two lines, above it."""
    slots = [[max(panel.width, 6.6 * max(map(len, panel.caption.split("\n")))) for panel in row] for row in rows]
    across = max(sum(slot) + GAP * (len(slot) - 1) for slot in slots)
    across = max(across, 9.4 * len(heading))
    down = TOP + sum(max(panel.height for panel in row) + CAPTION + GAP for row in rows) - GAP / 2
    figure = page.page(across + 2 * LEFT, down)
    page.title(figure, LEFT, heading)
    y = TOP - 12.0
    for row, slot in zip(rows, slots):
        y, x = y + CAPTION, float(LEFT)
        for panel, width in zip(row, slot):
            axes = page.area(figure, x, y, panel.width, panel.height)
            panel.draw(axes)
            axes.set_title(panel.caption, loc="left", fontsize=9, color=page.INK, pad=4)
            x += width + GAP
        y += max(panel.height for panel in row) + GAP
    return figure


def labelled(axes: Axes, x_label: str, y_label: str, heading: str = "") -> Axes:
    """Name the axes of a chart in the package's style."""
    page.plain(axes)
    axes.set_xlabel(x_label, fontsize=10, color=page.PALE)
    axes.set_ylabel(y_label, fontsize=10, color=page.PALE)
    axes.set_title(heading, loc="left", fontsize=10, color=page.INK, pad=8)
    return axes


def restored(level: tf.Tensor, size: Sequence[int]) -> tf.Tensor:
    """Return a level at twice its size by a bicubic: the fixed decoder that the trained layers are trained with."""
    return tf.image.resize(level, size, method="bicubic")


def train(layer: tf.keras.layers.Layer, photos: np.ndarray, steps: int = 150, rate: float = 0.01) -> float:
    """Train a downsampler so that a bicubic restores the photograph; return the PSNR in dB."""
    optimizer = tf.keras.optimizers.Adam(rate)
    target = tf.constant(photos)
    size = target.shape[1:3]
    layer(target)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(restored(layer(target, training=True), size) - target))
        variables = layer.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return loss

    for _ in range(steps):
        step()
    return psnr(layer(target), photos)


def psnr(level: tf.Tensor, photos: np.ndarray) -> float:
    """Return how well a bicubic restores the photograph from a level, in dB."""
    error = tf.reduce_mean(tf.square(restored(level, photos.shape[1:3]) - photos))
    return float(-10 * np.log10(error))
