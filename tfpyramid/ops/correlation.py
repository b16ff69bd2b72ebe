"""The similarity of two feature maps at every displacement up to a maximum."""

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid._sizes import level_size
from tfpyramid.ops import batches, custom_gradients, lookup, slicing
from tfpyramid.ops._operation import operation
from tfpyramid.ops.convolution import depthwise_down
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.sampling import flow_for, positions, read_at
from tfpyramid.ops.shapes import dimension, dimensions

# Largest number of displacements in each direction, and of rows in a patch. Published networks use 4 to 20.
_MOST_STEPS = 32

# Pixels of a row that are multiplied together. More would compute more products that are not used.
_BLOCK = 8

_ONE_SHAPE = "`second` must have the shape of `first`."


@operation
def cost_volume(
    first: tf.Tensor,
    second: tf.Tensor,
    max_displacement: int = 4,
    *,
    step: int = 1,
    kernel_size: int = 1,
    flow: tf.Tensor | None = None,
    sampling: str = "warp",
) -> tf.Tensor:
    """Return the correlation of each pixel of one feature map with the pixels around it in another.

    With a flow, the window of each pixel is centred where the flow points.

    Convention:
        With `r = max_displacement // step` and `n = 2 r + 1`, channel k is the displacement
        `(dy, dx) = step (k // n - r, k % n - r)`, row by row. In the channel with the largest value,
        `second[p + (dy, dx)]` is most similar to `first[p]`, and (dx, dy) is the flow with which `warp` aligns `second`
        with `first`. The middle channel is zero displacement. Both maps are zero beyond their borders, and NaN or
        infinity times such a zero is NaN. In the backward pass, NaN or infinity in a map also reaches the gradient up
        to 7 steps further along its row than a displacement does. The result is the mean over channels, not the sum, so
        its scale does not depend on the number of channels.
        The two ways to use a flow are equal for a constant flow. With "warp", displacement d of pixel p reads the flow
        of pixel p + d, which may belong to another object, and has a gradient for it. With "lookup", all displacements
        of a pixel use its own flow, and no other flow has a gradient. Where a flow leaves the image, `second` fades to
        zero within a pixel, as in `warp`. A flow of NaN makes all costs of its pixel NaN with "lookup"; with "warp" one
        cost of each pixel that reaches it.

    Equation:
        `y[p, k] = sum_{l, c} first[p + l, c] second[p + l + (dy, dx), c] / (kernel_size^2 channels)`, l over the
        kernel_size by kernel_size offsets around 0. With a flow and "warp", `warp(second, flow)` replaces `second`.
        With "lookup", the position p + l + (dy, dx) in `second` becomes `p + l + flow[p + l] + (dy, dx)`, read
        bilinearly.

    Args:
        first: [batch, height, width, channels], floating point; sides of at least 1, known or not. float16 and bfloat16
            are summed in float32 and rounded once.
        second: the same shape and dtype.
        max_displacement: largest displacement in each direction, in pixels; from 0 to 1024, and at most 32 steps.
        step: pixels between two displacements; from 1 to 1024.
        kernel_size: height and width of the patches that are compared; odd, at most 31.
        flow: floating tensor [batch, height, width, 2], (dx, dy) in pixels from `first` to `second`; None stands for
            zero. A half-precision flow is added to the positions in float32.
        sampling: how a flow is used: "warp" or "lookup".

    Returns:
        [batch, height, width, (2 (max_displacement // step) + 1)^2] of the same dtype.

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Dosovitskiy et al., FlowNet: Learning Optical Flow with Convolutional Networks, 2015, section 3, equation 1.
        Sun, Yang, Liu and Kautz, PWC-Net: CNNs for Optical Flow Using Pyramid, Warping, and Cost Volume, 2018,
        section 3, equation 3 ("warp").
        Teed and Deng, RAFT: Recurrent All-Pairs Field Transforms for Optical Flow, 2020, section 3.2 ("lookup").
        Hofinger, Rota Bulo, Porzi, Knapitsch, Pock and Kontschieder, Improving Optical Flow on a Pyramid Level, 2020
        (sampling instead of warping, there with absolute differences instead of products).
    """
    first, second = _checks.images(first, "first"), _checks.images(second, "second")
    max_displacement, step, kernel_size = check_search(max_displacement, step, kernel_size)
    check_shapes(first.shape, second.shape)
    if second.dtype != first.dtype:
        raise ValueError(
            f"`second` must have the dtype of `first`, {first.dtype.name}. Received: second of {second.dtype.name}"
        )
    sampling, centres = check_sampling(sampling), None
    if flow is None:
        second = assert_one_shape(first, second)
    else:
        centres = positions(flow_for(flow, {"first": first, "second": second}))
        if sampling == "warp":
            second, centres = read_at(second, *centres, "constant"), None
    work = working_dtype(first.dtype)
    x, y = tf.cast(first, work), tf.cast(second, work)
    count = 2 * (max_displacement // step) + 1
    volume = _costs(x, y, count, step) if centres is None else lookup.costs(x, y, *centres, count, step)
    if kernel_size > 1:
        kernel = tf.fill([kernel_size, kernel_size, count**2, 1], tf.constant(kernel_size**-2, work))
        volume = depthwise_down(volume, kernel, 1, border="constant")
    return tf.cast(volume, first.dtype)


def _costs(x: tf.Tensor, y: tf.Tensor, count: int, step: int) -> tf.Tensor:
    """Return the costs for patches of one pixel: [batch, height, width, count^2].

    For each row of displacements, a matrix product multiplies each pixel of a block with all pixels that the block
    meets in another row. The costs are a band of it; the rest is not used.
    """
    batch, height, width, channels = dimensions(x)
    reach = step * (count // 2)
    blocks = level_size(width, step * _BLOCK)
    end = blocks * step * _BLOCK
    first = _blocks(tf.pad(x / channels, [[0, 0], [0, 0], [0, end - width], [0, 0]]), step)
    more = level_size(count - 1, _BLOCK)  # Blocks after its own that a block meets.
    after = end + more * step * _BLOCK - width - reach
    second = _blocks(tf.pad(y, [[0, 0], [reach, reach], [reach, after], [0, 0]]), step)
    met = [
        tf.slice(second, [0, k, 0, 0], [-1, blocks, min(_BLOCK, _BLOCK + count - 1 - k * _BLOCK), -1])
        for k in range(more + 1)
    ]
    second = tf.reshape(tf.concat(met, 2), [-1, _BLOCK + count - 1, channels])
    first = tf.reshape(first, [-1, _BLOCK, channels])
    volume = _bands(count, first, second)
    volume = tf.reshape(volume, [height, step, batch, blocks * _BLOCK, count**2])
    volume = tf.reshape(tf.transpose(volume, [2, 0, 3, 1, 4]), [batch, height, end, count**2])
    volume = slicing.samples(volume, 2, 0, width)
    volume.set_shape([*x.shape[:3], count**2])
    return volume


def _blocks(x: tf.Tensor, step: int) -> tf.Tensor:
    """Return images as [height * step * batch, blocks, pixels of a block, channels].

    A block has pixels of one row that are `step` apart. Rows are first, because TensorFlow reads a run of entries of
    the first axis without a copy.
    """
    batch, height, width, channels = dimensions(x)
    x = tf.transpose(tf.reshape(x, [batch, height, width // step, step, channels]), [1, 3, 0, 2, 4])
    return tf.reshape(x, [height * step * batch, width // (step * _BLOCK), _BLOCK, channels])


def _bands(count: int, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Return sums of products over channels, [entries, pixels, count, count].

    Args:
        count: number of displacements in each direction.
        first: [entries, pixels, channels], a block of pixels in each entry.
        second: [entries + (count - 1) run, pixels + count - 1, channels]. Pixel j of entry e of `first` meets the
            pixels j to j + count - 1 of the entries e, e + run, e + 2 run, ...
    """

    @tf.custom_gradient
    def bands(first: tf.Tensor, second: tf.Tensor) -> tuple:
        (entries, pixels, _), length = dimensions(first), second.shape[1]
        run = (dimension(second, 0) - entries) // max(count - 1, 1)
        met = [slicing.samples(second, 0, i * run, entries) for i in range(count)]
        products = tf.concat([tf.matmul(first, each, transpose_b=True) for each in met], 1)
        # In rows that are one longer, the band is a rectangle.
        products = tf.pad(tf.reshape(products, [-1, pixels * length]), [[0, 0], [0, pixels]])
        volume = tf.slice(tf.reshape(products, [-1, pixels, length + 1]), [0, 0, 0], [-1, -1, count])
        volume = tf.transpose(tf.reshape(volume, [-1, count, pixels, count]), [0, 2, 1, 3])

        def grad(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            weights = tf.reshape(tf.transpose(upstream, [0, 2, 1, 3]), [-1, pixels, count])
            weights = tf.reshape(tf.pad(weights, [[0, 0], [0, 0], [0, pixels]]), [-1, pixels * (length + 1)])
            weights = tf.reshape(tf.slice(weights, [0, 0], [-1, pixels * length]), [-1, count, pixels, length])
            weights = tf.unstack(weights, axis=1)
            to_second = 0
            for i, each in enumerate(weights):  # A running sum needs the memory of two terms, `tf.add_n` that of all.
                rows = [i * run, (count - 1 - i) * run]
                to_second += tf.pad(tf.matmul(each, first, transpose_a=True), [rows, [0, 0], [0, 0]])
            return sum(map(tf.matmul, weights, met)), to_second

        return volume, grad

    return custom_gradients.call(bands, first, second)


def check_shapes(first: Any, second: Any) -> None:
    """Raise `ValueError` unless two feature maps can have the same shape."""
    if not tf.TensorShape(second).is_compatible_with(first):
        raise ValueError(f"{_ONE_SHAPE} Received: first of shape {tuple(first)}, second of shape {tuple(second)}")


def assert_one_shape(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Return `second`, which must have the shape of `first`, also where only the graph knows it."""
    rule = f"{_ONE_SHAPE} Received: the sizes of `first`, then of `second`,"
    (second,) = batches.assert_equal(rule, [second], dimensions(first), dimensions(second))
    return second


def check_sampling(sampling: str) -> str:
    """Return the checked name of how a flow is used."""
    return _checks.one_of("sampling", sampling, ("warp", "lookup"))


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
