"""flow_colors and show_flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfpyramid import _checks
from tfpyramid.visualize import _page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST, LEFT, TOP, GAP, KEY, LABEL, BOTTOM = 520, 24, 64, 24, 110, 90, 40  # In pixels.
UNKNOWN = 1e9  # Flow files mark pixels of unknown flow with larger numbers.
BEYOND = 0.75  # How bright the colours of flows beyond the largest length are.

# How many colours lead from each pure colour to the next: red, yellow, green, cyan, blue, magenta, and red again.
_STEPS = (15, 6, 4, 11, 13, 6)
_PURE = np.array([(255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255), (255, 0, 0)])


def flow_colors(flow: Any, *, max_length: float | None = None) -> np.ndarray:
    """Return the colours of optical flows on the Middlebury colour wheel: the hue is the direction, white is no motion.

    Right is red, down yellow, left cyan and up violet. A longer flow has a more saturated colour.

    Equation:
        `colour = 1 - s (1 - wheel(angle))`, with `s = length / max_length`. The wheel has 55 colours, and those between
        are interpolated. A flow longer than `max_length` has 0.75 times the colour of the wheel.

    Args:
        flow: array or tensor [..., height, width, 2], (dx, dy) in pixels, dy downwards.
        max_length: the length of a fully saturated flow, in pixels. None takes the largest length of all flows. Set it
            to compare figures.

    Returns:
        uint8 [..., height, width, 3], RGB. A flow that is NaN, infinite or larger than 1e9, which marks unknown flow in
        files, is black.

    Raises:
        ValueError: if an argument breaks a rule above.

    Example:
        >>> visualize.flow_colors([[[2.0, 0.0], [0.0, 0.0], [float("nan"), 0.0]]])[0].tolist()  # right, still, unknown
        [[255, 0, 0], [255, 255, 255], [0, 0, 0]]

    References:
        Baker, Scharstein, Lewis, Roth, Black and Szeliski, A Database and Evaluation Methodology for Optical Flow,
        2011, section 4.1 (the colour code of its figures).
    """
    flow = _flow(flow, "flows [..., height, width, 2], (dx, dy)")
    known, length = _lengths(flow)
    return _colors(flow, known, length, _max_length(max_length, length))


def show_flow(flow: Any, *, max_length: float | None = None, index: int = 0) -> Figure:
    """Draw an optical flow in the colours of `flow_colors`, with the colour wheel as a key.

    Args:
        flow: array or tensor [height, width, 2] or [batch, height, width, 2], (dx, dy) in pixels.
        max_length: the length of a fully saturated flow, in pixels. None takes the largest length of the flow that is
            drawn. Set it to compare figures.
        index: which flow of the batch to draw, if there is a batch axis.

    Returns:
        A `matplotlib.figure.Figure`. Unknown flow is black, and the title says how many pixels it has.

    Raises:
        ValueError: if an argument breaks a rule above.
        ImportError: if matplotlib is not installed.

    Example:
        >>> i, j = np.mgrid[-20:21, -30:31]
        >>> figure = visualize.show_flow(np.stack([j, i], axis=-1) / 10)  # away from the centre
        >>> figure.savefig(os.path.join(folder, "flow.png"))
    """
    rule = "a flow [height, width, 2] or [batch, height, width, 2], (dx, dy)"
    flow = _flow(flow, rule)
    if flow.ndim > 4 or 0 in flow.shape:
        raise ValueError(f"`flow` must be {rule}. Received: flow of shape {flow.shape}")
    flow = flow if flow.ndim == 4 else flow[None]
    batch = len(flow)
    index = _checks.integer("index", index, 0, "which flow of the batch is drawn", maximum=batch - 1)
    known, length = _lengths(flow[index])
    longest = _max_length(max_length, length)

    height, width = flow.shape[1:3]
    scale = LONGEST / max(height, width)
    down, across = max(scale * height, 4.0), max(scale * width, 4.0)
    heading = f"Flow, {_pixels(float(length.max()))} at most"
    if batch > 1:
        heading += f", {index} of a batch of {batch}"
    if not known.all():
        heading += f"\n{_page.counted(int((~known).sum()), 'pixel')} unknown"
    top = TOP + 22 * heading.count("\n")
    figure = _page.page(
        max(LEFT + across + GAP + KEY + LABEL, 9.6 * len(heading)), top + max(down, KEY + LABEL) + BOTTOM
    )
    axes = _page.area(figure, LEFT, top, across, down)
    axes.imshow(_colors(flow[index], known, length, longest), interpolation="nearest", aspect="auto")
    _page.bare(axes)
    key = _page.area(figure, LEFT + across + GAP, top + 20, KEY, KEY)
    key.imshow(_wheel(longest), extent=(-1, 1, 1, -1))
    key.set_axis_off()
    key.set_title(f"radius {_pixels(longest)}", loc="left", fontsize=9, color=_page.PALE, pad=6)
    _page.title(figure, LEFT, heading)
    return figure


def _flow(value: Any, rule: str) -> np.ndarray:
    flow = _page.numbers("flow", value, rule, finite=False)
    if flow.ndim < 3 or flow.shape[-1] != 2:
        raise ValueError(f"`flow` must be {rule}. Received: flow of shape {flow.shape}")
    return flow


def _lengths(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each flow is known, and its length; 0 if it is unknown."""
    known = (np.abs(flow) <= UNKNOWN).all(axis=-1)  # False for NaN.
    return known, np.hypot(*np.moveaxis(np.where(known[..., None], flow, 0), -1, 0))


