"""The figures of docs/fusion.md."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from style import Panel, labelled, page, photograph, save, strip

from tfpyramid import layers, ops, visualize

SIDE = 160


def photo() -> np.ndarray:
    return photograph("astronaut", SIDE, (20, 150))


def per_level() -> None:
    levels = ops.gaussian_pyramid(photo(), 3)
    sobel = np.outer([1, 2, 1], [-1, 0, 1])[:, :, None, None] / 8 * np.ones([1, 1, 3, 1]) / 3
    convolution = layers.PyramidConv2D(
        1, share_weights=True, kernel_initializer=tf.keras.initializers.Constant(sobel), use_bias=False
    )
    edges = convolution(levels)
    rows = (
        [Panel(x, f"level {k}", scale=2**k) for k, x in enumerate(levels)],
        [Panel(x, f"level {k}, convolved", scale=2**k, limit=0.25) for k, x in enumerate(edges)],
    )
    save(strip("PyramidConv2D with one Sobel kernel for all levels: edges of three sizes", *rows), "pyramid_conv")


def feature_pyramid() -> None:
    bands = ops.laplacian_pyramid(photo(), 4)
    panels = []
    for interpolation in ("nearest", "bilinear"):
        network = layers.FeaturePyramid(3, interpolation=interpolation)
        network([*bands])
        # Identity kernels: what remains is the top-down path.
        for convolution in network.lateral.level_layers:
            convolution.set_weights([np.eye(3)[None, None], np.zeros(3)])
        centre = np.zeros([3, 3, 3, 3])
        centre[1, 1] = np.eye(3)
        for convolution in network.output_conv.level_layers:
            convolution.set_weights([centre, np.zeros(3)])
        outputs = network([*bands])
        row = [Panel(x, f"output {k}\n{interpolation}", scale=2**k) for k, x in enumerate(outputs) if k in (0, 1, 3)]
        panels.append(row)
    bands_row = [
        Panel(x, f"input {k}", scale=2**k, limit=0.4 if k < 3 else None) for k, x in enumerate(bands) if k in (0, 1, 3)
    ]
    heading = "FeaturePyramid with identity kernels, on Laplacian bands: only the top-down path acts"
    save(strip(heading, bands_row, *panels), "feature_pyramid")


def upsample_concat() -> None:
    levels = ops.gaussian_pyramid(photo(), 4)
    joined = layers.UpsampleConcat()(levels)
    rows = (
        [Panel(x, f"level {k}: {x.shape[1]} × {x.shape[2]} px") for k, x in enumerate(levels)],
        [Panel(joined[..., 3 * k : 3 * k + 3], f"channels {3 * k} to {3 * k + 2}") for k in range(4)],
    )
    save(strip("UpsampleConcat: every level at the size of level 0, along the channels", *rows), "upsample_concat")


def weighted_fusion() -> None:
    bands = ops.laplacian_pyramid(photo(), 3)
    panels = [Panel(photo(), "the photograph", scale=1.2)]
    for values in ((1.0, 1.0, 1.0), (2.5, 1.5, 1.0), (0.0, 0.5, 1.0)):
        fusion = layers.WeightedFusion("sum")
        fusion(bands)
        fusion.level_weights.assign(values)
        panels.append(Panel(fusion(bands), "weights " + ", ".join(f"{v:g}" for v in values), scale=1.2))
    save(strip('WeightedFusion("sum") of two residuals and the low-pass', panels), "weighted_fusion")
    fusion = layers.WeightedFusion("softmax", per_channel=True)
    fusion([tf.ones([1, 8, 8, 6]), tf.ones([1, 4, 4, 6]), tf.ones([1, 2, 2, 6])])
    fusion.level_weights.assign(np.random.default_rng(4).normal(0, 1.2, [3, 6]))
    save(visualize.show_level_weights(tf.transpose(fusion.weigh())), "level_weights")


def logit_fusion() -> None:
    logits = tf.constant([[[6.0, 0.5, 0.0]], [[0.2, 0.6, 0.4]], [[0.1, 0.5, 0.6]], [[0.0, 0.4, 0.3]]])
    figure = page.page(900, 360)
    page.title(figure, 60, "LogitFusion: one level is sure of class 0, three are not")
    axes = page.area(figure, 70, 100, 330, 190)
    for k in range(4):
        axes.bar(np.arange(3) + 0.2 * (k - 1.5), logits[k, 0], 0.18, color=page.COLORS[k], label=f"level {k}")
    labelled(axes, "class", "logit", "logits of the levels").legend(frameon=False, fontsize=9, labelcolor=page.INK)
    axes = page.area(figure, 500, 100, 360, 190)
    for k, method in enumerate(("logsumexp", "max", "mean")):
        fused = tf.nn.softmax(layers.LogitFusion(method)(list(logits)))[0]
        axes.bar(np.arange(3) + 0.26 * (k - 1), fused, 0.24, color=page.COLORS[k], label=method)
    labelled(axes, "class", "probability", "softmax of the fused logits")
    axes.legend(frameon=False, fontsize=9, labelcolor=page.INK)
    for axes in figure.axes:
        axes.set_xticks(range(3))
    save(figure, "logit_fusion")


def pyramid_block() -> None:
    tf.keras.utils.set_random_seed(3)
    photos = photo()
    panels = [Panel(photos, "input", scale=1.2)]
    for depth in (1, 2, 4):
        block = layers.PyramidBlock(3, depth=depth)
        # How far an output pixel depends on the input: the gradient of one pixel.
        x = tf.constant(photos)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(block(x)[0, SIDE // 2, SIDE // 2])
        reach = tf.reduce_max(tf.abs(tape.gradient(y, x)), axis=3, keepdims=True)
        count = int(tf.reduce_sum(tf.cast(tf.reduce_any(reach[0, ..., 0] > 0, axis=0), tf.int32)))
        reach = (reach / tf.reduce_max(reach)) ** 0.25  # The power makes small gradients visible.
        panels.append(
            Panel(reach, f"depth={depth}: the middle pixel\ndepends on {count} px across", scale=1.2, limit=1.0)
        )
    save(strip("PyramidBlock: which input pixels one output pixel depends on", panels), "pyramid_block")


def draw() -> None:
    for figure in (per_level, feature_pyramid, upsample_concat, weighted_fusion, logit_fusion, pyramid_block):
        figure()
