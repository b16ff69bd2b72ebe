"""Decode image files to a batch of pixels inside a graph. Errors tell the client which file is wrong, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

_PNG, _JPEG, _GIF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8"
_PNG_HEADER = b"\0\0\0\rIHDR"
_PNG_END, _JPEG_END = b"IEND\xaeB`\x82", b"\xff\xd9"
# A PNG has a header of 33 bytes and an end of 12.
_SHORTEST_PNG = 45
# Files that are decoded in parallel, if they are small enough.
_PARALLEL = 8
# Default limits: the pixels of a file to decode, about 400 MB, and the pixels of a batch for the model.
_MAX_DECODED, _MAX_BATCH = 2**27, 2**25
_NAME = "`image_bytes`"
_RULE = "must be PNG or JPEG, and complete. Received: "


def decode_images(
    files: tf.Tensor,
    channels: int,
    sides: Sequence[int | None],
    size: tuple[int, int] | None,
    max_pixels: int | None = None,
) -> tf.Tensor:
    """Return the pixels of PNG and JPEG files.

    Convention:
        Files are read as by `tf.io.decode_image`. Of 16 bits per channel the high 8 are kept. A palette is looked up.
        Alpha is dropped if `channels` is 1 or 3; if it is 4, a file without alpha is opaque. Colours are converted to
        grey as in ITU-R BT.601, and grey to equal colours. A CMYK JPEG is read as RGB, if `channels` is 3. EXIF
        orientation and colour profiles are ignored.

    Args:
        files: [batch], strings.
        channels: 1, 3 or 4.
        sides: the height and width that images must have if `size` is None; None for any, but equal within a batch.
        size: (height, width) to resize to, or None.
        max_pixels: as in `Pixels`. The headers are compared with it before any pixels are decoded.

    Returns:
        [batch, height, width, channels], float32 if `size` is given, else uint8.
    """
    result = tf.TensorSpec([2], tf.int64), tf.TensorSpec([], tf.string)
    found, sizes, problems = _each(files, lambda file: _header(file, channels, _NAME), result)
    with tf.control_dependencies([_require_found(found, files, "a file with a header that does not decode")]):
        problems = tf.identity(problems)
    with tf.control_dependencies([_require_none(problems != "", "", problems)]):
        sizes = tf.identity(sizes)
    with tf.control_dependencies(_check_pixels(sizes, size, max_pixels)):
        sizes = tf.identity(sizes)
    with tf.control_dependencies([] if size else [_check_sizes(sizes, sides)]):
        files = tf.identity(files)

    def decoded(file: tf.Tensor) -> tuple[tf.Tensor]:
        image = _pixels(file, channels)
        return (tf.image.resize(image, size, antialias=True) if size else image,)

    spec = tf.TensorSpec([*(size or sides), channels], tf.float32 if size else tf.uint8)
    # A decoded file is released once it is resized, so decoding one at a time needs only the memory of the largest.
    fit = tf.reduce_sum(_areas(sizes)) <= (max_pixels or _MAX_DECODED)
    found, images = _each(files, decoded, (spec,), tf.where(fit, tf.constant(_PARALLEL, tf.int64), 1))
    with tf.control_dependencies([_require_found(found, files, "a file that does not decode")]):
        return tf.ensure_shape(images, [None, *spec.shape])


def decode_image(file: tf.Tensor, channels: int, max_pixels: int) -> tf.Tensor:
    """Return the pixels of one file as `decode_images` does; its header must not claim more than `max_pixels`.

    Args:
        file: [], a string.
        channels: 1, 3 or 4.
        max_pixels: at least 1.

    Returns:
        [height, width, channels] of uint8.
    """
    size, problem = _header(file, channels, "A file")
    with tf.control_dependencies([tf.debugging.Assert(problem == "", [problem])]):
        size = tf.identity(size)
    message = tf.strings.join([f"A file must have at most {max_pixels:,} pixels. Received: ", _by(size)])
    with tf.control_dependencies([tf.debugging.Assert(_areas(size) <= max_pixels, [message])]):
        return _pixels(tf.identity(file), channels)


def _each(
    files: tf.Tensor, function: Callable[[tf.Tensor], tuple], specs: tuple, parallel: tf.Tensor | None = None
) -> tuple[tf.Tensor, ...]:
    """Apply `function` to each file; return the indices of the files on which it succeeds, and batches of its results.

    The error of a TensorFlow kernel does not name the file of a batch, and a graph cannot catch it. A dataset can skip
    the element that raises it.
    """
    number = tf.size(files, tf.int64)
    none = [tf.zeros([0, *(n or 1 for n in spec.shape)], spec.dtype) for spec in (tf.TensorSpec([], tf.int64), *specs)]
    # AutoGraph has nothing to convert here, and it would write files to the temporary folder.
    numbered = tf.autograph.experimental.do_not_convert(lambda index: (index, *function(files[index])))
    results = (
        tf.data.Dataset.range(number)
        .map(numbered, num_parallel_calls=parallel)
        .ignore_errors()
        .batch(tf.maximum(number, 1))
    )
    # Append an empty batch, because the dataset has no batch if `function` fails on all files.
    return results.concatenate(tf.data.Dataset.from_tensors(tuple(none))).take(1).get_single_element()


def _header(file: tf.Tensor, channels: int, name: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Return (height, width) in the header of a file, int64, and a sentence on what is wrong with it, or ""."""
    rule = f"{name} {_RULE}"
    is_png, is_jpeg, is_gif = (tf.equal(tf.strings.substr(file, 0, len(m)), m) for m in (_PNG, _JPEG, _GIF))
    length = tf.strings.length(file)
    unknown = tf.where(length == 0, "no bytes", tf.where(is_gif, "a GIF", "another kind of file"))
    complete = tf.cond(
        is_png, lambda: _holds(file, _PNG_END) & (length >= _SHORTEST_PNG), lambda: _holds(file, _JPEG_END)
    )
    problem = tf.where(complete, "", rule + "a truncated file")
    problem = tf.where(is_png | is_jpeg, problem, rule + unknown)

    def png() -> tuple[tf.Tensor, tf.Tensor]:
        # Require the header chunk first. Libpng skips unknown chunks before it, but the limit must read this header.
        first = tf.equal(tf.strings.substr(file, 8, len(_PNG_HEADER)), _PNG_HEADER)
        sides = tf.io.decode_raw(tf.strings.substr(file, 16, 8), tf.int32, little_endian=False)[::-1]
        return tf.cast(sides, tf.int64) % 2**32, tf.where(first, "", rule + "a PNG that does not start with its header")

    def jpeg() -> tuple[tf.Tensor, tf.Tensor]:
        shape = tf.io.extract_jpeg_shape(file)
        refused = (shape[2] == 4) & (channels != 3)
        colours = f"{name} must not be CMYK JPEG, for a model with {channels} channels. Received: a CMYK JPEG"
        return tf.cast(shape[:2], tf.int64), tf.where(refused, colours, "")

    def image() -> tuple[tf.Tensor, tf.Tensor]:
        size, problem = tf.cond(is_png, png, jpeg)
        empty = rule + "an image of " + _by(size)
        return size, tf.where(tf.reduce_all(size > 0) | (problem != ""), problem, empty)

    return tf.cond(problem == "", image, lambda: (tf.zeros([2], tf.int64), problem))


