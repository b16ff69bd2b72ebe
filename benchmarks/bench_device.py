"""How fast are tfpyramid's layers on this machine's GPU, compared with plain TensorFlow and Keras?

    pip install -e '.[test]' 'tensorflow[and-cuda]'
    python benchmarks/bench_device.py [--output FOLDER] [--quick] [--only WORK]

TensorFlow uses the first GPU that it finds. If it finds none, the benchmark runs on the CPU and says so in its tables.
Layers take float32 images and compute in float32, or in float16 with the policy "mixed_float16", with and without XLA.
"and gradients" adds the gradients of the images and of all weights. All contenders of a table are interleaved in one
run. A time ends when the device has finished. The results are the median of each, its quartiles, and the time of
tfpyramid without XLA divided by it. The folder `device_output` then holds the tables in README.md, and the numbers, the
versions and the name of the GPU in results/device.json. `--quick` runs everything on images that are too small to
measure anything.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import bench_pyramids
import bench_sampling
import common
import contest
import numpy as np
import tensorflow as tf
from bench_pyramids import LEVELS, TAPS
from contest import OURS, Call, Work

from tfpyramid import layers
from tfpyramid._compat import KERAS_3, keras

PLAIN, KERAS = "plain TensorFlow", "Keras"
NO_GPU = (
    "TensorFlow found no GPU, so this run measures the CPU, and the tables say so. To use an NVIDIA GPU, install a "
    "driver and `pip install 'tensorflow[and-cuda]'`; `tf.config.list_physical_devices('GPU')` must not be empty."
)

# The function of a layer, from images to a tensor or a list of tensors, and its trainable weights.
Model = tuple[Callable[[tf.Tensor], Any], list[Any]]


class Task(NamedTuple):
    """What to compute: a title, the shapes of the images, whether with gradients, and who computes it.

    A contender is made from the number of channels and the policy of its dtypes.
    """

    title: str
    shapes: list[contest.Shape]
    gradients: bool
    contenders: Mapping[str, Callable[[int, str], Model]]


def model_of(layer: keras.layers.Layer, inputs: Callable[[tf.Tensor], Any] = lambda images: images) -> Model:
    """Return a layer that takes `inputs(images)` as a function of images."""
    return lambda images: layer(inputs(images)), layer.trainable_weights


def plain(function: Callable[[tf.Tensor], Any]) -> Callable[[int, str], Model]:
    """Return a contender that computes in the dtype of a policy, like a layer."""
    return lambda _, policy: (lambda images: function(tf.cast(images, compute_dtype(policy))), [])


def compute_dtype(policy: str) -> str:
    return policy.removeprefix("mixed_")


def pyramid(channels: int, policy: str) -> Model:
    layer = layers.GaussianPyramid(LEVELS, dtype=policy)
    return lambda images: layer(images)[1:], []


def built(make: Callable[[str], keras.layers.Layer]) -> Callable[[int, str], Model]:
    """Return a contender that is one layer of the images."""

    def contender(channels: int, policy: str) -> Model:
        layer = make(policy)
        layer.build([None, None, None, channels])
        return model_of(layer)

    return contender


def blurs(count: int) -> Callable[[int, str], Model]:
    """Return a contender of Keras's depthwise convolutions with zeros outside, for a pyramid of `count` levels."""

    def contender(channels: int, policy: str) -> Model:
        kernel = keras.initializers.Constant(np.tile(np.outer(TAPS, TAPS)[:, :, None, None], [1, 1, channels, 1]))
        settings = {"strides": 2, "padding": "same", "use_bias": False, "depthwise_initializer": kernel}
        steps = [keras.layers.DepthwiseConv2D(5, **settings, dtype=policy) for _ in range(count - 1)]
        for step in steps:
            step.build([None, None, None, channels])

        def run(images: tf.Tensor) -> list[tf.Tensor]:
            found = [tf.cast(images, compute_dtype(policy))]
            for step in steps:
                found.append(step(found[-1]))
            return found[1:]

        return run, [] if count > 2 else steps[0].trainable_weights

    return contender


def plain_down(images: tf.Tensor) -> tf.Tensor:
    """Return `bench_pyramids.plain_down` in the dtype of the images."""
    kernel = tf.constant(np.tile(np.outer(TAPS, TAPS)[:, :, None, None], [1, 1, images.shape[3], 1]), images.dtype)
    padded = tf.pad(images, [[0, 0], [2, 2], [2, 2], [0, 0]], "REFLECT")
    return tf.nn.depthwise_conv2d(padded, kernel, [1, 2, 2, 1], "VALID")


def two_levels(images: tf.Tensor) -> list[tf.Tensor]:
    return [images, images[:, ::2, ::2]]


def concat(channels: int, policy: str) -> Model:
    return model_of(layers.UpsampleConcat(dtype=policy), two_levels)


