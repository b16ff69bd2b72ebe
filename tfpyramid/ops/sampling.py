"""Bilinear sampling of images at arbitrary points."""

from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.ops import batches, borders, cells, portable
from tfpyramid.ops._operation import operation
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.resample import Size, size_pair
from tfpyramid.ops.shapes import dimensions

_FLOW = (
    "`flow` must be [batch, height, width, 2], (dx, dy) in pixels, with the batch size, height and width of `images`."
)

# Rearranging the images for `cells` pays off up to this many channels, and up to this many pixels for each point.
_FEW, _SPARSE = 8, 8


@operation
def bilinear_sample(images: tf.Tensor, points: tf.Tensor, *, border: str = "constant") -> tf.Tensor:
    """Return images sampled at arbitrary points, by bilinear interpolation of the four pixels around each.

    Convention:
        Points are (y, x) in pixels; the centres of pixels are integers. Beyond the border the image is extended by the
        border rule; with "constant" it fades to zero within a pixel, and is zero outside (-1, n). At an integer
        position the derivative is the right-hand one, because floor selects the cell to the right.

    Equation:
        `y[p] = (1 - f)(1 - g) x[i, j] + (1 - f) g x[i, j + 1] + f (1 - g) x[i + 1, j] + f g x[i + 1, j + 1]`, where
        `i = floor(p_y)`, `f = p_y - i`, and j, g the same of p_x.

    Args:
        images: [batch, height, width, channels], floating point; sides of at least 1, known or not. float16 and
            bfloat16 are summed in float32 and rounded once.
        points: floating tensor [batch, ..., 2] with the same batch size: sample b holds the points for image b. float32
            or float64, also for half-precision images: 16 bits are too few for positions in a large image.
        border: "reflect", "symmetric", "edge", "constant" (zeros) or "wrap".

    Returns:
        [batch, ..., channels] of the dtype of `images`; NaN for a point that is NaN.

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Jaderberg, Simonyan, Zisserman and Kavukcuoglu, Spatial Transformer Networks, 2015, section 3.3, equation 5.
    """
    images = _checks.images(images)
    points = check_points(points)
    borders.check(border)
    images, points = batches.check({"images": images, "points": points})
    return read_points(images, points, border)


def read_points(images: tf.Tensor, points: tf.Tensor, border: str) -> tf.Tensor:
    """Return `bilinear_sample` without checking the arguments."""
    shape = tf.shape(images)
    low, fraction = _cells(points, shape[1:3, None], border)
    read = _from_cells if _is_dense(images.shape, points.shape) else _from_rows
    y = read(images, low, tf.cast(fraction, working_dtype(images.dtype)), border=border)
    return tf.cast(tf.reshape(y, [*dimensions(points)[:-1], images.shape[3]]), images.dtype)


