"""The figures of docs/pyramids.md."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from style import Panel, photograph, restored, save, strip, train

from tfpyramid import layers, visualize


def gaussian() -> None:
    photos = photograph("rocket", 400, (0, 150))
    save(visualize.show_pyramid(layers.GaussianPyramid(6)(photos)), "gaussian_pyramid")
    small = photograph("chelsea", 120, (60, 110))
    levels = layers.GaussianPyramid(4, upsampled_levels=1)(small)
    captions = [f"{k}: {x.shape[1]} × {x.shape[2]} px{', the image' * (k == 1)}" for k, x in enumerate(levels)]
    save(visualize.show_pyramid(levels, titles=captions), "upsampled_levels")


def laplacian() -> None:
    photos = photograph("coffee", 210, (60, 160))
    bands = layers.LaplacianPyramid(5)(photos)
    save(visualize.show_pyramid(bands), "laplacian_pyramid")
    inverse = layers.LaplacianReconstruction()
    panels = []
    for kept in (1, 2, 3, 5):
        zeroed = [tf.zeros_like(x) if k < 5 - kept else x for k, x in enumerate(bands)]
        caption = "the low-pass alone" if kept == 1 else f"low-pass and {kept - 1} residual{'s' * (kept > 2)}"
        panels.append(Panel(inverse(zeroed), caption, scale=1))
    error = float(tf.reduce_max(tf.abs(inverse(bands) - photos)))
    panels[-1].caption = f"all five bands:\nlargest error {error:.0e}"
    save(strip("LaplacianReconstruction, from the coarsest band to the finest", panels), "laplacian_reconstruction")


def learnable() -> None:
    photos = photograph("coffee", 192, (60, 170))
    size = photos.shape[1:3]
    layer = layers.AntiAliasedDownsample2D(normalization="sum", kernel_size=6)
    start = layer(photos)
    trained = train(layer, photos)
    learned = layer(photos)
    figure = strip(
        "LearnablePyramid: level 1 before and after training",
        [
            Panel(photos, "level 0\n192 × 192 px", scale=1.15),
            Panel(start, "level 1, untrained\n96 × 96 px", scale=2.3),
            Panel(learned, f"level 1, trained for restoration\nby a bicubic: {trained:.1f} dB", scale=2.3),
            Panel(
                restored(learned, size) - restored(start, size),
                "restored image,\ntrained minus untrained",
                scale=1.15,
                limit=0.2,
            ),
        ],
    )
    save(figure, "learnable_pyramid")


def adaptive_depth() -> None:
    photos = photograph("coffee", 256, (40, 150))
    panels = []
    for hard in (False, True):
        pyramid = layers.AdaptiveDepthPyramid(4, hard=hard)
        pyramid.build(photos.shape)
        pyramid.gate_logits.assign([2.0, 0.4, -1.0])
        levels, gates = pyramid(photos)
        name = "hard=True" if hard else "hard=False"
        row = [
            Panel(x, f"level {k}, {name}\ngate {float(gates[0, k]):.2f}", scale=0.75 * 2**k)
            for k, x in enumerate(levels)
        ]
        panels.append(row)
    save(strip("AdaptiveDepthPyramid: level k times gate k, for z = (2, 0.4, -1)", *panels), "adaptive_depth_pyramid")


def composites() -> None:
    """Draw what the example draws, small enough for a page."""
    sys.path.append(str(Path(__file__).resolve().parents[2] / "examples"))
    import blending

    for name, across in (("blend", 760), ("exposure_fusion", 480), ("focus_stack", 560)):
        save(blending.draw(blending.USES[name](np.random.default_rng(0)), across), name)


def draw() -> None:
    for figure in (gaussian, laplacian, learnable, adaptive_depth, composites):
        figure()
