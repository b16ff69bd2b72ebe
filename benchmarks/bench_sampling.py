"""How fast are bilinear sampling and a cost volume, compared with other libraries?

    pip install -e '.[bench]'
    python benchmarks/bench_sampling.py [--output FOLDER] [--quick] [--only WORK]

The benchmark samples images in float32, with zeros outside: at random points and at the points of a smooth warp, which
moves each pixel by a few pixels, as many as the images have pixels; and at those of a smooth warp to twice the sides,
four times as many. It also compares two feature maps at displacements of up to four pixels, and at displacements
of up to four pixels from a smooth flow. It reads crops of 32 by 32 samples around random fixations, four of each, with
samples 1, 2, 4 and 8 pixels apart. It measures the forward pass, and the forward pass with all gradients; of crops,
with the gradient of the fixations. All contenders of a task are interleaved in one run, with as many threads as cores.
Libraries that are not installed have no row. The results are the median of each, its quartiles, and the ratio of the
medians. `--quick` runs everything on images that are too small to measure anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import contest
import numpy as np
import tensorflow as tf
from contest import COMPILED, OURS, Call, Shape, Work, channels_first, peer, traced

from tfpyramid import ops

PLAIN, TORCH, OPENCV = "TensorFlow, `tf.gather_nd` four times", "torch `grid_sample`", "OpenCV `remap`"
SLICES, TORCH_SLICES = "TensorFlow, a product for each slice", "torch, a product for each slice"
LOOKUP, WARP = OURS, 'tfpyramid, `sampling="warp"`'
THREE, WHOLE, GLIMPSES = f"{OURS}, 3 fixations", f"{OURS}, the whole pyramid", "TensorFlow `extract_glimpse`, and means"
CROP, SPACINGS = 32, (1, 2, 4, 8)  # The sides of a crop, and the pixels between its samples.
REACH = 4  # The largest displacement of the cost volume.


def random_points(shape: Shape) -> np.ndarray:
    points = np.random.default_rng(1).random([*shape[:3], 2], np.float32)
    return points * np.float32([side - 1 for side in shape[1:3]])


def smooth_points(shape: Shape) -> np.ndarray:
    i, j = np.meshgrid(*map(np.arange, shape[1:3]), indexing="ij")
    points = np.stack([i + 2.3 * np.sin(j / 50), j + 2.7 * np.cos(i / 40)], -1)
    return np.tile(points.astype(np.float32), [shape[0], 1, 1, 1])


def enlarged_points(shape: Shape) -> np.ndarray:
    return smooth_points([shape[0], *(2 * side for side in shape[1:3])]) / 2 - np.float32(0.25)


def plain_sample(images: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
    """Return the samples, in the most common implementation."""
    batch, height, width = (tf.shape(images)[axis] for axis in range(3))
    low = tf.floor(points)
    fraction = points - low
    low = tf.cast(low, tf.int32)
    samples = tf.range(batch)[:, None, None] + tf.zeros_like(low[..., 0])
    parts = []
    for down in (0, 1):
        for right in (0, 1):
            i, j = low[..., 0] + down, low[..., 1] + right
            inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
            index = tf.stack([samples, tf.clip_by_value(i, 0, height - 1), tf.clip_by_value(j, 0, width - 1)], -1)
            rows, columns = fraction[..., 0], fraction[..., 1]
            weight = (rows if down else 1 - rows) * (columns if right else 1 - columns)
            weight = tf.cast(weight * tf.cast(inside, weight.dtype), images.dtype)
            parts.append(tf.gather_nd(images, index) * weight[..., None])
    return tf.add_n(parts)


def torch_sample(torch: Any, images: np.ndarray, points: np.ndarray) -> tuple[Callable, list]:
    """Return `grid_sample` and its arguments, with channels first and points (x, y) from -1 to 1."""
    last = np.float32(images.shape[2:0:-1]) - 1
    arguments = [channels_first(torch, images), torch.from_numpy(points[..., ::-1] / last * 2 - 1)]
    return partial(torch.nn.functional.grid_sample, align_corners=True), arguments


def forward(images: np.ndarray, points_of: Callable[[Shape], np.ndarray]) -> Iterator[tuple[str, Call]]:
    points = points_of(images.shape)
    yield OURS, traced(ops.bilinear_sample, images, points)
    yield COMPILED, traced(ops.bilinear_sample, images, points, compiled=True)
    yield PLAIN, traced(plain_sample, images, points)
    torch, cv2 = peer("torch"), peer("cv2")
    if torch:
        sample, arguments = torch_sample(torch, images, points)
        yield TORCH, lambda: sample(*arguments)
    if cv2 and images.shape[3] <= 4:
        maps = [(at[..., 1].copy(), at[..., 0].copy()) for at in points]
        yield OPENCV, lambda: [cv2.remap(x, *at, cv2.INTER_LINEAR) for x, at in zip(images, maps)]


def with_gradients(sample: Callable) -> Callable:
    """Return a function from two tensors, such as images and points, and the upstream gradient to y and gradients."""

    def run(first: tf.Tensor, second: tf.Tensor, upstream: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([first, second])
            y = sample(first, second)
        return [y, *tape.gradient(y, [first, second], upstream)]

    return run


def and_gradients(images: np.ndarray, points_of: Callable[[Shape], np.ndarray]) -> Iterator[tuple[str, Call]]:
    points = points_of(images.shape)
    upstream = np.random.default_rng(2).standard_normal([*points.shape[:3], images.shape[3]], np.float32)
    yield OURS, traced(with_gradients(ops.bilinear_sample), images, points, upstream)
    yield COMPILED, traced(with_gradients(ops.bilinear_sample), images, points, upstream, compiled=True)
    yield PLAIN, traced(with_gradients(plain_sample), images, points, upstream)
    torch = peer("torch")
    if torch:
        sample, arguments = torch_sample(torch, images, points)
        back = channels_first(torch, upstream)
        arguments = [argument.requires_grad_() for argument in arguments]

        def ask() -> list:
            y = sample(*arguments)
            return [y, *torch.autograd.grad(y, arguments, back)]

        yield TORCH, ask


def plain_volume(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Return the products of the first map and each slice of the second, in the most common implementation."""
    height, width = first.shape[1:3]
    padded = tf.pad(second, [[0, 0], [REACH, REACH], [REACH, REACH], [0, 0]])
    slices = [padded[:, i : i + height, j : j + width] for i in range(2 * REACH + 1) for j in range(2 * REACH + 1)]
    return tf.stack([tf.reduce_mean(first * each, -1) for each in slices], -1)