def _max_length(value: Any, length: np.ndarray) -> float:
    if value is not None:
        return _checks.number("max_length", value, above=0, meaning="the length of a fully saturated flow, in pixels")
    return float(length.max(initial=0)) or 1.0


def _colors(flow: np.ndarray, known: np.ndarray, length: np.ndarray, max_length: float) -> np.ndarray:
    dx, dy = np.moveaxis(np.where(known[..., None], flow, 0), -1, 0)
    wheel = _wheel_colors()
    # The angle of the opposite direction: red, the first colour, is to the right. Adding 0 turns -0 into 0.
    turn = (np.arctan2(-dy + 0, -dx + 0) / np.pi + 1) / 2 % 1
    position = turn * (len(wheel) - 1)
    low = np.floor(position).astype(int)
    fraction = (position - low)[..., None]
    hue = ((1 - fraction) * wheel[low] + fraction * wheel[(low + 1) % len(wheel)]) / 255
    saturation = (length / max_length)[..., None]
    color = np.where(saturation <= 1, 1 - saturation * (1 - hue), BEYOND * hue)
    return np.where(known[..., None], np.floor(255 * color), 0).astype(np.uint8)


def _wheel_colors() -> np.ndarray:
    """Return the 55 colours of the wheel, [55, 3], from 0 to 255."""
    parts = [
        low + np.sign(high - low) * np.floor(255 * np.arange(count) / count)[:, None]
        for low, high, count in zip(_PURE, _PURE[1:], _STEPS)
    ]
    return np.concatenate(parts)


def _wheel(max_length: float) -> np.ndarray:
    """Return a picture of the colours of all flows up to the largest length, RGBA; transparent outside the circle."""
    y, x = np.mgrid[-KEY : KEY + 1, -KEY : KEY + 1] / KEY
    flow = np.stack([x, y], axis=-1) * max_length
    known, length = _lengths(flow)
    inside = np.hypot(x, y) <= 1
    return np.concatenate([_colors(flow, known, length, max_length), np.uint8(255 * inside[..., None])], axis=-1)


def _pixels(length: float) -> str:
    return f"{length:.3g} pixel" if length == 1 else f"{length:.3g} pixels"
