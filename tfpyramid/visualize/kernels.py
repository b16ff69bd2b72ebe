"""show_kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpyramid import _checks
from tfpyramid._compat import keras
from tfpyramid.visualize import _page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 16
TILE, GAP, LEFT, TOP, RIGHT, BOTTOM = 150, 34, 62, 84, 78, 96  # In pixels.
RESPONSE = 96  # Height of a frequency response.
POINTS = 256  # A kernel is padded with zeros to so many samples on each axis, for its transform.


def show_kernels(
    layer_or_kernels: keras.layers.Layer | Mapping[str, Any],
    *,
    names: Sequence[str] | None = None,
    strides: float | None = None,
) -> Figure:
    """Draw kernels, each above what it lets through.

    Each kernel is an image, red above zero and blue below, on one scale for all. Under it is its gain, the magnitude
    of its Fourier transform, for waves along the rows ("horizontal") and along the diagonal, of 0 to 0.5 cycles per
    pixel on an axis. The dashed line is the Nyquist frequency after decimation, 0.5 / strides: what a kernel lets
    through beyond it comes back as an alias.

    Args:
        layer_or_kernels: a built layer with kernels, `blur` or `kernel`, of shape [rows, columns, channels, filters];
            or kernels by name, arrays or tensors [rows, columns].
        names: a title for each kernel, as many as there are; None for the names given, or the channel, or
            "channel → filter".
        strides: ratio of sides before and after decimation, at least 1; None for the layer's own (of two, the
            columns'), and 2 for kernels by name.

    Returns:
        A figure, for `savefig`. Of more than 16 kernels it shows the first 16, and its title says so.

    Raises:
        ValueError: if an argument breaks a rule above.
        ImportError: if there is no matplotlib.

    Example:
        >>> layer = layers.LearnableDownsample2D()
        >>> level = layer(tf.random.uniform([1, 32, 32, 3]))
        >>> figure = visualize.show_kernels(layer)
        >>> figure.savefig(os.path.join(folder, "kernels.png"))
    """
    kernels, what = _kernels(layer_or_kernels)
    if names is not None:
        if not isinstance(names, Sequence) or isinstance(names, (str, bytes)) or len(names) != len(kernels):
            rule = f"`names` must be a list of as many as the kernels, {len(kernels)}."
            raise ValueError(f"{rule} {_checks.received('names', names)}")
        kernels = [(str(name), kernel) for name, (_, kernel) in zip(names, kernels)]
    strides = _strides(layer_or_kernels) if strides is None else _checks.at_least("strides", strides, 1)
    return _draw(kernels[:MOST], f"{what}{_count(len(kernels))}", strides)


def _kernels(given: Any) -> tuple[list[tuple[str, np.ndarray]], str]:
    """Return kernels with their names, and how the title begins."""
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
            "`layer_or_kernels` must be a layer that is built: call it on images first. "
            f"Received: a layer of type {type(given).__name__} that is not"
        )
    name = "blur" if hasattr(given, "blur") else "kernel"
    if not hasattr(given, name):
        raise ValueError(
            "`layer_or_kernels` must be a layer that has kernels, in `blur` or in `kernel`. "
            f"Received: a layer of type {type(given).__name__}"
        )
    rule = f"a layer whose `{name}` is [rows, columns, channels, filters]"
    kernel = _page.numbers("layer_or_kernels", getattr(given, name), rule)
    if kernel.ndim != 4:
        raise ValueError(f"`layer_or_kernels` must be {rule}. Received: {name} of shape {kernel.shape}")
    channels, filters = kernel.shape[2:]
    named = [
        (f"channel {c}" if name == "blur" else f"{c} → {f}", kernel[:, :, c, f])
        for c in range(channels)
        for f in range(filters)
    ]
    return named, f"{type(given).__name__}: "


def _plane(name: object, kernel: Any) -> np.ndarray:
    plane = _page.numbers("layer_or_kernels", kernel, "kernels [rows, columns] by name")
    if plane.ndim != 2 or 0 in plane.shape or max(plane.shape) > POINTS:
        raise ValueError(
            f"`layer_or_kernels` must be kernels [rows, columns] of 1 to {POINTS} taps on a side. "
            f"Received: {name!r} of shape {plane.shape}"
        )
    return plane


def _strides(given: Any) -> float:
    """Return the strides of a layer, of its columns if there are two."""
    found = getattr(given, "strides", None)
    return 2.0 if found is None else float(np.ravel(np.asarray(found, np.float64))[-1])


def _count(count: int) -> str:
    if count > MOST:
        return f"the first {MOST} of {count} kernels"
    return "1 kernel" if count == 1 else f"{count} kernels"


def _draw(kernels: list[tuple[str, np.ndarray]], heading: str, strides: float) -> Figure:
    rows = math.ceil(len(kernels) / 8)
    columns = math.ceil(len(kernels) / rows)
    step = TILE + RESPONSE + 2 * GAP + 14
    across = max(LEFT + columns * (TILE + GAP) + RIGHT, 460)  # Wide enough for the title above a single kernel.
    narrow = across < 640  # The legend in one column.
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
        image = tile.imshow(kernel, cmap="RdBu_r", vmin=-limit, vmax=limit)
        tile.set_xticks([])
        tile.set_yticks([])
        tile.spines[:].set_color(_page.PALE)
        tile.set_title(name if len(name) <= 22 else name[:21] + "…", fontsize=10, color=_page.INK, pad=6)
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
    figure.colorbar(image, cax=bar).outline.set_edgecolor(_page.PALE)
    bar.tick_params(labelsize=9, color=_page.PALE, labelcolor=_page.PALE)
    handles, labels = response.get_legend_handles_labels()
    place = ((LEFT - 12) / across, 8 / down)
    legend = figure.legend(handles, labels, loc="lower left", bbox_to_anchor=place, ncols=1 if narrow else 3)
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
