"""A folder of images of many sizes, some unusual and some damaged, and their pixels."""

import io
import os
import re
import struct
import zlib

import numpy as np
import pyarrow.parquet
import tensorflow as tf
from PIL import Image

SIZES = [(24, 36), (17, 9), (40, 40), (8, 31), (33, 20)]


def pixels(number):
    height, width = SIZES[number % len(SIZES)]
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def claiming(height, width):
    """Return a PNG with a valid header that claims more pixels than the file holds."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def of_16_bits(values):
    """Return uint16 colours, [height, width, 3], as a PNG of 16 bits, which Pillow cannot write."""
    height, width, _ = values.shape
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


GOOD = Image.fromarray(pixels(0))
# Damaged files, and the patterns of the reasons.
BAD = {
    "truncated.jpg": (encoded(GOOD, "JPEG")[:400], "A file must be PNG or JPEG, and complete. .* truncated"),
    "zero.png": (b"", "A file must be PNG or JPEG, and complete. Received: no bytes"),
    "text.png": (
        b"This was never an image.\n",
        "A file must be PNG or JPEG, and complete. Received: another kind of file",
    ),
    "claims.png": (claiming(100_000, 100_000), "at most 134,217,728 pixels. Received: 100000 x 100000"),
}
WIDE = np.random.default_rng(1).integers(0, 2**16, (13, 21, 3), dtype=np.uint16)
INK = Image.fromarray(np.full([16, 24, 4], (30, 200, 90, 60), np.uint8), "CMYK")
# Unusual files, and their pixels as RGB. The JPEG has one colour, so that it is lossless up to rounding.
UNUSUAL = {
    "cmyk.jpg": (encoded(INK, "JPEG", quality=95), np.asarray(INK.convert("RGB"))),
    "wide.png": (of_16_bits(WIDE), (WIDE >> 8).astype(np.uint8)),
    "one.png": (encoded(Image.fromarray(pixels(0)[:1, :1]), "PNG"), pixels(0)[:1, :1]),
}


def fill(folder, count):
    """Write `count` files into `folder`, seven of them damaged or unusual; return the pixels of the valid ones."""
    folder.mkdir()
    images = {f"{number:04}.png": pixels(number) for number in range(count - len(BAD) - len(UNUSUAL))}
    for name, image in images.items():
        (folder / name).write_bytes(encoded(Image.fromarray(image), "PNG"))
    for name, (data, *_) in {**BAD, **UNUSUAL}.items():
        (folder / name).write_bytes(data)
    images.update({name: image for name, (_, image) in UNUSUAL.items()})
    return {str(folder / name): image for name, image in images.items()}


IMAGES = tf.TensorSpec([None, None, None, 3], name="image")


def save(path, function, *specs):
    """Write a SavedModel of a function."""
    function = tf.function(function, autograph=False, input_signature=specs)
    tf.saved_model.save(tf.Module(), str(path), signatures=function)
    return path


def save_model(path, dtype=tf.float32):
    """Write a SavedModel of images whose outputs differ in kind and in rank."""

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, None, None, 3], dtype, name="image")])
    def answer(image):
        x = tf.cast(image, tf.float32)
        return {
            "mean": tf.reduce_mean(x, axis=[1, 2]),
            "corner": x[:, :2, :3],
            "half": tf.cast(x[:, 0, 0, 0], tf.bfloat16),
            "double": tf.cast(x[:, 0, 0, 0], tf.float64),
            "count": tf.fill(tf.shape(x)[:1], tf.size(x[0])),
            "bright": tf.reduce_mean(x, axis=[1, 2, 3]) > 0.5,
            "word": tf.strings.as_string(tf.cast(tf.reduce_max(x, axis=[1, 2]) * 255, tf.int32)),
        }

    tf.saved_model.save(tf.Module(), str(path), signatures=answer)
    return path


def rows(output, kind="results"):
    """Return the rows of the Parquet files of a kind."""
    return pyarrow.parquet.read_table(output / kind).to_pylist()


def read_rows(output, kind, file_format):
    """Yield the rows of a kind, from files of either format."""
    if file_format == "parquet":
        yield from rows(output, kind)
        return
    for part in sorted((output / kind).iterdir()):
        assert part.suffix == ".tfrecord"
        for record in tf.data.TFRecordDataset(str(part)):
            features = tf.train.Example.FromString(record.numpy()).features.feature
            cells = {name: list(getattr(each, each.WhichOneof("kind")).value) for name, each in features.items()}
            for name in {"file", "reason", "height", "width"} & set(cells):
                (cells[name],) = cells[name]
            yield {k: v.decode() if isinstance(v, bytes) else v for k, v in cells.items()}


def check_dead_letters(letters, path):
    assert {letter["file"] for letter in letters} == {str(path / name) for name in BAD}
    assert len(letters) == len(BAD)
    for letter in letters:
        assert re.search(BAD[os.path.basename(letter["file"])][1], letter["reason"])


def check_rows(rows, images):
    """Compare rows with results of Pillow and NumPy."""
    assert sorted(row["file"] for row in rows) == sorted(images)
    for row in rows:
        x = images[row["file"]] / 255.0
        assert (row["height"], row["width"]) == x.shape[:2]
        # A JPEG of one colour differs by rounding.
        atol = 0.01 if row["file"].endswith("jpg") else 1e-6
        np.testing.assert_allclose(row["mean"], x.mean(axis=(0, 1)), atol=atol)
        np.testing.assert_allclose(np.reshape(row["corner"], row["corner/shape"]), x[:2, :3], atol=atol)
        np.testing.assert_allclose(row["double"], x[0, 0, :1], atol=max(atol, 1e-7))
        np.testing.assert_allclose(row["half"], x[0, 0, :1], rtol=2**-8, atol=atol)
        assert (row["count"], row["count/shape"]) == ([x.size], [])
        if atol < 0.01:
            assert [bool(each) for each in row["bright"]] == [x.mean() > 0.5]
            assert row["word"] == [b"%d" % round(each * 255) for each in x.max(axis=(0, 1))]
