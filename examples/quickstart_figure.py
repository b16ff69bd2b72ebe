"""The figure of the quickstart, drawn from what quickstart.py computed; nothing here needs TensorFlow.

`draw` is all that quickstart.py calls. Everything is placed in pixels from the upper left corner of a page of
`WIDTH` x `HEIGHT`: pictures and axes by `picture` and `area`, words by `write`. From top to bottom:

- the Gaussian and the Laplacian pyramid of a photograph, and a pyramid of odd sides;
- the photograph of odd sides from its bands, a learned kernel before and after training, and what it lets through;
- test images under what the classifier calls them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH, HEIGHT, MARGIN, GAP = 1800, 1310, 60, 36  # Of the figure, in pixels.
THIRD = (WIDTH - 2 * MARGIN - 2 * GAP) / 3
INK, PALE, GOOD, BAD = "#1f2430", "#6b7280", "#15803d", "#c2410c"
CHANNELS = {"red": "#dc2626", "green": "#16a34a", "blue": "#2563eb"}


def draw(
    photographs: dict[str, dict[str, Any]],
    before: np.ndarray,
    after: np.ndarray,
    test: tuple[np.ndarray, np.ndarray],
    answers: np.ndarray,
    classes: list[str],
) -> Figure:
    """Return the figure: pyramids above, what the learnable one learned in the middle, answers below.

    Args:
        photographs: What `decompose` returned for "astronaut" and "retina".
        before: The kernel [rows, columns, 3, 3] between the two finest levels, before training.
        after: That kernel after training.
        test: Images [n, height, width, 3] and their classes [n].
        answers: The probability [n, classes] that the model gives each class.
        classes: The names of the classes.
    """
    figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100)
    write(figure, MARGIN, 68, "Image pyramids that learn", size=23, weight="bold")
    write(figure, MARGIN, 98, "tfpyramid quickstart", size=13, color=PALE)

    draw_pyramids(figure, 196, **photographs)
    square = (2 * THIRD - GAP) / 3
    retina = photographs["retina"]
    note = f"from its six Laplacian bands, exact to {retina['error']:.1e}"
    picture(figure, MARGIN, 650, square, retina["reconstruction"], "The retina again", note)
    limit = max(np.abs(before).max(), np.abs(after).max())
    x = MARGIN + square + GAP
    draw_kernel(figure, x, 650, square, before, limit, "Kernel before training", "the Gaussian, each colour apart")
    x += square + GAP
    draw_kernel(figure, x, 650, square, after, limit, "Kernel after training", "same scale, red above zero, blue below")
    draw_response(figure, MARGIN + 2 * (THIRD + GAP), 650, THIRD, square, before, after)
    draw_answers(figure, 1105, *test, answers, classes)
    return figure


def draw_pyramids(figure: Figure, y: float, astronaut: dict[str, Any], retina: dict[str, Any]) -> None:
    *residuals, lowpass = astronaut["laplacian"]
    # Each residual by its own contrast: the finest would be all grey beside the coarsest.
    visible = [0.5 + 0.5 * band / np.percentile(np.abs(band), 99.5) for band in residuals]
    sides = ", ".join(str(len(level)) for level in retina["gaussian"])
    panels = [
        ("Gaussian pyramid", "each level blurred, and every second sample kept", astronaut["gaussian"]),
        ("Laplacian pyramid", "what the next level lacks; contrast stretched about mid-grey", [*visible, lowpass]),
        ("Odd sides are no trouble", f"a retina of {sides} samples a side", retina["gaussian"]),
    ]
    for k, (title, note, levels) in enumerate(panels):
        picture(figure, MARGIN + k * (THIRD + GAP), y, THIRD, mosaic(levels), title, note)


def draw_kernel(
    figure: Figure, x: float, y: float, width: float, kernel: np.ndarray, limit: float, title: str, note: str
) -> None:
    """Draw a kernel [rows, columns, 3, 3] as nine tiles, from the channel at the left to the channel below."""
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
    """Draw how much of horizontal waves a kernel lets through, from each channel to the same channel."""
    axes = area(figure, x + 44, y, width - 54, height)
    waves = np.linspace(0, 0.5, 201)
    basis = np.exp(-2j * np.pi * np.outer(waves, np.arange(len(before))))
    axes.axvspan(0.25, 0.5, color="#f3f4f6")
    for k, (name, color) in enumerate(CHANNELS.items()):
        gain = np.abs(basis @ after[:, :, k, k].sum(axis=0))
        axes.plot(waves, gain, color=color, linewidth=2, label=f"after, {name}")
    gain = np.abs(basis @ before[:, :, 0, 0].sum(axis=0))
    axes.plot(waves, gain, "--", color=INK, linewidth=2, label="before")
    # Below the axes: how the curves run differs from training to training.
    axes.legend(frameon=False, fontsize=10, labelcolor=INK, loc="upper center", bbox_to_anchor=(0.46, -0.06), ncols=4)
    remark = "folds back when every\nsecond sample is kept"
    axes.text(0.98, 0.97, remark, size=11, color=PALE, ha="right", va="top", transform=axes.transAxes)
    axes.set_xlim(0, 0.5)
    axes.set_ylim(0)
    axes.tick_params(labelsize=10, color=PALE, labelcolor=PALE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    write(figure, x, y - 38, "What the kernel lets through", size=14, weight="bold")
    write(figure, x, y - 14, "gain of each colour to itself, over cycles per sample, horizontally", size=11, color=PALE)


def draw_answers(
    figure: Figure, y: float, images: np.ndarray, labels: np.ndarray, answers: np.ndarray, classes: list[str]
) -> None:
    """Draw ten test images with what the model calls them, two of its mistakes among them if it made any."""
    right = answers.argmax(axis=1) == labels
    hits, misses = np.flatnonzero(right), np.flatnonzero(~right)
    shown = [*hits[: 10 - min(2, len(misses))], *misses][:10]
    gap = 24
    side = (WIDTH - 2 * MARGIN - 9 * gap) / 10
    note = f"{right.mean():.1%} of {len(right)} are right, among {len(classes)} classes"
    if len(misses):
        note += "; mistakes in orange, the truth in grey"
    for k, index in enumerate(shown):
        x = MARGIN + k * (side + gap)
        heading = ("Test images, and what the model calls them", note) if k == 0 else ("", "")
        picture(figure, x, y, side, images[index], *heading, interpolation="nearest")
        write(figure, x, y + side + 20, classes[answers[index].argmax()], size=11, color=GOOD if right[index] else BAD)
        if not right[index]:
            write(figure, x, y + side + 38, classes[labels[index]], size=11, color=PALE)


def picture(
    figure: Figure, x: float, y: float, width: float, image: np.ndarray, title: str, note: str, **style: Any
) -> Axes:
    """Put an image with its upper left corner at (x, y), in pixels, and a title and a note above it."""
    axes = area(figure, x, y, width, width * image.shape[0] / image.shape[1])
    axes.imshow(image.clip(0, 1) if image.ndim == 3 else image, aspect="auto", **style)
    axes.set_axis_off()
    write(figure, x, y - 38, title, size=14, weight="bold")
    write(figure, x, y - 14, note, size=11, color=PALE)
    return axes


def area(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    return figure.add_axes((x / WIDTH, 1 - (y + height) / HEIGHT, width / WIDTH, height / HEIGHT))


def write(figure: Figure, x: float, y: float, text: str, color: str = INK, **style: Any) -> None:
    figure.text(x / WIDTH, 1 - y / HEIGHT, text, color=color, **style)


def mosaic(levels: list[np.ndarray]) -> np.ndarray:
    """Return the finest level with the others in a column to its right, on white."""
    height, width, channels = levels[0].shape
    gap = width // 160
    left, top = width + gap, 0
    canvas = np.ones((height, left + levels[1].shape[1], channels), np.float32)
    canvas[:, :width] = levels[0]
    for level in levels[1:]:
        canvas[top : top + level.shape[0], left : left + level.shape[1]] = level
        top += level.shape[0] + gap
    return canvas
