"""The figure of quickstart.py; this file does not need TensorFlow.

quickstart.py calls `draw`. All positions are pixels from the upper left corner of a page of `WIDTH` x `HEIGHT`:
`picture` and `area` place images and axes, `write` places text. From top to bottom, the figure shows

- the Gaussian and the Laplacian pyramid of a photograph, and the pyramid of a photograph with odd sides;
- a reconstructed photograph, a learned kernel before and after training, and its frequency response;
- test images with their predicted classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from layout import INK, PALE, place, write
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH, HEIGHT, MARGIN, GAP = 1800, 1310, 60, 36  # In pixels of the figure.
THIRD = (WIDTH - 2 * MARGIN - 2 * GAP) / 3
GOOD, BAD = "#15803d", "#c2410c"
CHANNELS = {"red": "#dc2626", "green": "#16a34a", "blue": "#2563eb"}


def draw(
    photographs: dict[str, dict[str, Any]],
    before: np.ndarray,
    after: np.ndarray,
    test: tuple[np.ndarray, np.ndarray],
    answers: np.ndarray,
    classes: list[str],
) -> Figure:
    """Return the figure: pyramids in the first row, the learned kernel in the second, predictions in the third.

    Args:
        photographs: the results of `decompose` for "astronaut" and "retina".
        before: the kernel [rows, columns, 3, 3] between the two finest levels, before training.
        after: the same kernel after training.
        test: images [n, height, width, 3] and their classes [n].
        answers: predicted probabilities [n, classes].
        classes: the names of the classes.
    """
    figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100)
    write(figure, MARGIN, 68, "Image pyramids that learn", size=23, weight="bold")
    write(figure, MARGIN, 98, "tfpyramid quickstart", size=13, color=PALE)

    draw_pyramids(figure, 196, **photographs)
    square = (2 * THIRD - GAP) / 3
    retina = photographs["retina"]
    note = f"from six Laplacian bands, error at most {retina['error']:.1e}"
    picture(figure, MARGIN, 650, square, retina["reconstruction"], "Reconstructed retina", note)
    limit = max(np.abs(before).max(), np.abs(after).max())
    x = MARGIN + square + GAP
    draw_kernel(figure, x, 650, square, before, limit, "Kernel before training", "a Gaussian for each color separately")
    x += square + GAP
    note = "same scale; red is positive, blue negative"
    draw_kernel(figure, x, 650, square, after, limit, "Kernel after training", note)
    draw_response(figure, MARGIN + 2 * (THIRD + GAP), 650, THIRD, square, before, after)
    draw_answers(figure, 1105, *test, answers, classes)
    return figure


def draw_pyramids(figure: Figure, y: float, astronaut: dict[str, Any], retina: dict[str, Any]) -> None:
    *residuals, lowpass = astronaut["laplacian"]
    # Stretch each band separately, because the finest band has much less contrast than the coarsest.
    visible = [0.5 + 0.5 * band / np.percentile(np.abs(band), 99.5) for band in residuals]
    sides = ", ".join(str(len(level)) for level in retina["gaussian"])
    panels = [
        ("Gaussian pyramid", "blur, then keep every second sample", astronaut["gaussian"]),
        ("Laplacian pyramid", "the details that the next level loses; gray is zero", [*visible, lowpass]),
        ("Any size, also odd sides", f"levels with sides of {sides} pixels", retina["gaussian"]),
    ]
    for k, (title, note, levels) in enumerate(panels):
        picture(figure, MARGIN + k * (THIRD + GAP), y, THIRD, mosaic(levels), title, note)


def draw_kernel(
    figure: Figure, x: float, y: float, width: float, kernel: np.ndarray, limit: float, title: str, note: str
) -> None:
    """Draw a kernel [rows, columns, 3, 3] as nine tiles: a row for each input channel, a column for each output."""
    size = len(kernel)
    tiles = kernel.transpose(2, 0, 3, 1).reshape(3 * size, 3 * size)
    axes = picture(figure, x, y, width, tiles, title, note, cmap="RdBu_r", vmin=-limit, vmax=limit)
    for edge in (size - 0.5, 2 * size - 0.5):
        axes.axhline(edge, color="white", linewidth=4)
        axes.axvline(edge, color="white", linewidth=4)
    for k, (name, color) in enumerate(CHANNELS.items()):
        middle = (k + 0.5) * width / 3
        write(figure, x + middle, y + width + 18, f"to {name}", size=10, color=color, ha="center")
        write(figure, x - 6, y + middle, f"from {name}", size=10, color=color, ha="right", va="center", rotation=90)


def draw_response(
    figure: Figure, x: float, y: float, width: float, height: float, before: np.ndarray, after: np.ndarray
) -> None:
    """Draw the horizontal frequency response of a kernel, from each channel to the same channel."""
    axes = place(figure, x + 44, y, width - 54, height, frame=True)
    waves = np.linspace(0, 0.5, 201)
    basis = np.exp(-2j * np.pi * np.outer(waves, np.arange(len(before))))
    axes.axvspan(0.25, 0.5, color="#f3f4f6")
    for k, (name, color) in enumerate(CHANNELS.items()):
        gain = np.abs(basis @ after[:, :, k, k].sum(axis=0))
        axes.plot(waves, gain, color=color, linewidth=2, label=f"after, {name}")
    gain = np.abs(basis @ before[:, :, 0, 0].sum(axis=0))
    axes.plot(waves, gain, "--", color=INK, linewidth=2, label="before")
    # Below the axes, because the curves may cover any corner.
    axes.legend(frameon=False, fontsize=10, labelcolor=INK, loc="upper center", bbox_to_anchor=(0.46, -0.06), ncols=4)
    remark = "these frequencies alias\nafter downsampling by 2"
    axes.text(0.98, 0.97, remark, size=11, color=PALE, ha="right", va="top", transform=axes.transAxes)
    axes.set_xlim(0, 0.5)
    axes.set_ylim(0)
    axes.tick_params(labelsize=10, color=PALE, labelcolor=PALE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    write(figure, x, y - 38, "Frequency response of the kernel", size=14, weight="bold")
    write(figure, x, y - 14, "gain within each color, over cycles per pixel (horizontal)", size=11, color=PALE)


def draw_answers(
    figure: Figure, y: float, images: np.ndarray, labels: np.ndarray, answers: np.ndarray, classes: list[str]
) -> None:
    """Draw ten test images with their predicted classes; two of them are mistakes, if there are any."""
    right = answers.argmax(axis=1) == labels
    hits, misses = np.flatnonzero(right), np.flatnonzero(~right)
    shown = [*hits[: 10 - min(2, len(misses))], *misses][:10]
    gap = 24
    side = (WIDTH - 2 * MARGIN - 9 * gap) / 10
    note = f"accuracy {right.mean():.1%} on {len(right)} images of {len(classes)} classes"
    if len(misses):
        note += "; mistakes in orange, with the true class in gray"
    for k, index in enumerate(shown):
        x = MARGIN + k * (side + gap)
        heading = ("Test images and predictions", note) if k == 0 else ("", "")
        picture(figure, x, y, side, images[index], *heading, interpolation="nearest")
        write(figure, x, y + side + 20, classes[answers[index].argmax()], size=11, color=GOOD if right[index] else BAD)
        if not right[index]:
            write(figure, x, y + side + 38, classes[labels[index]], size=11, color=PALE)


def picture(
    figure: Figure, x: float, y: float, width: float, image: np.ndarray, title: str, note: str, **style: Any
) -> Axes:
    """Draw an image with its upper left corner at (x, y), and a title and a note above it."""
    axes = place(figure, x, y, width, width * image.shape[0] / image.shape[1])
    axes.imshow(image.clip(0, 1) if image.ndim == 3 else image, aspect="auto", **style)
    write(figure, x, y - 38, title, size=14, weight="bold")
    write(figure, x, y - 14, note, size=11, color=PALE)
    return axes


def mosaic(levels: list[np.ndarray]) -> np.ndarray:
    """Return an image of all levels on white: the finest at the left, the others in a column to its right."""
    height, width, channels = levels[0].shape
    gap = width // 160
    left, top = width + gap, 0
    canvas = np.ones((height, left + levels[1].shape[1], channels), np.float32)
    canvas[:, :width] = levels[0]
    for level in levels[1:]:
        canvas[top : top + level.shape[0], left : left + level.shape[1]] = level
        top += level.shape[0] + gap
    return canvas
