"""show_fixations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfpyramid import _checks
from tfpyramid.visualize import _page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LONGEST, LEFT, TOP, GAP, LABEL = 240, 24, 52, 20, 16  # In pixels.
MOST = 8  # Images in a figure.


def show_fixations(
    images: Any,
    fixations: Any,
    size: int,
    num_levels: int,
    *,
    scale_factor: float = 2.0,
    maps: Any = None,
) -> Figure:
    """Draw images with their fixations, and the squares that the crops of `FoveatedPyramid` cover.

    Fixations are numbered in their order, 1, 2, 3, and each has its color. The smallest square around a fixation is
    the finest crop. One outside the image is drawn as a cross at its border.

    Args:
        images: array or tensor [batch, height, width, channels] with 1 or 3 channels. Values from 0 to 1 are drawn
            unchanged; any other range is mapped to 0 to 1.
        fixations: array or tensor [batch, 2] or [batch, n, 2]: (y, x) as fractions of the image, as `FoveatedPyramid`
            takes them. Those that are NaN are not drawn.
        size: rows and columns of a crop, from 1 to 1024.
        num_levels: number of crops, from 1 to 64.
        scale_factor: that of the pyramid, greater than 1 and at most 1024.
        maps: None, or an array or tensor [batch, n, rows, columns], which is drawn below each image, one map for each
            fixation: the result of `FixationPredictor.fixation_maps`.

    Returns:
        A `matplotlib.figure.Figure`. It shows at most 8 images, and its title says so if there are more.

    Raises:
        ValueError: if an argument breaks a rule above.
        ImportError: if matplotlib is not installed.

    Example:
        >>> images = np.random.default_rng(0).random([2, 96, 128, 3])
        >>> figure = visualize.show_fixations(images, [[0.3, 0.4], [0.8, 0.6]], size=16, num_levels=3)
        >>> figure.savefig(os.path.join(folder, "fixations.png"))
    """
    images = _images(images)
    fixations = _fixations(fixations, len(images))
    size = _checks.integer("size", size, 1, "the rows and columns of a crop", maximum=_checks.LARGEST)
    num_levels = _checks.num_levels(num_levels)
    scale_factor = _checks.scale_factor(scale_factor)
    count = fixations.shape[1]
    maps = None if maps is None else _maps(maps, (len(images), count))

    shown = min(len(images), MOST)
    height, width = images.shape[1:3]
    scale = LONGEST / max(height, width)
    down, across = max(scale * height, 4.0), max(scale * width, 4.0)
    levels = f"{_page.counted(num_levels, 'crop')} of {size} by {size}"
    heading = f"{_page.counted(count, 'fixation')}, {levels}, {_page.counted(len(images), 'image', MOST)}"
    rows = 1 if maps is None else 1 + count
    figure = _page.page(
        max(2 * LEFT + shown * (across + GAP) - GAP, 9.6 * len(heading)), TOP + rows * (down + GAP + LABEL) - LABEL
    )
    for k in range(shown):
        x = LEFT + k * (across + GAP)
        axes = _page.area(figure, x, TOP, across, down)
        axes.imshow(images[k], cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        _page.bare(axes)
        axes.set_xlim(-0.5, width - 0.5)
        axes.set_ylim(height - 0.5, -0.5)
        sides = [size * scale_factor**level for level in range(num_levels)]
        for n, fixation in enumerate(fixations[k]):
            _draw(axes, n, fixation * [height, width] - 0.5, sides, (height, width))
        for n in range(rows - 1):
            axes = _page.area(figure, x, TOP + (n + 1) * (down + GAP + LABEL), across, down)
            axes.imshow(maps[k, n], cmap="gray", vmin=0, interpolation="nearest", aspect="auto")
            _page.bare(axes)
            axes.set_title(f"map {n + 1}", loc="left", fontsize=9, color=_color(n), pad=4)
    _page.title(figure, LEFT, heading)
    return figure


def _draw(axes: Axes, n: int, center: np.ndarray, sides: list[float], size: tuple[int, int]) -> None:
    """Draw the squares around a fixation in pixels, and its number."""
    from matplotlib import patheffects
    from matplotlib.patches import Rectangle

    if not np.isfinite(center).all():
        return
    # A dark edge keeps the lines visible on bright images.
    edge: list[patheffects.AbstractPathEffect] = [
        patheffects.withStroke(linewidth=2.6, foreground=_page.INK, alpha=0.6)
    ]
    y, x = center
    for side in sides:
        square = Rectangle((x - side / 2, y - side / 2), side, side, fill=False, linewidth=1.4, edgecolor=_color(n))
        square.set_path_effects(edge)
        axes.add_patch(square)
    inside = np.clip(center, -0.5, np.array(size) - 0.5)
    marker = "o" if np.array_equal(inside, center) else "X"
    axes.plot(*inside[::-1], marker, color=_color(n), markersize=5, markeredgecolor="white", clip_on=False, zorder=3)
    side = -1 if inside[1] > 0.8 * size[1] else 1  # Keep the number inside the image.
    lower = -1 if inside[0] < 0.2 * size[0] else 1
    number = axes.annotate(
        str(n + 1),
        inside[::-1],
        xytext=(7 * side, 7 * lower),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=9,
        color="white",
    )
    number.set_path_effects([patheffects.withStroke(linewidth=2, foreground=_page.INK)])


def _color(n: int) -> str:
    return _page.COLORS[n % len(_page.COLORS)]


def _images(value: Any) -> np.ndarray:
    rule = "images [batch, height, width, channels] with 1 or 3 channels"
    images = _page.numbers("images", value, rule)
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        raise ValueError(f"`images` must be {rule}. Received: images of shape {images.shape}")
    return np.stack(_page.unit_range(list(images[..., 0] if images.shape[3] == 1 else images)))


def _fixations(value: Any, batch: int) -> np.ndarray:
    rule = f"(y, x) for each of {batch} images, [batch, 2] or [batch, n, 2]"
    fixations = _page.numbers("fixations", value, rule, finite=False)
    if fixations.ndim not in (2, 3) or len(fixations) != batch or fixations.shape[-1] != 2 or 0 in fixations.shape:
        raise ValueError(f"`fixations` must be {rule}. Received: fixations of shape {fixations.shape}")
    return fixations if fixations.ndim == 3 else fixations[:, None]


def _maps(value: Any, counts: tuple[int, int]) -> np.ndarray:
    rule = "[batch, n, rows, columns], with as many images and fixations as the other arguments"
    maps = _page.numbers("maps", value, rule)
    if maps.ndim != 4 or maps.shape[:2] != counts or 0 in maps.shape:
        raise ValueError(f"`maps` must be {rule}. Received: maps of shape {maps.shape}, for {counts}")
    return maps
