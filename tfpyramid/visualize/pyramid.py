"""show_pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfpyramid import _checks, _level_checks, _plain
from tfpyramid.visualize import _page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 16
LONGEST, LEFT, TOP, GAP, RIGHT, BOTTOM = 420, 24, 64, 16, 76, 24  # In pixels.
CAPTION, CHARACTER = 22, 7.4  # Height of a line of text, and width of a letter, in pixels.


class _Tile(NamedTuple):
    pixels: np.ndarray  # [height, width], or with 3 channels.
    caption: str
    x: float
    y: float
    width: float
    height: float


def show_pyramid(
    levels: Any, *, titles: bool | Sequence[str] = True, signed: bool | Sequence[bool] | None = None, index: int = 0
) -> Figure:
    """Draw the levels of one image side by side, on one scale of sizes.

    A level is drawn in its own colours or in grey; a residual of a Laplacian pyramid in red where it is positive and in
    blue where it is negative, with white for zero and one colour bar for all residuals.

    Args:
        levels: a list or dict of levels, finest first: arrays or tensors [batch, height, width, channels],
            [height, width, channels] or [height, width], all of one rank. One channel is drawn in grey, three in
            colour; any other number, and the channels of a residual, as their mean. Levels with values from 0 to 1 are
            drawn unchanged; any other range, that of all levels together, is mapped to 0 to 1.
        titles: True writes its index and its size above each level; False writes nothing; or a list with one title for
            each level.
        signed: True or False, or a list with one of them for each level: whether a level is drawn as a residual. None
            decides by the values: a level is a residual if it has negative values and if its mean is at most a tenth of
            its largest magnitude. Set it for images that are normalised to a mean of zero.
        index: which image of the batch to draw, if there is a batch axis.

    Returns:
        A `matplotlib.figure.Figure`. Values beyond the colour bar, at most one in a hundred of a residual, have the
        colour of its end. It shows at most 16 levels; if there are more, its title says so.

    Raises:
        ValueError: if an argument breaks a rule above.
        ImportError: if matplotlib is not installed.

    Example:
        >>> photos = tf.random.uniform([2, 48, 64, 3])
        >>> figure = visualize.show_pyramid(ops.laplacian_pyramid(photos, 4), index=1)
        >>> figure.savefig(os.path.join(folder, "pyramid.png"))
    """
    images, index, batch = _images(levels, index)
    is_signed = _signed(signed, images)
    captions = _captions(titles, images)
    heading = f"Pyramid, {_page.counted(len(images), 'level', MOST)}"
    if batch > 1:
        heading += f", image {index} of a batch of {batch}"
    limit = max((float(np.percentile(np.abs(x), 99)) for x, s in zip(images, is_signed) if s), default=0.0) or 1.0
    images, is_signed = _drawable(images, is_signed)[:MOST], is_signed[:MOST]
    tiles = _tiles(images, captions)

    across = max(tile.x + max(tile.width, CHARACTER * len(tile.caption)) for tile in tiles)
    down = max(tile.y + tile.height for tile in tiles)
    bar_height = max(tiles[0].height, 96.0)  # Three ticks fit.
    margin = LEFT
    if any(is_signed):
        down, margin = max(down, tiles[0].y + bar_height), RIGHT
    figure = _page.page(max(across + margin, LEFT + CHARACTER * 1.3 * len(heading)), down + BOTTOM)
    for tile, with_sign in zip(tiles, is_signed):
        axes = _page.area(figure, tile.x, tile.y, tile.width, tile.height)
        low, colors = (-limit, _page.SIGNED) if with_sign else (0.0, "gray")
        image = axes.imshow(tile.pixels, cmap=colors, vmin=low, vmax=limit if with_sign else 1.0, aspect="auto")
        _page.bare(axes)
        if tile.caption:
            axes.set_title(tile.caption, loc="left", fontsize=9, color=_page.INK, pad=4)
        if with_sign:
            residual = image
    if any(is_signed):
        bar = _page.area(figure, across + GAP, tiles[0].y, 14, bar_height)
        _page.color_bar(figure, residual, bar, extend="both")
        bar.set_title("residual", loc="left", fontsize=9, color=_page.PALE, pad=4)
    _page.title(figure, LEFT, heading)
    return figure


def _images(levels: Any, index: Any) -> tuple[list[np.ndarray], int, int]:
    """Return the levels of one image, each [height, width, channels], its index, and the size of the batch."""
    rule = "levels [batch, height, width, channels], [height, width, channels] or [height, width]"
    arrays = [_page.numbers("levels", level, rule) for level in _level_checks.level_list(levels)]
    shapes = [array.shape for array in arrays]
    rank = arrays[0].ndim
    batches = {shape[0] for shape in shapes} if rank == 4 else {1}
    if rank not in (2, 3, 4) or {len(shape) for shape in shapes} != {rank} or any(0 in shape for shape in shapes):
        raise ValueError(f"`levels` must be {rule}, all of one rank. Received: levels of shapes {shapes}")
    if len(batches) > 1:
        raise ValueError(f"`levels` must have one batch size. Received: levels of shapes {shapes}")
    batch = batches.pop()
    index = _checks.integer("index", index, 0, "which image of the batch is drawn", maximum=batch - 1)
    if rank == 4:
        arrays = [array[index] for array in arrays]
    return [array[:, :, None] if array.ndim == 2 else array for array in arrays], index, batch


def _signed(value: Any, images: list[np.ndarray]) -> list[bool]:
    """Return for each level whether it is drawn as a residual."""
    if value is None:
        return [bool(image.min() < 0 and abs(image.mean()) <= 0.1 * np.abs(image).max()) for image in images]
    value = _plain.plain(value)
    if isinstance(value, (list, tuple)):
        if len(value) != len(images):
            rule = f"`signed` must be None, True, False, or a list of {len(images)}, one for each of the `levels`."
            raise ValueError(f"{rule} {_checks.received('signed', value)}")
        return [_checks.flag("signed", each) for each in value]
    return [_checks.flag("signed", value)] * len(images)


def _captions(titles: Any, images: list[np.ndarray]) -> list[str]:
    if isinstance(titles, (list, tuple)):
        return _page.names(titles, len(images), "`levels`", "titles")
    if not _checks.flag("titles", titles):
        return [""] * len(images)
    return [f"{k}: {image.shape[0]} × {image.shape[1]} px" for k, image in enumerate(images)]


def _drawable(images: list[np.ndarray], is_signed: list[bool]) -> list[np.ndarray]:
    """Return residuals as [height, width], and other levels from 0 to 1, in grey or in colour."""
    flat = [
        image if image.shape[2] == 3 and not with_sign else image.mean(axis=2)
        for image, with_sign in zip(images, is_signed)
    ]
    # One range for all of these levels, because equal values must have equal colours.
    others = iter(_page.unit_range([image for image, with_sign in zip(flat, is_signed) if not with_sign]))
    return [image if with_sign else next(others) for image, with_sign in zip(flat, is_signed)]


def _tiles(images: list[np.ndarray], captions: list[str]) -> list[_Tile]:
    """Place the first level on the left, and the others in columns on its right, as tall as it."""
    scale = LONGEST / max(images[0].shape[:2])
    text = CAPTION * any(captions)
    tiles: list[_Tile] = []
    x, y, bottom, widest = float(LEFT), float(TOP + text), float(TOP), 0.0
    for k, (image, caption) in enumerate(zip(images, captions)):
        # A few pixels keep a level of one row visible.
        height, width = (max(scale * side, 4.0) for side in image.shape[:2])
        if k == 1 or (k and y + height > bottom):
            x, y, widest = x + widest + GAP, float(TOP + text), 0.0
        tiles.append(_Tile(image, caption, x, y, width, height))
        y += height + GAP + text
        bottom = max(bottom, tiles[0].y + tiles[0].height)
        widest = max(widest, width, CHARACTER * len(caption))
    return tiles
