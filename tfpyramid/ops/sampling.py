"""Images read at any points."""

import tensorflow as tf

from tfpyramid import _checks
from tfpyramid.ops import borders
from tfpyramid.ops.convolution import working_dtype
from tfpyramid.ops.resample import Size, size_pair


def bilinear_sample(images: tf.Tensor, points: tf.Tensor, *, border: str = "constant") -> tf.Tensor:
    """Read images at points between pixels, each from the four pixels around it.

    Convention:
        Points are (y, x) in pixels, centres of pixels at integers. Beyond the border the image goes on by the border
        rule; with "constant" it fades to zero within a pixel, and is zero outside (-1, n). At a whole position the
        derivative is the one to the right, that of the cell which floor names.

    Equation:
        `y[p] = (1 - f)(1 - g) x[i, j] + (1 - f) g x[i, j + 1] + f (1 - g) x[i + 1, j] + f g x[i + 1, j + 1]`, where
        `i = floor(p_y)`, `f = p_y - i`, and j, g the same of p_x.

    Args:
        images: [batch, height, width, channels], floating point; sides of at least 1, known or not. float16 and
            bfloat16 are summed in float32 and rounded once.
        points: floating tensor [batch, ..., 2]; float32 or float64, also for images of half precision, which has not
            the digits for positions in a large image.
        border: "reflect", "symmetric", "edge", "constant" (zeros) or "wrap".

    Returns:
        [batch, ..., channels] of the dtype of `images`; NaN at a point that is NaN.

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Jaderberg, Simonyan, Zisserman and Kavukcuoglu, Spatial Transformer Networks, 2015, section 3.3, equation 5.
    """
    images = _checks.images(images)
    points = check_points(points)
    borders.check(border)
    work, shape = working_dtype(images.dtype), tf.shape(images)
    pixels = tf.reshape(images, [shape[0], shape[1] * shape[2], images.shape[3]])
    rows, columns = (
        _neighbours(points[..., axis], size, border, work) for axis, size in enumerate((shape[1], shape[2]))
    )
    parts = []
    for row, row_share in rows:
        for column, column_share in columns:
            values = tf.cast(tf.gather(pixels, row * shape[2] + column, batch_dims=1), work)
            # A pixel that is read with the weight 0 is not read: 0 times NaN would be NaN.
            parts.append(tf.math.multiply_no_nan(values, (row_share * column_share)[..., None]))
    return tf.cast(tf.add_n(parts), images.dtype)


def _neighbours(positions: tf.Tensor, size: tf.Tensor, border: str, dtype: tf.DType) -> list:
    """Return the two samples of an axis about each position, (index, share) each."""
    length = tf.cast(size, positions.dtype)
    if border == "constant":
        # Beyond (-1, size) both shares are zeros; what is far beyond must not overflow an index.
        positions = tf.clip_by_value(positions, tf.cast(-1, positions.dtype), length)
    else:
        positions = borders.fold(positions, length, border)
    low = tf.floor(positions)
    share = tf.cast(positions - low, dtype)
    low = tf.cast(low, tf.int32)
    pairs = []
    for index, part in ((low, 1 - share), (low + 1, share)):
        if border == "constant":
            part = tf.where((index >= 0) & (index < size) | tf.math.is_nan(part), part, tf.zeros_like(part))
        inside = tf.math.floormod(index, size) if border == "wrap" else tf.clip_by_value(index, 0, size - 1)
        pairs.append((inside, part))
    return pairs


def nearest_point(points: tf.Tensor) -> tf.Tensor:
    """Return points at whole pixels, of two equally near the first."""
    return tf.math.ceil(points - 0.5)


def affine_grid(matrices: tf.Tensor, image_size: Size, output_size: Size) -> tf.Tensor:
    """Return the points at which an affine map reads an image, for `bilinear_sample`.

    Convention:
        The map takes normalised coordinates of the output to those of the image, both -1 and 1 at the outer edges of
        the first and the last pixel, so that sizes do not matter to it; (y, x) in rows and columns of the matrix,
        unlike the (x, y) of the paper and of other libraries. The identity [[1, 0, 0], [0, 1, 0]] gives the points of
        the plain resize with half-pixel centres, `(i + 1/2) size / output_size - 1/2`; [[a, 0, b], [0, a, c]] crops
        a window a times as large, its centre at (b, c).

    Equation:
        `points = ((M [v, u, 1]) + 1) image_size / 2 - 1/2`, with `v = (2 i + 1) / output_height - 1`, u likewise.

    Args:
        matrices: floating tensor [batch, 2, 3].
        image_size: (height, width) of the images to be read, ints, scalar tensors, or one vector tensor.
        output_size: (height, width) of the grid, likewise.

    Returns:
        [batch, *output_size, 2] of the dtype of `matrices`: (y, x) in pixels.

    Raises:
        ValueError: if an argument breaks a rule above.

    References:
        Jaderberg, Simonyan, Zisserman and Kavukcuoglu, Spatial Transformer Networks, 2015, section 3.2, equation 1.
    """
    matrices = tf.convert_to_tensor(matrices)
    _checks.floating("matrices", matrices.dtype)
    if not matrices.shape.is_compatible_with([None, 2, 3]):
        raise ValueError(f"`matrices` must be of shape [batch, 2, 3]. Received: matrices of shape {matrices.shape}")
    output_size = size_pair(output_size)
    size, output = (
        tf.cast(tf.stack(pair), matrices.dtype) for pair in (size_pair(image_size, "image_size"), output_size)
    )
    # In pixels from the middle of the image, which are halves of whole numbers: the points of a plain resize by a whole
    # factor are exact, and whether they lie nearer to one pixel or another is no accident of rounding.
    down, across = (tf.cast(2 * tf.range(n) + 1 - n, matrices.dtype) / 2 for n in output_size)
    places = tf.stack([*tf.meshgrid(down, across, indexing="ij"), tf.ones([*output_size], matrices.dtype)], -1)
    matrices = matrices * size[:, None] / tf.concat([output, [2]], 0)
    return tf.einsum("bdk,ijk->bijd", matrices, places) + (size - 1) / 2


def check_points(points: tf.Tensor) -> tf.Tensor:
    """Return points as a tensor [batch, ..., 2] of float32 or float64."""
    points = tf.convert_to_tensor(points)
    if points.dtype not in (tf.float32, tf.float64):
        raise ValueError(
            f"`points` must be float32 or float64: positions need the digits. Received: points of {points.dtype.name}"
        )
    if points.shape.rank is None or points.shape.rank < 2 or points.shape[-1] != 2:
        raise ValueError(
            f"`points` must be [batch, ..., 2], (y, x) in pixels. Received: points of shape {points.shape}"
        )
    return points