def torch_volume(torch: Any, first: Any, second: Any) -> Any:
    height, width = first.shape[2:]
    padded = torch.nn.functional.pad(second, [REACH] * 4)
    slices = [padded[:, :, i : i + height, j : j + width] for i in range(2 * REACH + 1) for j in range(2 * REACH + 1)]
    return torch.stack([(first * each).mean(1) for each in slices], 1)


def matching(images: np.ndarray, *, gradients: bool) -> Iterator[tuple[str, Call]]:
    rng = np.random.default_rng(1)
    maps = images, rng.random(images.shape, np.float32)
    upstream = rng.standard_normal([*images.shape[:3], (2 * REACH + 1) ** 2], np.float32)
    wrap, more = (with_gradients, [upstream]) if gradients else (lambda function: function, [])
    ours = partial(ops.cost_volume, max_displacement=REACH)
    yield OURS, traced(wrap(ours), *maps, *more)
    yield COMPILED, traced(wrap(ours), *maps, *more, compiled=True)
    yield SLICES, traced(wrap(plain_volume), *maps, *more)
    torch = peer("torch")
    if torch:
        arguments = [channels_first(torch, each).requires_grad_(gradients) for each in maps]
        back = channels_first(torch, upstream)

        def ask() -> list:
            y = torch_volume(torch, *arguments)
            return [y, *torch.autograd.grad(y, arguments, back)] if gradients else [y]

        yield TORCH_SLICES, ask


