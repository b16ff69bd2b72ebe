"""Files of images as a batch of pixels, inside a graph; what is wrong with which of them is told to the client."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

_PNG, _JPEG, _GIF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8"
_PNG_END, _JPEG_END = b"IEND\xaeB`\x82", b"\xff\xd9"
# A PNG has a header of 33 bytes and an end of 12.
_SHORTEST_PNG = 45


def decode_images(
    files: tf.Tensor, channels: int, sides: Sequence[int | None], size: tuple[int, int] | None
) -> tf.Tensor:
    """Return the pixels of PNG and JPEG files.

    Convention:
        As `tf.io.decode_image` reads them. Of 16 bits a channel the high 8 are kept; a palette is looked up; alpha is
        dropped where `channels` is 1 or 3, and opaque where it is 4 and the file has none; colours become grey as in
        ITU-R BT.601, and grey becomes equal colours. A JPEG of CMYK is read as RGB, if `channels` is 3. An orientation
        in EXIF and a colour profile are not read.

    Args:
        files: [batch], strings.
        channels: 1, 3 or 4.
        sides: the height and width that images must have where no `size` is given; None for any, but one in a batch.
        size: (height, width) to resize to, or None.

    Returns:
        [batch, height, width, channels], of float32 with a `size`, else of uint8.
    """

    def inspect(index: tf.Tensor) -> tf.Tensor:
        return _inspect(files[index], channels, "`image_bytes`", _at(index))

    size_of_each = _map(inspect, files, tf.TensorSpec([2], tf.int32))
    with tf.control_dependencies([size_of_each] if size else _check_sizes(size_of_each, sides)):
        files = tf.identity(files)
    # What still fails has this name in its error: damage inside a file, which no look at its ends can tell.
    with tf.name_scope("image_bytes_must_be_files_that_decode"):
        if size:

            def one(index: tf.Tensor) -> tf.Tensor:
                return tf.image.resize(_pixels(files[index], channels), size, antialias=True)

            return _map(one, files, tf.TensorSpec([*size, channels], tf.float32))
        return tf.cond(
            tf.size(files) > 0,
            lambda: _map(lambda k: _pixels(files[k], channels), files, tf.TensorSpec([*sides, channels], tf.uint8)),
            lambda: tf.zeros([0, *(n or 1 for n in sides), channels], tf.uint8),
        )


def decode_image(file: tf.Tensor, channels: int, max_pixels: int) -> tf.Tensor:
    """Return the pixels of one file as `decode_images` does; its header must not claim more of them than `max_pixels`.

    Args:
        file: [], a string.
        channels: 1, 3 or 4.
        max_pixels: at least 1.

    Returns:
        [height, width, channels] of uint8.
    """
    size = _inspect(file, channels, "A file", "")
    few = tf.reduce_prod(tf.cast(size, tf.int64)) <= max_pixels
    rule = f"A file must have at most {max_pixels:,} pixels."
    with tf.control_dependencies([_require(few, rule, " Received: ", _by(size))]):
        return _pixels(tf.identity(file), channels)


def _map(function: object, files: tf.Tensor, spec: tf.TensorSpec) -> tf.Tensor:
    return tf.map_fn(function, tf.range(tf.size(files)), fn_output_signature=spec)


def _at(index: tf.Tensor) -> tf.Tensor:
    return tf.strings.join([" at index ", tf.strings.as_string(index), " of the batch."])


def _inspect(file: tf.Tensor, channels: int, name: str, place: tf.Tensor | str) -> tf.Tensor:
    """Return (height, width) of a file, from its header, once it is sure to be a file of an image."""
    rule = f"{name} must be PNG or JPEG, and whole."
    is_png, is_jpeg, is_gif = (tf.equal(tf.strings.substr(file, 0, len(m)), m) for m in (_PNG, _JPEG, _GIF))
    length = tf.strings.length(file)
    found = tf.where(length == 0, "no bytes", tf.where(is_gif, "a GIF", "neither of them"))
    with tf.control_dependencies([_require(is_png | is_jpeg, rule, " Received: ", found, place)]):
        file = tf.identity(file)
    whole = tf.cond(
        is_png, lambda: _holds(file, _PNG_END) & (length >= _SHORTEST_PNG), lambda: _holds(file, _JPEG_END)
    )
    with tf.control_dependencies([_require(whole, rule, " Received: a file that is cut short", place)]):
        file = tf.identity(file)

    def png() -> tf.Tensor:
        return tf.io.decode_raw(tf.strings.substr(file, 16, 8), tf.int32, little_endian=False)[::-1]

    def jpeg() -> tf.Tensor:
        height, width, components = tf.unstack(tf.io.extract_jpeg_shape(file), 3)
        if channels == 3:
            return tf.stack([height, width])
        colours = f"{name} must not be a JPEG of CMYK, for a model of {channels} channels."
        with tf.control_dependencies([_require(components < 4, colours, " Received: one", place)]):
            return tf.stack([height, width])

    return tf.cond(is_png, png, jpeg)


def _check_sizes(sizes: tf.Tensor, sides: Sequence[int | None]) -> list[tf.Operation]:
    """Return what fails if `sizes`, of [batch, 2], are not those that `sides` asks for, or not all the same."""
    # Of an empty batch no size is asked for.
    first = tf.concat([sizes, [[0, 0]]], axis=0)[0]
    wanted = tf.stack([first[axis] if n is None else n for axis, n in enumerate(sides)])
    wrong = tf.reduce_any(sizes != wanted, axis=1)
    index = tf.argmax(tf.concat([wrong, [True]], axis=0), output_type=tf.int32)
    received = tf.concat([sizes, [[0, 0]]], axis=0)[index]
    rule = "`image_bytes` must be files of one size, since the model was exported without an `image_size`: "
    return [_require(~tf.reduce_any(wrong), rule, _by(wanted), ". Received: ", _by(received), _at(index))]


def _by(size: tf.Tensor) -> tf.Tensor:
    height, width = tf.unstack(tf.strings.as_string(size), 2)
    return tf.strings.join([height, " x ", width, " (height x width)"])


def _require(condition: tf.Tensor, *message: tf.Tensor | str) -> tf.Operation:
    return tf.debugging.Assert(condition, [tf.strings.join(message)])


def _holds(file: tf.Tensor, pattern: bytes) -> tf.Tensor:
    """Tell whether the bytes of `pattern` are in a file: at its end, or before what a camera put behind it."""
    start = tf.maximum(tf.strings.length(file) - len(pattern), 0)

    def anywhere() -> tf.Tensor:
        data = tf.io.decode_raw(file, tf.uint8)
        hits = [tf.equal(data[k : start + k], byte) for k, byte in enumerate(pattern)]
        return tf.reduce_any(tf.reduce_all(tf.stack(hits), axis=0))

    return tf.cond(tf.equal(tf.strings.substr(file, start, len(pattern)), pattern), lambda: tf.constant(True), anywhere)


def _pixels(file: tf.Tensor, channels: int) -> tf.Tensor:
    if channels < 4:
        return tf.io.decode_image(file, channels, expand_animations=False)
    # Asked for 4 channels, the decoder refuses a JPEG, and makes a PNG of few bits nearly transparent.
    image = tf.io.decode_image(file, expand_animations=False)
    stored = tf.shape(image)[2]
    colours = tf.cond(stored < 3, lambda: tf.repeat(image[..., :1], 3, axis=2), lambda: image[..., :3])
    opaque = tf.fill(tf.concat([tf.shape(image)[:2], [1]], axis=0), tf.constant(255, tf.uint8))
    alpha = tf.cond(stored % 2 == 0, lambda: image[..., -1:], lambda: opaque)
    return tf.concat([colours, alpha], axis=2)
