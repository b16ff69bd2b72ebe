"""What bench_small.py measures: the pyramids of tfpyramid, and the same pyramids in plain TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import bench_pyramids
import contest
import numpy as np
import tensorflow as tf
from bench_pyramids import LEVELS, TAPS
from contest import Call, Shape

from tfpyramid import layers, ops

ROOT, ROOT_LEVELS = 2**0.5, 6


def plain_step(channels: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return the blur and decimation of `bench_pyramids.plain_down`, with a kernel that is made once."""
    kernel = depthwise_kernel(channels)

    def down(images: tf.Tensor, stride: int = 2) -> tf.Tensor:
        padded = tf.pad(images, [[0, 0], [2, 2], [2, 2], [0, 0]], "REFLECT")
        return tf.nn.depthwise_conv2d(padded, kernel, [1, stride, stride, 1], "VALID")

    return down


def depthwise_kernel(channels: int) -> tf.Tensor:
    return tf.constant(np.tile(np.outer(TAPS, TAPS)[:, :, None, None], [1, 1, channels, 1]))


def plain_gaussian(channels: int) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    down = plain_step(channels)
    return lambda images: bench_pyramids.chain(images, down)


def plain_root(channels: int) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """Return a pyramid at a factor of √2: each level is blurred, and resized by `tf.image.resize`."""
    blur = plain_step(channels)

    def down(images: tf.Tensor) -> tf.Tensor:
        size = tf.cast(tf.math.ceil(tf.cast(tf.shape(images)[1:3], tf.float32) / ROOT), tf.int32)
        return tf.image.resize(blur(images, 1), size)

    return lambda images: bench_pyramids.chain(images, down, ROOT_LEVELS)


def plain_up(channels: int) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Return the function of a coarse and a finer level that upsamples by 2, like OpenCV's `pyrUp`.

    It takes unknown sides of the finer level for odd: then one `tf.pad` mirrors both ends.
    """
    kernel = tf.constant(4 * np.einsum("ij,cd->ijcd", np.outer(TAPS, TAPS), np.eye(channels, dtype=np.float32)))

    def up(coarse: tf.Tensor, fine: tf.Tensor) -> tf.Tensor:
        even = [[0, int(side is not None and side % 2 == 0)] for side in fine.shape[1:3]]
        padded = tf.pad(coarse, [[0, 0], *([1, 1 - end] for _, end in even), [0, 0]], "REFLECT")
        if any(end for _, end in even):
            padded = tf.pad(padded, [[0, 0], *even, [0, 0]], "SYMMETRIC")
        rows, columns = sides(fine)
        shape = [tf.shape(coarse)[0], *(2 * side + 3 for side in sides(padded)), channels]
        return tf.nn.conv2d_transpose(padded, kernel, shape, 2, "VALID")[:, 4 : 4 + rows, 4 : 4 + columns]

    return up


def sides(images: tf.Tensor) -> list:
    """Return height and width, as integers where they are known."""
    return [tf.shape(images)[axis] if images.shape[axis] is None else images.shape[axis] for axis in (1, 2)]


def plain_laplacian(channels: int) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    down, up = plain_step(channels), plain_up(channels)

    def pyramid(images: tf.Tensor) -> list[tf.Tensor]:
        levels = bench_pyramids.chain(images, down)
        return [*(fine - up(coarse, fine) for fine, coarse in zip(levels, levels[1:])), levels[-1]]

    return pyramid


def plain_inverse(channels: int) -> Callable[[tf.Tensor], tf.Tensor]:
    pyramid, up = plain_laplacian(channels), plain_up(channels)

    def there_and_back(images: tf.Tensor) -> tf.Tensor:
        *residuals, x = pyramid(images)
        for residual in reversed(residuals):
            x = residual + up(x, residual)
        return x

    return there_and_back


def our_gaussian(channels: int) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    return lambda images: ops.gaussian_pyramid(images, LEVELS)


def our_layer(channels: int) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    return layers.GaussianPyramid(LEVELS)


def our_root(channels: int) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    return lambda images: ops.gaussian_pyramid(images, ROOT_LEVELS, scale_factor=ROOT)


def our_laplacian(channels: int) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    return lambda images: ops.laplacian_pyramid(images, LEVELS)


def our_inverse(channels: int) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda images: ops.reconstruct(ops.laplacian_pyramid(images, LEVELS))


# For each pyramid, the function of ours and of plain TensorFlow, made for a number of channels.
PYRAMIDS: dict[str, tuple[Callable, Callable]] = {
    "gaussian": (our_gaussian, plain_gaussian),
    "laplacian": (our_laplacian, plain_laplacian),
    "root": (our_root, plain_root),
    "layer": (our_layer, plain_gaussian),
    "inverse": (our_inverse, plain_inverse),
}


def with_gradient(function: Callable) -> Callable:
    """Return a function from images and gradients of what `function` returns to these and the gradient of images."""

    def run(images: tf.Tensor, *upstream: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(images)
            returned = tf.nest.flatten(function(images))
        returned = [x for x in returned if x is not images]
        return [*returned, tape.gradient(returned, images, list(upstream) or None)]

    return run


def call(pyramid: str, mode: str, shape: Shape, *, plain: bool) -> Call:
    """Return a call of a pyramid, with what it computes prepared: `mode` is "eager", "forward" or "gradient"."""
    rng = np.random.default_rng(0)
    images = rng.random(shape, dtype=np.float32)
    function = PYRAMIDS[pyramid][plain](shape[3])
    if mode == "eager":
        x = tf.constant(images)
        return lambda: function(x)
    if mode == "forward":
        return contest.traced(function, images)
    upstream = [rng.standard_normal(shape, dtype=np.float32) for shape in upstream_shapes(pyramid, shape)]
    return contest.traced(with_gradient(function), images, *upstream)


def upstream_shapes(pyramid: str, shape: Shape) -> Sequence[Shape]:
    """Return the shapes of what a pyramid computes; the first level of a Gaussian pyramid is its argument."""
    return [shape] if pyramid == "inverse" else layers.GaussianPyramid(LEVELS).compute_output_shape(shape)[1:]
