"""The figures of docs/motion.md: the two views of a motorcycle, of Middlebury's stereo set, that scikit-image has."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from matplotlib import colormaps
from skimage import data
from style import Panel, save, strip

from tfpyramid import layers, ops, visualize


def views() -> tuple[tf.Tensor, tf.Tensor, np.ndarray]:
    """Return the left and the right view at a quarter of their size, and the disparity in pixels of that size."""
    left, right, disparity = data.stereo_motorcycle()
    left, right = (np.float32(view[None, :480, 100:740]) / 255 for view in (left, right))
    known = np.where(np.isfinite(disparity), disparity, 0)[None, :480, 100:740, None]
    for _ in range(2):
        left, right = ops.pyr_down(left), ops.pyr_down(right)
    return left, right, np.float32(known[:, ::4, ::4]) / 4


def colored(disparity: np.ndarray, largest: float) -> np.ndarray:
    """Return a disparity in colours, white where it is 0: unknown."""
    image = colormaps["viridis"](np.clip(disparity[0, ..., 0] / largest, 0, 1))[..., :3]
    return np.where(disparity[0] == 0, 1.0, image)


def filled(disparity: np.ndarray) -> np.ndarray:
    """Return a disparity without unknown pixels: each gets the value of the next known pixel on its left."""
    columns = np.where(disparity > 0, np.arange(disparity.shape[2])[None, None, :, None], 0)
    return np.take_along_axis(disparity, np.maximum.accumulate(columns, axis=2), axis=2)


def warp() -> None:
    left, right, disparity = views()
    flow = tf.concat(
        [-filled(disparity), tf.zeros_like(disparity)], axis=-1
    )  # (dx, dy) from the left view to the right.
    warped = layers.Warp2D(border="edge")([right, flow])
    known = tf.constant(np.float32(disparity > 0))
    before, after = (float(tf.reduce_sum(known * tf.abs(x - left)) / tf.reduce_sum(known) / 3) for x in (right, warped))
    rows = (
        [
            Panel(left, "left view", scale=2),
            Panel(right, "right view", scale=2),
            Panel(warped, "right view, warped by the flow", scale=2),
        ],
        [
            Panel(colored(disparity, 15), "-dx of the flow, 0 to 15 px (white: unknown)", scale=2),
            Panel(right - left, f"right minus left: mean {before:.3f}", scale=2, limit=0.5),
            Panel(known * (warped - left), f"warped minus left: mean {after:.3f}", scale=2, limit=0.5),
        ],
    )
    save(strip("Warp2D: the second view, read where the flow points", *rows), "warp")


def cost_volume() -> None:
    left, right, disparity = views()
    known = tf.constant(np.float32(disparity > 0))

    def centred(view: tf.Tensor) -> tf.Tensor:
        """Return a view minus its local mean: without this the brightest pixels would match everything."""
        mean = tf.nn.avg_pool2d(view, 9, 1, "SAME")
        view = view - mean
        return view / (tf.sqrt(tf.nn.avg_pool2d(view**2, 9, 1, "SAME")) + 0.02)

    volume = layers.CostVolume(max_displacement=15, kernel_size=9)([centred(left), centred(right)])
    n = 31
    row = volume[..., n * 15 : n * 15 + 16][..., ::-1]  # dy = 0, dx = 0, -1, ..., -15.
    found = tf.cast(tf.argmax(row, axis=-1), tf.float32)[..., None].numpy()
    near = float(tf.reduce_sum(known * tf.cast(tf.abs(found - disparity) <= 1, tf.float32)) / tf.reduce_sum(known))
    found = np.maximum(found, 0.1)  # 0 would be drawn as unknown.
    rows = (
        [
            Panel(left, "left view", scale=2),
            Panel(colored(disparity, 15), "true displacement -dx, 0 to 15 px\n(white: unknown)", scale=2),
            Panel(colored(found, 15), f"displacement of the largest value\n{near:.0%} within 1 px", scale=2),
        ],
        [Panel(row[..., k : k + 1] * 1.2, f"channel of dx = -{k}", scale=2) for k in (4, 7, 11)],
    )
    save(strip("CostVolume: how alike the two views are at each displacement", *rows), "cost_volume")


def show_flow() -> None:
    down, across = np.mgrid[-60:61, -80:81] / 8
    flow = np.stack([across, down], axis=-1)
    flow[10:20, 10:40] = np.nan
    save(visualize.show_flow(flow), "show_flow")


def draw() -> None:
    warp()
    show_flow()
    cost_volume()
