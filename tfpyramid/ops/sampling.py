"""Bilinear sampling of images at arbitrary points."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.ops import batches, borders, cells, corners, custom_gradients, portable
from tfpyramid.ops._operation import operation
from tfpyramid.ops.dtypes import working_dtype
from tfpyramid.ops.resample import Size, size_pair
from tfpyramid.ops.shapes import dimensions, sides

_FLOW = "`flow` must be [batch, height, width, 2], (dx, dy) in pixels, with the batch size, height and width of"

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
        [batch, ..., channels] of the dtype of `images`; NaN for a point that is NaN, which the gradient of the images
        ignores.

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
    rows, columns = tf.unstack(points, axis=-1)
    return _sample(images, rows, columns, border, _is_dense(images.shape, rows.shape))


def _sample(images: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor, border: str, dense: bool) -> tf.Tensor:
    """Return images sampled at rows and columns, [batch, ...] each; by `cells` if there are many points."""
    work, size = working_dtype(images.dtype), sides(images)
    source = cells.frame(tf.cast(images, work), border) if dense else images

    # Autodiff would take several times as many operations. It still differentiates those of `grad`, and those of
    # `sample` in `tf.vectorized_map`.
    @tf.custom_gradient
    def sample(source: tf.Tensor, *positions: tf.Tensor) -> tuple:
        inside = [_inside(*pair, border) for pair in zip(positions, size)]
        lows = [tf.floor(position) for position in inside]
        fractions = [tf.cast(position - low, work) for position, low in zip(inside, lows)]
        four = (cells.Cells if dense else corners.Corners)(source, lows, fractions, border)

        def grad(upstream: tf.Tensor) -> tuple:
            to_source, *along = four.gradients(upstream)
            slopes = [_slope(*each, border) for each in zip(positions, inside, size)]
            to_positions = [
                tf.cast(tf.reshape(part, tf.shape(slope)), slope.dtype) * slope for part, slope in zip(along, slopes)
            ]
            return tf.cast(to_source, source.dtype), *to_positions

        return four.read(), grad

    return tf.cast(custom_gradients.call(sample, source, rows, columns), images.dtype)


def _inside(position: tf.Tensor, size: int | tf.Tensor, border: str) -> tf.Tensor:
    """Return positions on an axis, moved inside it by the border rule, or to -1 or `size` by "constant"."""
    if border == "constant":
        # Outside (-1, size) both weights are 0. Clip positions so that distant ones do not overflow an index.
        return tf.minimum(tf.maximum(position, -1), tf.cast(size, position.dtype))
    position = borders.fold(position, size, border)
    if border == "wrap":
        # The remainder of a tiny negative number rounds to the divisor.
        return tf.where(tf.equal(position, tf.cast(size, position.dtype)), tf.zeros_like(position), position)
    return position


def _slope(position: tf.Tensor, inside: tf.Tensor, size: int | tf.Tensor, border: str) -> tf.Tensor:
    """Return the derivative of `_inside`: 1 or -1, or 0 for a clipped position."""
    if border == "wrap":
        return tf.ones_like(position)
    if border in ("constant", "edge"):
        return tf.cast(tf.equal(position, inside), position.dtype)
    reach = tf.cast(2 * size - (2 if border == "reflect" else 1), position.dtype)
    period = tf.maximum(reach, 1) if border == "reflect" else reach + 1
    position = portable.remainder(position, period)
    forth, back = (tf.cast(tf.equal(each, inside), each.dtype) for each in (position, reach - position))
    return forth - back


def _is_dense(images: tf.TensorShape, rows: tf.TensorShape) -> bool:
    """Return whether `cells` is faster: there are known to be many points and few channels."""
    pixels, count = images[1:3].num_elements(), rows[1:].num_elements()
    return images[3] <= _FEW and pixels is not None and count is not None and _SPARSE * count >= pixels


def read_nearest(images: tf.Tensor, points: tf.Tensor, border: str) -> tf.Tensor:
    """Return the pixels nearest to points, without a gradient; of two equally near pixels, the first."""
    size, work = sides(images), working_dtype(images.dtype)
    nearest = [tf.math.ceil(position - 0.5) for position in tf.unstack(points, axis=-1)]
    inside = [borders.fold(position, length, border) for position, length in zip(nearest, size)]
    index = [tf.clip_by_value(tf.cast(each, tf.int64), 0, tf.cast(n, tf.int64) - 1) for each, n in zip(inside, size)]
    pixels = tf.gather(tf.reshape(images, [-1, images.shape[3]]), corners.flat(images, *index))
    weight = 1 + 0 * (inside[0] + inside[1])  # NaN for a point that is NaN.
    if border == "constant":
        weight *= tf.cast(tf.reduce_all(tf.equal(nearest, inside), 0), weight.dtype)
    y = portable.multiply_no_nan(tf.cast(pixels, work), tf.expand_dims(tf.cast(weight, work), -1))
    return tf.stop_gradient(tf.cast(y, images.dtype))


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
def warp(
    images: tf.Tensor, flow: tf.Tensor, *, border: str = "constant", return_mask: bool = False
) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
    """Return images sampled where an optical flow points: a backward warp.

    Convention:
        A flow is (dx, dy) in pixels, the usual order in flow files, while points are (y, x). It is added to the
        position: with the flow from a first image to a second, `warp` aligns the second image with the first. Beyond
        the border the image is extended by the border rule. `tfa.image.dense_image_warp` takes (dy, dx), subtracts it,
        and uses the border "edge".

    Equation:
        `y[p] = bilinear_sample(images, (p_y + flow[p, 1], p_x + flow[p, 0]))`. The mask is 1 where `0 <= p_y + flow[p,
        1] <= height - 1` and `0 <= p_x + flow[p, 0] <= width - 1`, and 0 elsewhere, also where the flow is NaN.

    Args:
        images: [batch, height, width, channels], floating point; sides of at least 1, known or not.
        flow: floating tensor [batch, height, width, 2], with the batch size and sides of `images`. A half-precision
            flow is added to the positions in float32.
        border: "reflect", "symmetric", "edge", "constant" (zeros) or "wrap".
        return_mask: whether to return the mask of the positions inside the images, too. It has no gradient.

    Returns:
        [batch, height, width, channels] of the dtype of `images`; or a tuple of this and the mask, [batch, height,
        width, 1] of the same dtype.

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Sun, Yang, Liu and Kautz, PWC-Net: CNNs for Optical Flow Using Pyramid, Warping, and Cost Volume, 2018,
        section 3, equation 2.
    """
    images = _checks.images(images)
    flow = flow_for(flow, {"images": images})
    borders.check(border)
    return_mask = _checks.flag("return_mask", return_mask)
    rows, columns = positions(flow)
    y = read_at(images, rows, columns, border)
    return (y, inside_mask(images, rows, columns)) if return_mask else y


def positions(flow: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the rows and the columns to which a flow of float32 or float64 points, [batch, height, width] each."""
    height, width = sides(flow)
    across, down = tf.unstack(flow, axis=-1)
    rows, columns = (tf.cast(tf.range(n), flow.dtype) for n in (height, width))
    return down + rows[:, None], across + columns