def smooth_flow(shape: Shape) -> np.ndarray:
    i, j = np.meshgrid(*map(np.arange, shape[1:3]), indexing="ij")
    return (smooth_points(shape) - np.stack([i, j], -1)).astype(np.float32)[..., ::-1].copy()


def window_of(points: np.ndarray) -> np.ndarray:
    """Return points and all displacements of each, [batch, height, width * displacements, 2]."""
    steps = np.stack(np.meshgrid(*2 * [np.arange(-REACH, REACH + 1)], indexing="ij"), -1).reshape(-1, 2)
    return np.float32(points[..., None, :] + steps).reshape(*points.shape[:2], -1, 2)


def plain_lookup(first: tf.Tensor, second: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
    """Return the products of the first map and the samples of all displacements, in the most common implementation."""
    steps = tf.stack(tf.meshgrid(*2 * [tf.range(-REACH, REACH + 1.0)], indexing="ij"), -1)
    window = tf.reshape(points[..., None, :] + tf.reshape(steps, [-1, 2]), [*points.shape[:2], -1, 2])
    samples = tf.reshape(plain_sample(second, window), [*first.shape[:3], -1, first.shape[3]])
    return tf.reduce_mean(first[..., None, :] * samples, -1)


def looking_up(images: np.ndarray, *, gradients: bool) -> Iterator[tuple[str, Call]]:
    rng = np.random.default_rng(1)
    maps, flow, points = (
        [images, rng.random(images.shape, np.float32)],
        smooth_flow(images.shape),
        smooth_points(images.shape),
    )
    upstream = rng.standard_normal([*images.shape[:3], (2 * REACH + 1) ** 2], np.float32)

    def call(function: Callable, third: np.ndarray, **options: Any) -> Call:
        def run(*tensors: tf.Tensor) -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(tensors[:3])
                y = function(*tensors[:3])
            return [y, *tape.gradient(y, tensors[:3], tensors[3])]

        return traced(*((run, *maps, third, upstream) if gradients else (function, *maps, third)), **options)

    def ours(first: tf.Tensor, second: tf.Tensor, flow: tf.Tensor, sampling: str = "lookup") -> tf.Tensor:
        return ops.cost_volume(first, second, REACH, flow=flow, sampling=sampling)

    yield LOOKUP, call(ours, flow)
    yield COMPILED, call(ours, flow, compiled=True)
    yield WARP, call(partial(ours, sampling="warp"), flow)
    yield PLAIN, call(plain_lookup, points)
    torch = peer("torch")
    if torch:
        sample, (second, window) = torch_sample(torch, maps[1], window_of(points))
        first, back = channels_first(torch, maps[0]), channels_first(torch, upstream)
        arguments = [each.requires_grad_(gradients) for each in (first, second, window)]

        def ask() -> list:
            samples = sample(second, window).reshape(*first.shape, -1)
            y = (first[..., None] * samples).mean(1).permute(0, 3, 1, 2)
            return [y, *torch.autograd.grad(y, arguments, back)] if gradients else [y]

        yield TORCH, ask


def whole_pyramid(images: tf.Tensor, fixations: tf.Tensor) -> list[tf.Tensor]:
    """Return the crops, read from a pyramid of the whole images."""
    steps = tf.range(CROP, dtype=tf.float32) - (CROP - 1) / 2
    grid = tf.stack(tf.meshgrid(steps, steps, indexing="ij"), -1)
    center = (fixations * tf.cast(tf.shape(images)[1:3], tf.float32) - 0.5)[:, None, None]
    levels = ops.gaussian_pyramid(images, len(SPACINGS))
    return [ops.bilinear_sample(x, center / s + grid, border="reflect") for x, s in zip(levels, SPACINGS)]


def glimpses(images: tf.Tensor, fixations: tf.Tensor) -> list[tf.Tensor]:
    """Return the means of cells of whole pixels, as the first networks with a fovea read them."""
    crops = []
    for s in SPACINGS:
        part = tf.image.extract_glimpse(images, [s * CROP] * 2, 2 * fixations - 1)
        crops.append(tf.nn.avg_pool2d(part, s, s, "VALID"))
    return crops


def torch_crops(torch: Any, images: Any, fixations: Any) -> list:
    """Return the means of cells of samples."""
    functional, crops = torch.nn.functional, []
    for s in SPACINGS:
        steps = torch.arange(s * CROP) - (s * CROP - 1) / 2
        grid = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1) * 2 / torch.tensor(images.shape[:1:-1])
        points = 2 * fixations.flip(1)[:, None, None] - 1 + grid
        part = functional.grid_sample(images, points, padding_mode="reflection", align_corners=False)
        crops.append(functional.avg_pool2d(part, s))
    return crops


