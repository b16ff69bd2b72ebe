"""The figure of super_resolution.py: crops of photographs, magnified by each contender, and their gains."""

from __future__ import annotations

import numpy as np
from layout import INK, PALE, place, write
from matplotlib.figure import Figure

COLORS = ("#9ca3af", "#2563eb")  # The network without the pyramid, and the pyramid.
WIDTH, MARGIN, GAP, TOP = 840, 24, 8, 96  # In pixels of the figure.
CELL, CROP = 152, 76  # The side of a cell, and of the part of a photograph that it shows.
PLOT = 170  # The height of the axes of gains.
# The upper left corner of the crop of each photograph, (y, x).
CORNERS = {"astronaut": (56, 190), "coffee": (170, 350), "chelsea": (92, 136), "camera": (98, 206)}
ROWS = 3


def draw(images: dict[str, dict[str, np.ndarray]], gains: dict[str, dict[str, list[float]]]) -> Figure:
    """Return the figure.

    Args:
        images: for each photograph, its small version and what each contender makes of it, all of one size.
        gains: for each network and photograph, the gain over Lanczos at 4x in dB, one for each seed.
    """
    rows = dict(list(images.items())[:ROWS])
    height = TOP + len(rows) * (CELL + GAP) + PLOT + 92
    figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100)
    write(figure, MARGIN, 34, "Magnified by 4", size=15, weight="bold")
    note = f"{CROP} × {CROP} pixels of photographs that no network was trained on"
    write(figure, MARGIN, 56, note, size=9.5, color=PALE)
    for row, (name, each) in enumerate(rows.items()):
        for column, (label, image) in enumerate(each.items()):
            x, y = MARGIN + column * (CELL + GAP), TOP + row * (CELL + GAP)
            if row == 0:
                write(figure, x, TOP - 8, label, size=9.5)
            place(figure, x, y, CELL, CELL).imshow(crop(image, name), interpolation="nearest", vmin=0, vmax=1)
    draw_gains(figure, height, gains)
    return figure


def crop(image: np.ndarray, name: str) -> np.ndarray:
    y, x = CORNERS.get(name, (0, 0))
    y, x = min(y, max(image.shape[0] - CROP, 0)), min(x, max(image.shape[1] - CROP, 0))
    return image[y : y + CROP, x : x + CROP]


def draw_gains(figure: Figure, height: int, gains: dict[str, dict[str, list[float]]]) -> None:
    """Draw a bar for each photograph and network, and a point for each seed."""
    top = height - PLOT - 34
    write(figure, MARGIN, top - 16, "PSNR over Lanczos in dB; each dot is a seed", size=9.5)
    axes = place(figure, MARGIN + 24, top, WIDTH - 2 * MARGIN - 24, PLOT, frame=True)
    for k, ((name, photographs), color) in enumerate(zip(gains.items(), COLORS)):
        at = np.arange(len(photographs)) + 0.36 * (k - 0.5)
        axes.bar(at, [np.mean(each) for each in photographs.values()], 0.34, color=color, label=name)
        for x, each in zip(at, photographs.values()):
            axes.plot([x] * len(each), each, ".", color=INK, markersize=4)
    axes.set_xticks(range(len(photographs)), list(photographs), fontsize=9.5)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelcolor=PALE, labelsize=9, length=0)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.legend(loc="lower right", bbox_to_anchor=(1.01, 0.99), fontsize=9.5, edgecolor="none", ncols=2)
