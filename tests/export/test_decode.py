"""decode_images: each kind of file, in each number of channels, against Pillow."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.export.files import SIDES, bad_files, file, photograph, read
from tfpyramid import ops
from tfpyramid.export._decode import decode_images

BAD = bad_files()
PHOTO = photograph()
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# Each of them as Pillow reads it, to rounding.
EXACT = {
    "PNG": file(PHOTO),
    "grey PNG": file(PHOTO, mode="L"),
    "palette PNG": file(PHOTO, mode="P"),
    "PNG of one bit": file(PHOTO, mode="1"),
    "PNG with opaque alpha": file(PHOTO, mode="RGBA"),
    "one pixel": file(PHOTO[:1, :1]),
}


def decoder(channels, sides=(None, None), size=None):
    """Return the function of a list of files, as a graph."""
    graph = tf.function(
        lambda files: decode_images(files, channels, sides, size),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )
    return lambda *files: graph(tf.constant(files, tf.string, shape=[len(files)])).numpy()


@pytest.fixture(scope="module")
def decode():
    """A decoder by number of channels, for files of any size."""
    return {channels: decoder(channels) for channels in MODES}


@pytest.mark.parametrize("channels", MODES)
def test_every_kind_of_png_has_the_pixels_that_pillow_reads(decode, channels):
    for kind, data in EXACT.items():
        (pixels,) = decode[channels](data)
        expected = read(data, MODES[channels])
        assert pixels.shape == expected.shape and pixels.dtype == np.uint8, kind
        # Grey is a rounded weighted sum.
        np.testing.assert_allclose(pixels.astype(int), expected, atol=1 if channels == 1 else 0, err_msg=kind)


@pytest.mark.parametrize("channels", MODES)
def test_every_kind_of_jpeg_is_close_to_what_pillow_reads(decode, channels):
    for kind in ({}, {"progressive": True}, {"mode": "L"}):
        data = file(PHOTO, "JPEG", quality=95, **kind)
        (pixels,) = decode[channels](data + b"a trailer of some camera")
        np.testing.assert_allclose(pixels.astype(int), read(data, MODES[channels]), atol=12)
        if channels < 4:
            np.testing.assert_array_equal(pixels, tf.io.decode_jpeg(data, channels))


def test_of_16_bits_the_high_8_are_kept(decode):
    deep = PHOTO[..., 0].astype(np.uint16) * 256 + 255
    np.testing.assert_array_equal(decode[3](file(deep))[0], np.repeat(PHOTO[..., :1], 3, axis=-1))


def test_alpha_is_dropped_and_not_blended(decode):
    clear = np.dstack([PHOTO, np.zeros(SIDES, np.uint8)])
    np.testing.assert_array_equal(decode[3](file(clear))[0], PHOTO)
    np.testing.assert_array_equal(decode[4](file(clear))[0], clear)
    grey = np.dstack([PHOTO[..., 0], PHOTO[..., 1]])
    np.testing.assert_array_equal(decode[4](file(grey))[0], PHOTO[..., [0, 0, 0, 1]])


def test_of_a_png_that_moves_the_first_picture_is_read(decode):
    moving = file(PHOTO, save_all=True, append_images=[Image.fromarray(photograph(seed=1))])
    assert b"acTL" in moving
    np.testing.assert_array_equal(decode[3](moving)[0], PHOTO)


def test_cmyk_is_read_as_rgb_and_refused_for_other_channels(decode):
    data = file(PHOTO, "JPEG", "CMYK", quality=95)
    np.testing.assert_allclose(decode[3](data)[0].astype(int), read(data), atol=12)
    for channels in (1, 4):
        with pytest.raises(tf.errors.InvalidArgumentError, match="must not be a JPEG of CMYK.*at index 0"):
            decode[channels](data)


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_named_by_its_index(decode, kind):
    data, told = BAD[kind]
    with pytest.raises(tf.errors.InvalidArgumentError, match=told):
        decode[3](EXACT["PNG"], data)


def test_files_of_several_sizes_are_refused_unless_they_are_resized(decode):
    files = EXACT["PNG"], file(PHOTO, "JPEG"), file(PHOTO[:20], "JPEG")
    rule = r"must be files of one size.*: 24 x 36 \(height x width\). Received: 20 x 36 .* at index 2 of the batch"
    with pytest.raises(tf.errors.InvalidArgumentError, match=rule):
        decode[3](*files)
    assert decoder(3, size=(12, 18))(*files).shape == (3, 12, 18, 3)


def test_a_side_that_the_model_knows_is_asked_for():
    decode = decoder(3, sides=(24, None))
    assert decode(EXACT["PNG"]).shape == (1, 24, 36, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="24 x 36 .* Received: 20 x 36 .* at index 0 of the batch"):
        decode(file(PHOTO[:20]))


def test_resizing_is_the_anti_aliased_one(decode):
    resized = decoder(3, size=(12, 18))(EXACT["PNG"])
    np.testing.assert_allclose(resized, ops.bilinear_down(PHOTO[None].astype(np.float32), antialias=True), atol=1e-3)
    np.testing.assert_array_equal(decoder(3, size=SIDES)(EXACT["PNG"])[0], PHOTO)


def test_a_batch_may_be_empty(decode):
    assert decode[3]().shape == (0, 1, 1, 3)
    assert decoder(1, sides=(24, None))().shape == (0, 24, 1, 1)
    assert decoder(3, size=(12, 18))().shape == (0, 12, 18, 3)