def _cells(points: tf.Tensor, size: tf.Tensor, border: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Return floor and fraction of positions after the border rule has moved them inside: [2, batch, points]."""
    batch, count = tf.shape(points)[0], tf.reduce_prod(tf.shape(points)[1:-1])
    # Put the axes first: TensorFlow is slow if the last axis is short.
    positions = tf.transpose(tf.reshape(points, [-1, 2]))
    length = tf.cast(size, positions.dtype)
    if border == "constant":
        # Outside (-1, size) both weights are 0. Clip positions so that distant ones do not overflow an index.
        positions = tf.minimum(tf.maximum(positions, tf.cast(-1, positions.dtype)), length)
    else:
        positions = borders.fold(positions, length, border)
    low = tf.floor(positions)
    shape = [2, batch, count]
    return tf.reshape(tf.cast(low, tf.int32), shape), tf.reshape(positions - low, shape)


def _is_dense(images: tf.TensorShape, points: tf.TensorShape) -> bool:
    """Return whether `cells` is faster: there are known to be many points and few channels."""
    pixels, count = images[1:3].num_elements(), points[1:-1].num_elements()
    return images[3] <= _FEW and pixels is not None and count is not None and _SPARSE * count >= pixels


def _from_cells(images: tf.Tensor, low: tf.Tensor, fraction: tf.Tensor, *, border: str) -> tf.Tensor:
    framed, moved = cells.frame(tf.cast(images, fraction.dtype), border)
    if border == "wrap":
        # The remainder of a tiny negative number rounds to the divisor.
        low = tf.where(low < tf.shape(images)[1:3, None, None], low, tf.zeros_like(low))
    rows, columns = tf.unstack(low + moved if moved else low)
    (upper, left), (lower, right) = (tf.unstack(tf.reshape(part, [2, -1])) for part in (1 - fraction, fraction))
    weights = [upper * left, upper * right, lower * left, lower * right]
    values = cells.read(framed, rows, columns)
    # Ignore pixels of weight 0: 0 times NaN would be NaN.
    return tf.transpose(tf.add_n([portable.multiply_no_nan(value, part) for value, part in zip(values, weights)]))


def _from_rows(images: tf.Tensor, low: tf.Tensor, fraction: tf.Tensor, *, border: str) -> tf.Tensor:
    shape = tf.shape(images)
    pixels = tf.reshape(images, [-1, images.shape[3]])
    # A batch may have more pixels than int32 can hold.
    first = tf.range(tf.cast(shape[0], tf.int64))[:, None] * tf.cast(shape[1] * shape[2], tf.int64)
    pairs = [
        _neighbour(low + step, part, shape[1:3, None, None], border)
        for step, part in ((0, 1 - fraction), (1, fraction))
    ]
    parts = []
    for row, row_weight in ((first + tf.cast(index[0] * shape[2], tf.int64), part[0]) for index, part in pairs):
        for index, part in pairs:
            values = tf.gather_nd(pixels, tf.reshape(row + tf.cast(index[1], tf.int64), [-1, 1]))
            # A product of equal shapes is faster than a product that broadcasts.
            weights = tf.broadcast_to(tf.reshape(row_weight * part[1], [-1, 1]), tf.shape(values))
            # Ignore pixels of weight 0: 0 times NaN would be NaN.
            parts.append(portable.multiply_no_nan(tf.cast(values, fraction.dtype), weights))
    return tf.add_n(parts)


def _neighbour(index: tf.Tensor, part: tf.Tensor, size: tf.Tensor, border: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Return indices moved inside the image, with their weights, for indices that may lie beyond it."""
    if border == "constant":
        part = tf.where((index >= 0) & (index < size) | tf.math.is_nan(part), part, tf.zeros_like(part))
    return portable.remainder(index, size) if border == "wrap" else tf.clip_by_value(index, 0, size - 1), part


def nearest_point(points: tf.Tensor) -> tf.Tensor:
    """Return points rounded to the nearest pixel; of two equally near pixels, the first."""
    return tf.math.ceil(points - 0.5)


@operation
def affine_grid(matrices: tf.Tensor, image_size: Size, output_size: Size) -> tf.Tensor:
    """Return the points at which an affine map samples an image, for `bilinear_sample`.

    Convention:
        The map takes normalised coordinates of the output to those of the image. Both are -1 and 1 at the outer edges
        of the first and the last pixel, so the map does not depend on sizes. Rows and columns of the matrix are in the
        order (y, x), unlike the (x, y) of the paper and of other libraries. The identity [[1, 0, 0], [0, 1, 0]] gives
        the points of a resize with half-pixel centres, `(i + 1/2) size / output_size - 1/2`. [[a, 0, b], [0, a, c]]
        crops a window a times as large as the image, centred at (b, c).

    Equation:
        `points = ((M [v, u, 1]) + 1) image_size / 2 - 1/2`, with `v = (2 i + 1) / output_height - 1`, u likewise.

    Args:
        matrices: floating tensor [batch, 2, 3].
        image_size: (height, width) of the images to sample, as ints, scalar tensors, or one vector tensor.
        output_size: (height, width) of the grid, likewise.

    Returns:
        [batch, *output_size, 2], (y, x) in pixels, of the dtype of `matrices`, or float32 if that has 16 bits.

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Jaderberg, Simonyan, Zisserman and Kavukcuoglu, Spatial Transformer Networks, 2015, section 3.2, equation 1.
    """
    matrices = _checks.floating_tensor("matrices", matrices)
    if not matrices.shape.is_compatible_with([None, 2, 3]):
        raise ValueError(f"`matrices` must be of shape [batch, 2, 3]. Received: matrices of shape {matrices.shape}")
    matrices = tf.cast(matrices, working_dtype(matrices.dtype))
    output_size = size_pair(output_size)
    size, output = (
        tf.cast(tf.stack(pair), matrices.dtype) for pair in (size_pair(image_size, "image_size"), output_size)
    )
    # Measure pixels from the middle of the image, in halves of integers. Then the points of a resize by an integer
    # factor are exact, and rounding does not decide which pixel is nearest.
    down, across = (tf.cast(2 * tf.range(n) + 1 - n, matrices.dtype) / 2 for n in output_size)
    grid = tf.stack([*tf.meshgrid(down, across, indexing="ij"), tf.ones([*output_size], matrices.dtype)], -1)
    matrices = matrices * size[:, None] / tf.concat([output, [2]], 0)
    return tf.einsum("bdk,ijk->bijd", matrices, grid) + (size - 1) / 2


@operation
def warp(images: tf.Tensor, flow: tf.Tensor, *, border: str = "constant") -> tf.Tensor:
    """Return images sampled where an optical flow points: a backward warp.

    Convention:
        A flow is (dx, dy) in pixels, the usual order in flow files, while points are (y, x). It is added to the
        position: with the flow from a first image to a second, `warp` aligns the second image with the first. Beyond
        the border the image is extended by the border rule. `tfa.image.dense_image_warp` takes (dy, dx), subtracts it,
        and uses the border "edge".

    Equation:
        `y[p] = bilinear_sample(images, (p_y + flow[p, 1], p_x + flow[p, 0]))`.

    Args:
        images: [batch, height, width, channels], floating point; sides of at least 1, known or not.
        flow: floating tensor [batch, height, width, 2], with the batch size and sides of `images`. A half-precision
            flow is added to the positions in float32.
        border: "reflect", "symmetric", "edge", "constant" (zeros) or "wrap".

    Returns:
        [batch, height, width, channels] of the dtype of `images`.

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Sun, Yang, Liu and Kautz, PWC-Net: CNNs for Optical Flow Using Pyramid, Warping, and Cost Volume, 2018,
        section 3, equation 2.
    """
    images, flow = _checks.images(images), _checks.images(flow, "flow")
    check_flow(flow.shape, images.shape)
    borders.check(border)
    sizes = [dimensions(x)[:3] for x in (flow, images)]
    (flow,) = batches.assert_equal(f"{_FLOW} Received: three sizes of the flow, then of the images,", [flow], *sizes)
    flow = tf.cast(flow, working_dtype(flow.dtype))
    _, height, width, _ = dimensions(flow)
    grid = tf.meshgrid(tf.range(height), tf.range(width), indexing="ij")
    points = tf.cast(tf.stack(grid, -1), flow.dtype) + tf.reverse(flow, [-1])
    return read_points(images, points, border)


def check_flow(flow: Any, images: Any) -> None:
    """Raise `ValueError` unless the shape of a flow fits the shape of images."""
    if not tf.TensorShape(flow).is_compatible_with([*images[:3], 2]):
        raise ValueError(f"{_FLOW} Received: flow of shape {tuple(flow)}, images of shape {tuple(images)}")


def check_points(points: tf.Tensor) -> tf.Tensor:
    """Return points as a tensor [batch, ..., 2] of float32 or float64."""
    points = _checks.tensor("points", points)
    if points.dtype not in (tf.float32, tf.float64):
        raise ValueError(
            f"`points` must be float32 or float64, because 16-bit floats round positions. "
            f"Received: points of {points.dtype.name}"
        )
    if points.shape.rank is None or points.shape.rank < 2 or points.shape[-1] != 2:
        raise ValueError(
            f"`points` must be [batch, ..., 2], (y, x) in pixels. Received: points of shape {points.shape}"
        )
    return points
