"""show_kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpyramid import _checks
from tfpyramid._compat import keras
from tfpyramid.layers.protocols import kernel_attribute
from tfpyramid.visualize import _page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 16
TILE, GAP, LEFT, TOP, RIGHT, BOTTOM = 150, 34, 62, 84, 78, 96  # In pixels.
RESPONSE = 96  # Height of a frequency response.
POINTS = 256  # Zero-padded length of a kernel on each axis, for its Fourier transform.


def show_kernels(
    layer_or_kernels: keras.layers.Layer | Mapping[str, Any],
    *,
    names: Sequence[str] | None = None,
    strides: float | None = None,
) -> Figure:
    """Draw kernels as images, with the frequency response of each below it.

    Red taps are positive and blue taps are negative, on one scale for all kernels. The gain is the magnitude of the
    Fourier transform, for waves along the rows ("horizontal") and along the diagonal, from 0 to 0.5 cycles per pixel on
    each axis. The dashed line is the Nyquist frequency after decimation, 0.5 / strides. Decimation aliases the
    frequencies above it that the kernel passes.

    Args:
        layer_or_kernels: a built layer that has kernels [rows, columns, channels, filters] in `blur` or in `kernel`;
            or a dict of kernels by name, arrays or tensors [rows, columns].
        names: a list with one title for each kernel. None uses the keys of the dict, or the channel, or
            "channel → filter".
        strides: ratio of the sides before and after decimation, at least 1. None uses the strides of the layer (along
            the columns, if it has two), and 2 for a dict.

    Returns:
        A `matplotlib.figure.Figure`. It shows at most 16 kernels; if there are more, its title says so.

    Raises:
        ValueError: if an argument breaks a rule above.
        ImportError: if matplotlib is not installed.

    Example:
        >>> layer = layers.LearnableDownsample2D()
        >>> level = layer(tf.random.uniform([1, 32, 32, 3]))
        >>> figure = visualize.show_kernels(layer)
        >>> figure.savefig(os.path.join(folder, "kernels.png"))
    """
    kernels, what = _kernels(layer_or_kernels)
    if names is not None:
        titles = _page.names(names, len(kernels), "kernels in `layer_or_kernels`")
        kernels = [(name, kernel) for name, (_, kernel) in zip(titles, kernels)]
    strides = _strides(layer_or_kernels) if strides is None else _checks.at_least("strides", strides, 1)
    return _draw(kernels[:MOST], f"{what}{_page.counted(len(kernels), 'kernel', MOST)}", strides)


def _kernels(given: Any) -> tuple[list[tuple[str, np.ndarray]], str]:
    """Return the kernels with their names, and the first words of the title."""
    if isinstance(given, Mapping):
        if not given:
            raise ValueError("`layer_or_kernels` must hold at least one kernel. Received: layer_or_kernels={}")
        return [(str(name), _plane(name, kernel)) for name, kernel in given.items()], ""
    if not isinstance(given, keras.layers.Layer):
        raise ValueError(
            "`layer_or_kernels` must be a layer with kernels, or a dict of kernels by name. "
            f"Received: layer_or_kernels of type {type(given).__name__}"
        )
    if not given.built:
        raise ValueError(
            "`layer_or_kernels` must be a built layer. Call it on images first. "
            f"Received: layer_or_kernels of type {type(given).__name__}, not built"
        )
    name = kernel_attribute(given)
    if name is None:
        raise ValueError(
            "`layer_or_kernels` must be a layer that has kernels in `blur` or in `kernel`. "
            f"Received: layer_or_kernels of type {type(given).__name__}"
        )
    rule = f"a layer with a `{name}` of shape [rows, columns, channels, filters]"
    kernel = _page.numbers("layer_or_kernels", getattr(given, name), rule)
    if kernel.ndim != 4:
        raise ValueError(
            f"`layer_or_kernels` must be {rule}. Received: layer_or_kernels with a {name} of shape {kernel.shape}"
        )
    channels, filters = kernel.shape[2:]
    named = [
        (f"channel {c}" if name == "blur" else f"{c} → {f}", kernel[:, :, c, f])
        for c in range(channels)
        for f in range(filters)
    ]
    return named, f"{type(given).__name__}: "


def _plane(name: object, kernel: Any) -> np.ndarray:
    plane = _page.numbers("layer_or_kernels", kernel, "a dict of kernels [rows, columns]")
    if plane.ndim != 2 or 0 in plane.shape or max(plane.shape) > POINTS:
        raise ValueError(
            f"`layer_or_kernels` must be a dict of kernels [rows, columns], with 1 to {POINTS} taps on each side. "
            f"Received: layer_or_kernels[{name!r}] of shape {plane.shape}"
        )
    return plane


def _strides(given: Any) -> float:
    """Return the strides of a layer, along the columns if it has two."""
    found = getattr(given, "strides", None)
    return 2.0 if found is None else float(np.ravel(np.asarray(found, np.float64))[-1])


def _draw(kernels: list[tuple[str, np.ndarray]], heading: str, strides: float) -> Figure:
    rows = math.ceil(len(kernels) / 8)
    columns = math.ceil(len(kernels) / rows)
    step = TILE + RESPONSE + 2 * GAP + 14
    across = max(LEFT + columns * (TILE + GAP) + RIGHT, 460)  # A single kernel still leaves space for the title.
    narrow = across < 640  # The legend then needs one column.
    down = TOP + rows * step - GAP - 14 + BOTTOM + 36 * narrow
    figure = _page.page(across, down)
    _page.title(figure, LEFT, heading)
    limit = max(float(np.abs(kernel).max()) for _, kernel in kernels) or 1.0
    gains = [_gains(kernel) for _, kernel in kernels]
    top = 1.08 * max(float(gain.max()) for pair in gains for gain in pair) or 1.0
    for k, ((name, kernel), pair) in enumerate(zip(kernels, gains)):
        row, column = divmod(k, columns)
        x, y = LEFT + column * (TILE + GAP), TOP + row * step
        tile = _page.area(figure, x, y, TILE, TILE)
        image = tile.imshow(kernel, cmap=_page.SIGNED, vmin=-limit, vmax=limit)
        _page.bare(tile)
        tile.set_title(_page.short(name), fontsize=10, color=_page.INK, pad=6)
        response = _page.area(figure, x, y + TILE + 14, TILE, RESPONSE)
        _draw_gains(response, pair, top, strides)
        if column:
            response.set_yticklabels([])
        else:
            response.set_ylabel("gain", fontsize=9, color=_page.PALE)
        if k + columns < len(kernels):
            response.set_xticklabels([])
        else:
            response.set_xlabel("cycles per pixel", fontsize=9, color=_page.PALE)
    bar = _page.area(figure, LEFT + columns * (TILE + GAP) - 8, TOP, 14, TILE)
    _page.color_bar(figure, image, bar)
    handles, labels = response.get_legend_handles_labels()
    corner = ((LEFT - 12) / across, 8 / down)
    legend = figure.legend(handles, labels, loc="lower left", bbox_to_anchor=corner, ncols=1 if narrow else 3)
    legend.set_frame_on(False)
    for text in legend.get_texts():
        text.set(fontsize=9, color=_page.INK)
    return figure


def _gains(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the magnitudes of the transform along the horizontal axis and along the diagonal."""
    gain = np.abs(np.fft.fft2(kernel, (POINTS, POINTS)))
    half = POINTS // 2 + 1
    return gain[0, :half], np.diagonal(gain)[:half]


def _draw_gains(axes: Axes, gains: tuple[np.ndarray, np.ndarray], top: float, strides: float) -> None:
    frequencies = np.arange(POINTS // 2 + 1) / POINTS
    for gain, label, color in zip(gains, ("horizontal", "diagonal"), _page.COLORS):
        axes.plot(frequencies, gain, color=color, linewidth=1.6, label=label)
    nyquist = 0.5 / strides
    label = f"Nyquist frequency after decimation by {strides:.3g}: {nyquist:.3g}"
    axes.axvline(nyquist, color=_page.INK, linewidth=1, linestyle="--", label=label)
    axes.set_xlim(0, 0.5)
    axes.set_ylim(0, top)
    axes.set_xticks([0, 0.25, 0.5], ["0", "0.25", "0.5"])
    _page.plain(axes)
