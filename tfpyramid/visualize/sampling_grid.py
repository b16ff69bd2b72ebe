"""show_sampling_grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfpyramid.visualize import _page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST, MARGIN, TOP = 620, 60, 58  # In pixels.
APART = 10  # The least distance between two lines, in pixels of the figure.


def show_sampling_grid(image: Any, points: Any) -> Figure:
    """Draw the points at which an image is sampled, joined along the rows and the columns of their grid.

    The frame is the outline of the image, half a pixel beyond the centres of its outer pixels. Points outside the frame
    are orange, and the axes extend to show them.

    Args:
        image: array or tensor [height, width], or with a last axis of 1 or 3 channels. Values from 0 to 1 are drawn
            unchanged; any other range is mapped to 0 to 1.
        points: array or tensor [rows, columns, 2]: the points of one image, (y, x) in pixels, with the centre of the
            first pixel at (0, 0). `tfpyramid.ops.affine_grid` returns such points, for a batch of images.

    Returns:
        A `matplotlib.figure.Figure`. If rows or columns of points are less than 10 pixels apart, it shows every n-th of
        them and the last, and its title says so.

    Raises:
        ValueError: if an argument breaks a rule above.
        ImportError: if matplotlib is not installed.

    Example:
        >>> points = ops.affine_grid([[[0.8, 0.2, 0.0], [-0.2, 0.8, 0.0]]], (32, 48), (8, 12))
        >>> figure = visualize.show_sampling_grid(tf.random.uniform([32, 48, 3]), points[0])
        >>> figure.savefig(os.path.join(folder, "grid.png"))
    """
    image, points = _image(image), _points(points)
    height, width = image.shape[:2]
    outside = ((points < -0.5) | (points > np.array([height, width]) - 0.5)).any(axis=2)

    # The axes cover the image and all points, with a margin of 3 % on every side.
    low = np.minimum(points.min(axis=(0, 1)), -0.5)
    high = np.maximum(points.max(axis=(0, 1)), np.array([height, width]) - 0.5)
    margin = 0.03 * (high - low).max()
    low, high = low - margin, high + margin
    scale = LONGEST / (high - low).max()
    down, across = np.maximum((high - low) * scale, 1)

    row_step, column_step = (_step(points, axis, scale) for axis in (0, 1))
    rows, columns = (_every(step, n) for step, n in zip((row_step, column_step), points.shape))
    heading = _heading(points, int(outside.sum()), row_step, column_step)

    top = TOP + 22 * heading.count("\n")
    figure = _page.page(max(across, 360) + 2 * MARGIN, down + top + MARGIN)
    axes = _page.area(figure, MARGIN, top, across, down)
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    _draw_grid(axes, points[rows][:, columns], outside[rows][:, columns])
    _draw_outline(axes, height, width)
    axes.set_xlim(low[1], high[1])
    axes.set_ylim(high[0], low[0])
    axes.set_facecolor("#f3f4f6")
    axes.spines[:].set_visible(False)
    axes.set_xlabel("x, pixels", fontsize=9, color=_page.PALE)
    axes.set_ylabel("y, pixels", fontsize=9, color=_page.PALE)
    _page.grey_ticks(axes)
    _page.title(figure, MARGIN, heading)
    return figure


def _image(value: Any) -> np.ndarray:
    rule = "an image [height, width], or with 1 or 3 channels"
    image = _page.numbers("image", value, rule)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if not (image.ndim == 2 or image.ndim == 3 and image.shape[2] == 3) or 0 in image.shape:
        raise ValueError(f"`image` must be {rule}. Received: image of shape {np.shape(value)}")
    return _page.unit_range([image])[0]


def _points(value: Any) -> np.ndarray:
    rule = "points [rows, columns, 2], (y, x) in pixels"
    points = _page.numbers("points", value, rule)
    if points.ndim != 3 or points.shape[2] != 2 or 0 in points.shape:
        raise ValueError(f"`points` must be {rule}. Received: points of shape {points.shape}")
    return points


def _step(points: np.ndarray, axis: int, scale: float) -> int:
    """Return n: every n-th row (axis 0) or column (axis 1) is drawn, so that lines are `APART` pixels apart."""
    count = points.shape[axis]
    if count < 3:
        return 1
    apart = scale * np.median(np.linalg.norm(np.diff(points, axis=axis), axis=2))
    return int(np.clip(np.ceil(APART / max(apart, 1e-9)), 1, count - 1))


def _every(step: int, count: int) -> np.ndarray:
    return np.unique([*range(0, count, step), count - 1])


def _draw_grid(axes: Any, points: np.ndarray, outside: np.ndarray) -> None:
    from matplotlib import patheffects

    # The dark edge keeps the grid visible on bright images.
    edge = [patheffects.Stroke(linewidth=2.6, foreground=(0, 0, 0, 0.45)), patheffects.Normal()]
    for line in [*points, *points.transpose(1, 0, 2)]:
        axes.plot(line[:, 1], line[:, 0], color="#ffe14d", linewidth=1.1, path_effects=edge, zorder=2)
    marker_size = 4.5 if max(points.shape) <= 20 else 3.0
    for chosen, color, label in ((~outside, "#ffe14d", "inside"), (outside, _page.COLORS[1], "outside")):
        y, x = points[chosen].T
        axes.plot(x, y, "o", color=color, markersize=marker_size, mec="black", mew=0.6, zorder=3, label=label)


def _draw_outline(axes: Any, height: int, width: int) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((-0.5, -0.5), width, height, fill=False, edgecolor=_page.COLORS[0], linewidth=2, zorder=4))


def _heading(points: np.ndarray, outside: int, row_step: int, column_step: int) -> str:
    heading = f"{points.shape[0]} × {points.shape[1]} points, {outside or 'none'} outside the image"
    if row_step == column_step == 1:
        return heading
    return f"{heading}\ndrawn: {_ordinal(row_step, 'row')}, {_ordinal(column_step, 'column')}"


def _ordinal(step: int, what: str) -> str:
    return f"every {what}" if step == 1 else f"one {what} in {step}"