def keras_concat(channels: int, policy: str) -> Model:
    up = keras.layers.UpSampling2D(2, interpolation="bilinear", dtype=policy)
    joined = keras.layers.Concatenate(dtype=policy)

    def run(images: tf.Tensor) -> tf.Tensor:
        fine, coarse = two_levels(images)
        return joined([fine, up(coarse)[:, : tf.shape(fine)[1], : tf.shape(fine)[2]]])

    return run, []


def flow_of(images: tf.Tensor) -> tf.Tensor:
    """Return the flow (dx, dy) that moves pixels to `bench_sampling.smooth_points`."""
    pixels = np.stack(np.meshgrid(*map(np.arange, images.shape[1:3]), indexing="ij"), -1)
    moves = bench_sampling.smooth_points(tuple(images.shape)) - np.float32(pixels)
    return tf.constant(moves[..., ::-1])


def warp(channels: int, policy: str) -> Model:
    return model_of(layers.Warp2D(dtype=policy), lambda images: [images, flow_of(images)])


def plain_warp(images: tf.Tensor) -> tf.Tensor:
    return bench_sampling.plain_sample(images, tf.constant(bench_sampling.smooth_points(tuple(images.shape))))


THUMB, PHOTO, HD = (1, 32, 32, 3), (32, 224, 224, 3), (1, 1080, 1920, 3)
MANY, DEEP = (32, 32, 32, 64), (8, 56, 56, 256)

PYRAMIDS = {
    OURS: pyramid,
    PLAIN: plain(lambda images: bench_pyramids.chain(images, plain_down)[1:]),
    f"{KERAS}, `DepthwiseConv2D`": blurs(LEVELS),
}
TASKS = {
    "pyramid": Task("Gaussian pyramid", [THUMB, PHOTO, HD, MANY, DEEP], False, PYRAMIDS),
    "gradient": Task("Gaussian pyramid", [THUMB, PHOTO, HD, MANY, DEEP], True, PYRAMIDS),
    "blur": Task(
        "Blur by 2",
        [(32, 64, 64, 64)],
        True,
        {
            OURS: built(lambda policy: layers.BlurPool2D(5, dtype=policy)),
            PLAIN: plain(plain_down),
            f"{KERAS}, `AveragePooling2D`": built(lambda policy: keras.layers.AveragePooling2D(2, dtype=policy)),
        },
    ),
    "learned": Task(
        "Learned blur by 2",
        [(32, 64, 64, 64)],
        True,
        {
            OURS: built(lambda policy: layers.AntiAliasedDownsample2D(kernel_size=5, dtype=policy)),
            f"{KERAS}, `DepthwiseConv2D`": blurs(2),
        },
    ),
    "concat": Task("Upsampling by 2 and concatenation", [(32, 64, 64, 64)], True, {OURS: concat, KERAS: keras_concat}),
    "warp": Task("Smooth warp", [HD, (16, 56, 56, 64)], True, {OURS: warp, PLAIN: plain(plain_warp)}),
}


def step(model: Model, gradients: bool) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """Return the function to time; its gradients are those of half the sum of the squared outputs."""
    function, weights = model

    def run(images: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = tf.nest.flatten(function(images))
        if not gradients:
            return outputs
        variables = [weight.value if KERAS_3 else weight for weight in weights]
        return [*outputs, *tape.gradient(outputs, [images, *variables], outputs)]

    return run


def contenders(task: Task, policy: str, images: np.ndarray) -> Iterator[tuple[str, Call]]:
    """Yield the calls to time, each of which waits until the device has finished."""
    for name, make in task.contenders.items():
        function = step(make(images.shape[3], policy), task.gradients)
        yield name, synchronized(contest.traced(function, images))
        # On a CPU, XLA compiles a depthwise convolution to a loop that is a hundred times slower.
        if name == OURS or common.gpus():
            yield f"{name}, XLA", synchronized(contest.traced(function, images, compiled=True))


def synchronized(call: Call) -> Call:
    def run() -> Any:
        result = call()
        tf.test.experimental.sync_devices()
        return result

    return run


def works() -> dict[str, Work]:
    """Return each task in each policy; the titles name the device."""
    device = common.gpus()[0] if common.gpus() else "CPU, no GPU found"
    return {
        f"{key}-{policy}": Work(
            f"{task.title}{' and gradients' if task.gradients else ''}, {policy}, {device}",
            task.shapes,
            functools.partial(contenders, task, policy),
        )
        for key, task in TASKS.items()
        for policy in ("float32", "mixed_float16")
    }


def main() -> None:
    print(f"Measuring {common.gpus()[0]}." if common.gpus() else NO_GPU, file=sys.stderr)
    contest.hold("device", __doc__, works(), Path("device_output"))


if __name__ == "__main__":
    main()