def _check_pixels(sizes: tf.Tensor, size: tuple[int, int] | None, max_pixels: int | None) -> list[tf.Operation]:
    """Return assertions that files of `sizes`, [batch, 2], are within the limits, before and after resizing."""
    areas, rule = _areas(sizes), f"{_NAME} must be files of at most {{:,}} pixels {{}}. Received: "
    if not size:
        most = max_pixels or _MAX_BATCH
        return [_require_none(tf.cumsum(areas) > most, rule.format(most, "together"), _by(sizes))]
    number, most = tf.size(areas), _max_files(size, max_pixels)
    files = f"{_NAME} must be at most {most:,} files, resized to {size[0]} x {size[1]} pixels each. Received: "
    few = tf.debugging.Assert(number <= most, [tf.strings.join([files, tf.strings.as_string(number), " files"])])
    most = max_pixels or _MAX_DECODED
    return [few, _require_none(areas > most, rule.format(most, "each"), _by(sizes))]


def within_limits(shape: Sequence[int], size: tuple[int, int] | None, max_pixels: int | None) -> bool:
    """Return whether `decode_images` accepts the files of a batch of images of this shape."""
    batch, height, width, *_ = shape
    if not size:
        return batch * height * width <= (max_pixels or _MAX_BATCH)
    return height * width <= (max_pixels or _MAX_DECODED) and batch <= _max_files(size, max_pixels)