def read_at(images: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor, border: str) -> tf.Tensor:
    """Return images sampled at rows and columns, as many as the images have pixels."""
    known = None not in images.shape[1:3]
    dense = images.shape[3] <= _FEW and (known or not portable.is_portable())
    return _sample(images, rows, columns, border, dense)


def inside_mask(images: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Return 1 for each position between the first and the last pixel of both axes, and 0 for others and for NaN."""
    axes = zip((rows, columns), sides(images))
    inside = [(position >= 0) & (position <= tf.cast(size - 1, position.dtype)) for position, size in axes]
    return tf.cast(tf.expand_dims(inside[0] & inside[1], -1), images.dtype)


def flow_for(flow: Any, images: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Return a flow as a tensor of float32 or float64. It must have the sizes of images, given by argument name."""
    flow = _checks.images(flow, "flow")
    name = next(iter(images))
    check_flow(flow.shape, images[name].shape, name)
    sizes = [dimensions(x)[:3] for x in (flow, *images.values())]
    rule = f"{_FLOW} `{name}`. Received: three sizes of each of flow, {', '.join(images)},"
    (flow,) = batches.assert_equal(rule, [flow], *sizes)
    return tf.cast(flow, working_dtype(flow.dtype))


def check_flow(flow: Any, images: Any, name: str = "images") -> None:
    """Raise `ValueError` unless the shape of a flow fits the shape of images."""
    if not tf.TensorShape(flow).is_compatible_with([*images[:3], 2]):
        received = f"flow of shape {tuple(flow)}, {name} of shape {tuple(images)}"
        raise ValueError(f"{_FLOW} `{name}`. Received: {received}")


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
