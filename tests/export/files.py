"""Image files of one small photograph, valid and damaged, written by Pillow; and the pixels that Pillow reads."""

import io

import numpy as np
from PIL import Image

SIDES = (24, 36)


def photograph(sides=SIDES, seed=0):
    """Return smooth colours, uint8 [height, width, 3]."""
    colours = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(colours).resize(sides[::-1], Image.Resampling.BICUBIC))


def file(pixels, kind="PNG", mode=None, **kwargs):
    """Return an array as the bytes of a file, converted to one of Pillow's modes."""
    image = Image.fromarray(pixels)
    stream = io.BytesIO()
    (image.convert(mode) if mode else image).save(stream, kind, **kwargs)
    return stream.getvalue()


def read(data, mode="RGB"):
    """Return the pixels that Pillow reads in a file, [height, width, channels]."""
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert(mode))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def bad_files():
    """Return, for each kind of damage, a file and the pattern of the error that a client gets."""
    photo = photograph()
    png, jpeg = file(photo), file(photo, "JPEG")
    moving = [Image.fromarray(photograph(seed=1))]
    broken = bytearray(png)
    broken[len(png) // 2] ^= 0xFF
    other, truncated = "Received: another kind of file at index 1 of the batch", "Received: a truncated file at index 1"
    return {
        "half a JPEG": (jpeg[: len(jpeg) // 2], truncated),
        "JPEG without its end": (jpeg[:-2], truncated),
        "three bytes of a JPEG": (jpeg[:3], truncated),
        "half a PNG": (png[: len(png) // 2], truncated),
        "PNG without its end": (png[:-12], truncated),
        "the first and last bytes of a PNG": (png[:8] + png[-12:], truncated),
        "text": (b"a photograph", other),
        "a zero": (b"\0", other),
        "nothing": (b"", "Received: no bytes at index 1 of the batch"),
        "GIF": (file(photo, "GIF"), "Received: a GIF at index 1 of the batch"),
        "GIF that moves": (file(photo, "GIF", save_all=True, append_images=moving), "Received: a GIF at index 1"),
        "BMP": (file(photo, "BMP"), other),
        "damage inside a PNG": (bytes(broken), "Received: a file that does not decode at index 1 of the batch"),
    }
