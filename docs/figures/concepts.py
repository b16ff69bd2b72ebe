"""The figures of docs/concepts.md."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from style import Panel, labelled, page, photograph, save, strip

from tfpyramid import ops, visualize


def level() -> None:
    photos = photograph("astronaut", 224, (0, 112))
    blurred = ops.pyr_down(photos, scale_factor=2.0)
    kernel = np.outer(ops.binomial(5), ops.binomial(5))[:, :, None, None] * np.ones([1, 1, 3, 1])
    blur = ops.depthwise_down(photos, tf.constant(kernel, tf.float32), 1)
    without = photos[:, ::2, ::2]
    figure = strip(
        "One step of a Gaussian pyramid: blur, then keep every second sample",
        [
            Panel(photos, "level k\n224 × 224 px"),
            Panel(blur, "blurred by [1 4 6 4 1] / 16\n224 × 224 px"),
            Panel(blurred, "level k + 1\n112 × 112 px", scale=2),
            Panel(without, "without the blur: aliases\n112 × 112 px", scale=2),
        ],
    )
    save(figure, "level")
    save(visualize.show_pyramid(ops.gaussian_pyramid(photograph("astronaut", 448, (0, 32)), 6)), "pyramid")


def alignment() -> None:
    figure = page.page(900, 820)
    page.title(figure, 60, "Where the samples of a level sit, in samples of level 0")
    cases = [
        (
            "5 taps (odd), phase 0: sample i of a level sits at 2 i of the level before it",
            2.0,
            0.0,
            [-2, -1, 0, 1, 2],
            9,
        ),
        ("2 taps (even), phase 1/2: sample i sits at 2 i + 1/2, between two samples", 2.0, 0.5, [0, 1], 8),
        ("half-pixel centres, 9 samples to 5: sample i sits at (i + 1/2) 9/5 - 1/2", 1.8, 0.4, [], 9),
    ]
    for k, (heading, factor, phase, taps, count) in enumerate(cases):
        axes = page.area(figure, 70, 92 + 240 * k, 800, 170)
        _draw_alignment(axes, factor, phase, taps, count)
        labelled(axes, "position, samples of level 0", "", heading)
        axes.spines["left"].set_visible(False)
        if k < 2:
            axes.set_xlabel("")
    save(figure, "alignment")


def _draw_alignment(axes, factor: float, phase: float, taps: list[int], count: int) -> None:
    levels = [np.arange(count, dtype=float)]
    positions, step = phase, factor
    while len(levels[-1]) > 2 and len(levels) < (3 if taps else 2):
        levels.append(positions + step * np.arange(-(-len(levels[-1]) // 2)))
        positions, step = positions + step * phase, step * factor
    for depth, samples in enumerate(levels):
        color = page.COLORS[depth]
        if depth:
            for i, x in enumerate(samples):
                finer = levels[depth - 1]
                first = factor * i + phase  # In samples of the finer level.
                reads = [2 * i + tap for tap in taps] or [int(np.floor(first)), int(np.floor(first)) + 1]
                for j in reads:
                    if 0 <= j < len(finer) and (taps or abs(first - j) < 1):
                        axes.plot([finer[j], x], [-depth + 1, -depth], color=color, linewidth=1, alpha=0.55, zorder=1)
        axes.plot(samples, np.full(len(samples), -depth), "o", color=color, markersize=11, clip_on=False, zorder=3)
        for i, x in enumerate(samples):
            axes.text(x, -depth, str(i), color="white", fontsize=7.5, ha="center", va="center", zorder=4)
    axes.set_yticks([-k for k in range(len(levels))], [f"level {k}" for k in range(len(levels))])
    axes.set_ylim(-len(levels) + 0.55, 0.35)
    axes.set_xlim(-0.6, 9.1)
    axes.set_xticks(range(9))
    axes.grid(axis="x", color="#e5e7eb")
    axes.set_axisbelow(True)


def register() -> None:
    """The consequence of a wrong phase: a box pyramid aligned with its own phase and with 0."""
    photos = photograph("camera", 128, (60, 200))
    levels = ops.gaussian_pyramid(photos, 4, kernel="box")
    own, wrong = (ops.align_levels(levels, phase=phase)[3] for phase in (0.5, 0.0))
    figure = strip(
        "Level 3 of a box pyramid, brought back to level 0",
        [
            Panel(photos, "level 0", scale=1.5),
            Panel(own, "aligned with phase=0.5", scale=1.5),
            Panel(own - photos, "minus level 0", scale=1.5, limit=0.6),
            Panel(wrong, "aligned with phase=0:\n3.5 px up and left", scale=1.5),
            Panel(wrong - photos, "minus level 0", scale=1.5, limit=0.6),
        ],
    )
    save(figure, "phase")


def borders() -> None:
    photo = photograph("chelsea", 120, (90, 120))[0]
    margin, panels = 48, []
    rows = {
        "reflect": "d c b | a b c d | c b a",
        "symmetric": "c b a | a b c d | d c b",
        "edge": "a a a | a b c d | d d d",
        "constant": "0 0 0 | a b c d | 0 0 0",
        "wrap": "b c d | a b c d | a b c",
    }
    for border, row in rows.items():
        padded = np.pad(photo, [(margin, margin)] * 2 + [(0, 0)], mode=border)
        panels.append(Panel(padded, f'"{border}"\n{row}', scale=0.88))
    figure = strip("What a kernel reads beyond the image, for each border rule", panels)
    for axes in figure.axes:
        size = photo.shape[0]
        outline = Rectangle((margin - 0.5,) * 2, size, size, fill=False, edgecolor=page.COLORS[1], linewidth=2)
        axes.add_patch(outline)
    save(figure, "borders")


def dc_gain() -> None:
    photos = photograph("coffee", 176, (60, 180))
    binomial = np.array(ops.binomial(5))
    figure = page.page(1010, 490)
    page.title(figure, 60, "DC gain: what a kernel does to a constant image")
    axes = page.area(figure, 74, 100, 250, 300)
    frequencies = np.linspace(0, 0.5, 129)
    cosines = np.cos(2 * np.pi * np.outer(frequencies, np.arange(-2, 3)))
    for gain, color in zip((1.0, 1.15), page.COLORS):
        axes.plot(frequencies, gain * cosines @ binomial, color=color, linewidth=1.8, label=f"sum of taps {gain:g}")
    axes.axhline(1, color=page.PALE, linewidth=0.8, linestyle="--")
    labelled(axes, "cycles per pixel", "gain", "frequency response; DC is frequency 0")
    axes.set_xlim(0, 0.5)
    axes.set_ylim(0, 1.3)
    axes.legend(frameon=False, fontsize=9, labelcolor=page.INK)
    for row, gain in enumerate((1.0, 1.15)):
        level, x = tf.constant(photos), 370.0
        kernel = np.outer(binomial, binomial)[:, :, None, None] * np.ones([1, 1, 3, 1]) * gain**2
        for k in range(4):
            panel = Panel(level, "", scale=0.86 * 176 / level.shape[1])
            tile = page.area(figure, x, 112 + 204 * row, panel.width, panel.height)
            panel.draw(tile)
            heading = f"level {k}: mean {float(tf.reduce_mean(level)):.2f}"
            tile.set_title(heading, loc="left", fontsize=9, color=page.COLORS[row], pad=4)
            level, x = ops.depthwise_down(level, tf.constant(kernel, tf.float32)), x + panel.width + 8
    save(figure, "dc_gain")


def straight_through() -> None:
    x = tf.constant(np.linspace(-4, 4, 801), tf.float32)
    figure: Figure = page.page(960, 420)
    page.title(figure, 60, "heaviside_st: the forward value, and the gradient that the backward pass uses")
    forward = page.area(figure, 74, 104, 380, 250)
    backward = page.area(figure, 540, 104, 380, 250)
    forward.plot(x, ops.heaviside_st(x), color=page.INK, linewidth=2, label="forward: 1 if x ≥ 0 else 0")
    backward.plot(x, np.zeros(len(x)), color=page.INK, linewidth=2, label="derivative of the step itself")
    for temperature, color in zip((1.0, 0.5), page.COLORS):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = ops.heaviside_st(x, temperature)
        label = f"sigmoid(x / {temperature:g})"
        forward.plot(x, tf.sigmoid(x / temperature), "--", color=color, linewidth=1.4, label=f"surrogate: {label}")
        backward.plot(x, tape.gradient(y, x), color=color, linewidth=1.8, label=f"derivative of {label}")
    labelled(forward, "x", "y", "forward")
    labelled(backward, "x", "dy / dx", "surrogate")
    forward.set_ylim(-0.08, 1.5)
    backward.set_ylim(-0.03, 0.78)
    for axes in (forward, backward):
        axes.set_xlim(-4, 4)
        axes.legend(frameon=False, fontsize=9, labelcolor=page.INK, loc="upper left")
    save(figure, "straight_through")


def draw() -> None:
    for figure in (level, alignment, register, borders, dc_gain, straight_through):
        figure()