def _max_files(size: tuple[int, int], max_pixels: int | None) -> int:
    """Return the number of files that may be resized to `size` in one batch."""
    return max(1, max(max_pixels or 0, _MAX_BATCH) // (size[0] * size[1]))


def _check_sizes(sizes: tf.Tensor, sides: Sequence[int | None]) -> tf.Operation:
    """Return an assertion that `sizes`, [batch, 2], match `sides`, and are equal where a side is None."""
    # Append a size, so that an empty batch has a first one.
    first = tf.concat([sizes, [[0, 0]]], axis=0)[0]
    expected = tf.stack([first[axis] if n is None else n for axis, n in enumerate(sides)])
    rule = [f"{_NAME} must be of one size, because the model was exported without `image_size`: ", _by(expected)]
    return _require_none(tf.reduce_any(sizes != expected, axis=1), tf.strings.join([*rule, ". Received: "]), _by(sizes))


def _areas(sizes: tf.Tensor) -> tf.Tensor:
    """Return height times width of `sizes`, [..., 2], in float64: the product in a PNG's header can overflow int64."""
    return tf.reduce_prod(tf.cast(sizes, tf.float64), axis=-1)


def _by(sizes: tf.Tensor) -> tf.Tensor:
    height, width = tf.unstack(tf.strings.as_string(sizes), 2, axis=-1)
    return tf.strings.join([height, " x ", width, " (height x width)"])


def _require_found(found: tf.Tensor, files: tf.Tensor, received: str) -> tf.Operation:
    """Return an assertion that the indices of all `files` are `found`."""
    everything = tf.fill(tf.shape(files), True)
    missing = tf.tensor_scatter_nd_update(everything, found[:, None], tf.fill(tf.shape(found), False))
    return _require_none(missing, f"{_NAME} {_RULE}", tf.fill(tf.shape(files), received))


def _require_none(wrong: tf.Tensor, rule: tf.Tensor | str, received: tf.Tensor) -> tf.Operation:
    """Return an assertion that no `wrong`, [batch], is True. The error shows `received` at the first True."""
    index = tf.argmax(tf.concat([wrong, [True]], axis=0))
    message = [rule, tf.concat([received, [""]], axis=0)[index], " at index ", tf.strings.as_string(index)]
    return tf.debugging.Assert(~tf.reduce_any(wrong), [tf.strings.join([*message, " of the batch."])])


def _holds(file: tf.Tensor, pattern: bytes) -> tf.Tensor:
    """Return whether the bytes of `pattern` are in a file: at its end, or before data that a camera appended."""
    start = tf.maximum(tf.strings.length(file) - len(pattern), 0)

    def anywhere() -> tf.Tensor:
        data = tf.io.decode_raw(file, tf.uint8)
        hits = [tf.equal(data[k : start + k], byte) for k, byte in enumerate(pattern)]
        return tf.reduce_any(tf.reduce_all(tf.stack(hits), axis=0))

    return tf.cond(tf.equal(tf.strings.substr(file, start, len(pattern)), pattern), lambda: tf.constant(True), anywhere)


def _pixels(file: tf.Tensor, channels: int) -> tf.Tensor:
    if channels < 4:
        return tf.io.decode_image(file, channels, expand_animations=False)
    # Do not request 4 channels: the decoder then refuses JPEG, and makes a PNG of few bits nearly transparent.
    image = tf.io.decode_image(file, expand_animations=False)
    stored = tf.shape(image)[2]
    colours = tf.cond(stored < 3, lambda: tf.repeat(image[..., :1], 3, axis=2), lambda: image[..., :3])
    opaque = tf.fill(tf.concat([tf.shape(image)[:2], [1]], axis=0), tf.constant(255, tf.uint8))
    alpha = tf.cond(stored % 2 == 0, lambda: image[..., -1:], lambda: opaque)
    return tf.concat([colours, alpha], axis=2)