def looking(images: np.ndarray, *, gradients: bool) -> Iterator[tuple[str, Call]]:
    rng = np.random.default_rng(1)
    one, three = (rng.random(shape, np.float32) for shape in ([len(images), 2], [len(images), 3, 2]))
    ours = partial(ops.foveated_pyramid, size=CROP, num_levels=len(SPACINGS))

    def call(function: Callable, fixations: np.ndarray, **options: Any) -> Call:
        def run(images: tf.Tensor, fixations: tf.Tensor) -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(fixations)
                crops = function(images, fixations)
            return [*crops, tape.gradient(crops, fixations)]

        return traced(run if gradients else function, images, fixations, **options)

    yield OURS, call(ours, one)
    yield COMPILED, call(ours, one, compiled=True)
    yield THREE, call(ours, three)
    yield WHOLE, call(whole_pyramid, one)
    if not gradients:
        yield GLIMPSES, call(glimpses, one)
    torch = peer("torch")
    if torch:
        x, fixations = channels_first(torch, images), torch.from_numpy(one).requires_grad_(gradients)

        def ask() -> list:
            crops = torch_crops(torch, x, fixations)
            return [*crops, *torch.autograd.grad(sum(map(torch.sum, crops)), fixations)] if gradients else crops

        yield TORCH, ask


SHAPES = [(1, 1080, 1920, 3), (16, 56, 56, 64)]
SMALL, FEATURES = [(1, 540, 960, 3)], [(1, 256, 448, 32)]
LEVEL, SQUARES = [(1, 64, 112, 32)], [(8, side, side, 3) for side in (512, 1024, 2048)]
WORKS = {
    "random": Work("Points at random", SHAPES, partial(forward, points_of=random_points)),
    "smooth": Work("A smooth warp", SHAPES, partial(forward, points_of=smooth_points)),
    "random_gradient": Work("Points at random, and gradients", SHAPES, partial(and_gradients, points_of=random_points)),
    "smooth_gradient": Work("A smooth warp, and gradients", SHAPES, partial(and_gradients, points_of=smooth_points)),
    "enlarged": Work("A smooth warp to twice the sides", SMALL, partial(forward, points_of=enlarged_points)),
    "enlarged_gradient": Work(
        "A smooth warp to twice the sides, and gradients", SMALL, partial(and_gradients, points_of=enlarged_points)
    ),
    "matching": Work("A cost volume of 81 displacements", FEATURES, partial(matching, gradients=False)),
    "matching_gradient": Work(
        "A cost volume of 81 displacements, and gradients", FEATURES, partial(matching, gradients=True)
    ),
    "lookup": Work("A cost volume of 81 displacements from a flow", LEVEL, partial(looking_up, gradients=False)),
    "lookup_gradient": Work(
        "A cost volume of 81 displacements from a flow, and gradients", LEVEL, partial(looking_up, gradients=True)
    ),
    "fovea": Work("Crops of 4 levels around a fixation", SQUARES, partial(looking, gradients=False)),
    "fovea_gradient": Work(
        "Crops of 4 levels, and the gradient of the fixation", SQUARES, partial(looking, gradients=True)
    ),
}


def main() -> None:
    contest.hold("sampling", __doc__, WORKS)


if __name__ == "__main__":
    main()
