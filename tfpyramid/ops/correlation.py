"""The similarity of two feature maps at every displacement up to a maximum."""

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.ops import batches, slicing
from tfpyramid.ops._operation import operation
from tfpyramid.ops.convolution import depthwise_down
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.shapes import dimensions

# Largest number of displacements in each direction, and of rows in a patch. Published networks use 4 to 20.
_MOST_STEPS = 32

_ONE_SHAPE = "`second` must have the shape of `first`."


@operation
def cost_volume(
    first: tf.Tensor, second: tf.Tensor, max_displacement: int = 4, *, step: int = 1, kernel_size: int = 1
) -> tf.Tensor:
    """Return the correlation of each pixel of one feature map with the pixels around it in another.

    Convention:
        With `r = max_displacement // step` and `n = 2 r + 1`, channel k is the displacement
        `(dy, dx) = step (k // n - r, k % n - r)`, row by row. In the channel with the largest value,
        `second[p + (dy, dx)]` is most similar to `first[p]`, and (dx, dy) is the flow with which `warp` aligns `second`
        with `first`. The middle channel is zero displacement. Both maps are zero beyond their borders, and NaN or
        infinity times such a zero is NaN. The result is the mean over channels, not the sum, so its scale does not
        depend on the number of channels.

    Equation:
        `y[p, k] = sum_{l, c} first[p + l, c] second[p + l + (dy, dx), c] / (kernel_size^2 channels)`, l over the
        kernel_size by kernel_size offsets around 0.

    Args:
        first: [batch, height, width, channels], floating point; sides of at least 1, known or not. float16 and bfloat16
            are summed in float32 and rounded once.
        second: the same shape and dtype.
        max_displacement: largest displacement in each direction, in pixels; from 0 to 1024, and at most 32 steps.
        step: pixels between two displacements; from 1 to 1024.
        kernel_size: height and width of the patches that are compared; odd, at most 31.

    Returns:
        [batch, height, width, (2 (max_displacement // step) + 1)^2] of the same dtype.

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Dosovitskiy et al., FlowNet: Learning Optical Flow with Convolutional Networks, 2015, section 3, equation 1.
        Sun, Yang, Liu and Kautz, PWC-Net: CNNs for Optical Flow Using Pyramid, Warping, and Cost Volume, 2018,
        section 3, equation 3.
    """
    first, second = _checks.images(first, "first"), _checks.images(second, "second")
    max_displacement, step, kernel_size = check_search(max_displacement, step, kernel_size)
    check_shapes(first.shape, second.shape)
    if second.dtype != first.dtype:
        raise ValueError(
            f"`second` must have the dtype of `first`, {first.dtype.name}. Received: second of {second.dtype.name}"
        )
    rule = f"{_ONE_SHAPE} Received: the sizes of `first`, then of `second`,"
    (second,) = batches.assert_equal(rule, [second], dimensions(first), dimensions(second))
    work = working_dtype(first.dtype)
    x, y = tf.cast(first, work), tf.cast(second, work)
    _, height, width, _ = dimensions(x)
    count = 2 * (max_displacement // step) + 1
    reach = step * (count // 2)
    y = tf.pad(y, [[0, 0], [reach, reach], [reach, reach], [0, 0]])
    costs = []
    for i in range(count):
        # Slice the rows first: the backward pass then adds the gradients of one row before it computes the next.
        rows = slicing.samples(y, 1, step * i, height)
        for j in range(count):
            costs.append(tf.reduce_mean(x * slicing.samples(rows, 2, step * j, width), axis=-1))
    volume = tf.stack(costs, axis=-1)
    if kernel_size > 1:
        kernel = tf.fill([kernel_size, kernel_size, count**2, 1], tf.constant(kernel_size**-2, work))
        volume = depthwise_down(volume, kernel, 1, border="constant")
    return tf.cast(volume, first.dtype)


def check_shapes(first: Any, second: Any) -> None:
    """Raise `ValueError` unless two feature maps can have the same shape."""
    if not tf.TensorShape(second).is_compatible_with(first):
        raise ValueError(f"{_ONE_SHAPE} Received: first of shape {tuple(first)}, second of shape {tuple(second)}")


def check_search(max_displacement: int, step: int, kernel_size: int) -> tuple[int, int, int]:
    """Return the checked arguments of a search."""
    largest = _checks.LARGEST
    max_displacement = _checks.integer("max_displacement", max_displacement, 0, "in pixels", maximum=largest)
    step = _checks.integer("step", step, 1, "the pixels between two displacements", maximum=largest)
    kernel_size = _checks.integer(
        "kernel_size", kernel_size, 1, "the height and width of the patches that are compared", maximum=_MOST_STEPS
    )
    if max_displacement // step > _MOST_STEPS:
        raise ValueError(
            f"`max_displacement` must be at most {_MOST_STEPS} times `step`, because the output has a channel for "
            f"each displacement. Received: max_displacement={max_displacement}, step={step}"
        )
    if kernel_size % 2 == 0:
        raise ValueError(
            f"`kernel_size` must be odd, so that a patch has a middle pixel. Received: kernel_size={kernel_size}"
        )
    return max_displacement, step, kernel_size
