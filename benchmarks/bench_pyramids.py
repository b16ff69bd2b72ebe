"""How fast are pyramids, compared with other libraries?

    pip install -e '.[bench]'
    python benchmarks/bench_pyramids.py [--output FOLDER] [--quick] [--only WORK]

The benchmark computes five levels in float32 with the binomial kernel and a mirrored border, forward and with the
gradient of the images; a Laplacian pyramid and its inverse; and the blur of a pooling layer, forward and backward. All
contenders of a task are interleaved in one run, with as many threads as cores, so that other work on the machine
affects all of them equally. Libraries that are not installed have no row. The results are the median of each, its
quartiles, and the ratio of the medians. `--quick` runs everything on images that are too small to measure anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import contest
import numpy as np
import tensorflow as tf
from contest import COMPILED, OURS, UNKNOWN, Call, Work, channels_first, peer, traced

from tfpyramid import layers, ops

LEVELS = 5
TAPS = np.array([1, 4, 6, 4, 1], np.float32) / 16
PLAIN = "TensorFlow, `tf.pad` and depthwise"


def plain_down(images: tf.Tensor) -> tf.Tensor:
    """Return the next level, in the most common implementation."""
    kernel = tf.constant(np.tile(np.outer(TAPS, TAPS)[:, :, None, None], [1, 1, images.shape[3], 1]))
    padded = tf.pad(images, [[0, 0], [2, 2], [2, 2], [0, 0]], "REFLECT")
    return tf.nn.depthwise_conv2d(padded, kernel, [1, 2, 2, 1], "VALID")


def chain(first: Any, down: Callable, count: int = LEVELS) -> list:
    levels = [first]
    for _ in range(count - 1):
        levels.append(down(levels[-1]))
    return levels


def with_gradient(function: Callable) -> Callable:
    """Return a function from images and upstream gradients of the coarser levels to these levels and the gradient."""

    def run(images: tf.Tensor, *upstream: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(images)
            levels = function(images)[1:]
        return [*levels, tape.gradient(levels, images, list(upstream))]

    return run


def gradients_of_levels(images: np.ndarray) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    shapes = (level.shape for level in ops.gaussian_pyramid(images, LEVELS)[1:])
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


def gaussian(images: np.ndarray) -> Iterator[tuple[str, Call]]:
    yield OURS, traced(lambda x: ops.gaussian_pyramid(x, LEVELS), images)
    yield UNKNOWN, traced(lambda x: ops.gaussian_pyramid(x, LEVELS), images, unknown=True)
    yield COMPILED, traced(lambda x: ops.gaussian_pyramid(x, LEVELS), images, compiled=True)
    yield PLAIN, traced(lambda x: chain(x, plain_down), images)
    cv2 = peer("cv2")
    if cv2:
        yield "OpenCV `pyrDown`", lambda: [chain(image, cv2.pyrDown) for image in images]
    torch, kornia = peer("torch"), peer("kornia")
    if torch:
        x = channels_first(torch, images)
        down = torch_down(torch, images.shape[3])
        yield "torch, `conv2d(groups)`", lambda: chain(x, down)
        if kornia:
            yield "kornia `build_pyramid`", lambda: kornia.geometry.transform.build_pyramid(x, LEVELS)
    transform = peer("skimage.transform")
    if transform:
        pyramid = transform.pyramid_gaussian
        yield (
            "scikit-image `pyramid_gaussian`",
            lambda: [list(pyramid(image, LEVELS - 1, channel_axis=-1)) for image in images],
        )
    addons = peer("tensorflow_addons")
    if addons:

        def blurred(x: tf.Tensor) -> tf.Tensor:
            return addons.image.gaussian_filter2d(x, 5, 1.0)[:, ::2, ::2]

        yield "tensorflow-addons `gaussian_filter2d`", traced(lambda x: chain(x, blurred), images)
    graphics = peer("tensorflow_graphics.image.pyramid")
    if graphics:
        yield "tensorflow-graphics `downsample`", traced(lambda x: graphics.downsample(x, LEVELS - 1), images)
    yield "a copy of the images", lambda: images.copy()


def gaussian_and_gradient(images: np.ndarray) -> Iterator[tuple[str, Call]]:
    upstream = gradients_of_levels(images)
    ours = with_gradient(lambda x: ops.gaussian_pyramid(x, LEVELS))
    yield OURS, traced(ours, images, *upstream)
    yield UNKNOWN, traced(ours, images, *upstream, unknown=True)
    yield COMPILED, traced(ours, images, *upstream, compiled=True)
    yield PLAIN, traced(with_gradient(lambda x: chain(x, plain_down)), images, *upstream)
    torch = peer("torch")
    if torch:
        x, *back = (channels_first(torch, array) for array in (images, *upstream))
        x.requires_grad_()
        down = torch_down(torch, images.shape[3])
        yield "torch, `conv2d(groups)`", lambda: torch.autograd.grad(chain(x, down)[1:], x, back)


def laplacian(images: np.ndarray) -> Iterator[tuple[str, Call]]:
    def there_and_back(x: tf.Tensor) -> tf.Tensor:
        return ops.reconstruct(ops.laplacian_pyramid(x, LEVELS))

    yield OURS, traced(there_and_back, images)
    yield COMPILED, traced(there_and_back, images, compiled=True)
    cv2 = peer("cv2")
    if cv2:

        def with_opencv(image: np.ndarray) -> np.ndarray:
            levels = chain(image, cv2.pyrDown)
            finer = list(zip(levels, levels[1:]))
            residuals = [fine - cv2.pyrUp(coarse, dstsize=fine.shape[1::-1]) for fine, coarse in finer]
            x = levels[-1]
            for residual in reversed(residuals):
                x = residual + cv2.pyrUp(x, dstsize=residual.shape[1::-1])
            return x

        yield "OpenCV `pyrDown` and `pyrUp`", lambda: [with_opencv(image) for image in images]


def blur_pool(images: np.ndarray) -> Iterator[tuple[str, Call]]:
    layer = layers.BlurPool2D(5)
    upstream = layer(images).numpy()
    yield OURS, traced(with_gradient(lambda x: [x, layer(x)]), images, upstream)
    yield PLAIN, traced(with_gradient(lambda x: chain(x, plain_down, 2)), images, upstream)
    torch = peer("torch")
    if torch:
        x, g = (channels_first(torch, array) for array in (images, upstream))
        x.requires_grad_()
        down = torch_down(torch, images.shape[3])
        yield "torch, `conv2d(groups)`", lambda: torch.autograd.grad(down(x), x, g)


def torch_down(torch: Any, channels: int) -> Callable:
    kernel = torch.from_numpy(np.tile(np.outer(TAPS, TAPS), [channels, 1, 1, 1]).reshape(channels, 1, 5, 5))

    def down(x: Any) -> Any:
        padded = torch.nn.functional.pad(x, (2, 2, 2, 2), mode="reflect")
        return torch.nn.functional.conv2d(padded, kernel, stride=2, groups=channels)

    return down


HD, MANY, ODD, FEATURES = (1, 1080, 1920, 3), (8, 512, 512, 3), (1, 1081, 1919, 3), (16, 56, 56, 64)
WORKS = {
    "gaussian": Work("Gaussian pyramid", [HD, MANY, ODD], gaussian),
    "gradient": Work("Gaussian pyramid and gradient", [HD, MANY, ODD, FEATURES], gaussian_and_gradient),
    "laplacian": Work("Laplacian pyramid and inverse", [HD, ODD], laplacian),
    "blur": Work("Blur by 2 and gradient", [(32, 64, 64, 64)], blur_pool),
}


def main() -> None:
    contest.hold("pyramids", __doc__, WORKS)


if __name__ == "__main__":
    main()
