"""decode_images: each kind of file, in each number of channels, against Pillow."""

import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.export.files import SIDES, bad_files, file, photograph, read
from tfpyramid import ops
from tfpyramid.export._decode import decode_image, decode_images

BAD = bad_files()
PHOTO = photograph()
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# Each file has the pixels that Pillow reads, up to rounding.
EXACT = {
    "PNG": file(PHOTO),
    "grey PNG": file(PHOTO, mode="L"),
    "palette PNG": file(PHOTO, mode="P"),
    "PNG of one bit": file(PHOTO, mode="1"),
    "PNG with opaque alpha": file(PHOTO, mode="RGBA"),
    "one pixel": file(PHOTO[:1, :1]),
}


def decoder(channels, sides=(None, None), size=None, max_pixels=None):
    """Return the traced function of a list of files."""
    graph = tf.function(
        lambda files: decode_images(files, channels, sides, size, max_pixels),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )
    return lambda *files: graph(tf.constant(files, tf.string, shape=[len(files)])).numpy()


@pytest.fixture(scope="module")
def decode():
    """Decoders by number of channels, for files of any size."""
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


def test_the_high_8_of_16_bits_are_kept(decode):
    deep = PHOTO[..., 0].astype(np.uint16) * 256 + 255
    np.testing.assert_array_equal(decode[3](file(deep))[0], np.repeat(PHOTO[..., :1], 3, axis=-1))


def test_alpha_is_dropped_and_not_blended(decode):
    clear = np.dstack([PHOTO, np.zeros(SIDES, np.uint8)])
    np.testing.assert_array_equal(decode[3](file(clear))[0], PHOTO)
    np.testing.assert_array_equal(decode[4](file(clear))[0], clear)
    grey = np.dstack([PHOTO[..., 0], PHOTO[..., 1]])
    np.testing.assert_array_equal(decode[4](file(grey))[0], PHOTO[..., [0, 0, 0, 1]])


def test_the_first_frame_of_an_animated_png_is_read(decode):
    moving = file(PHOTO, save_all=True, append_images=[Image.fromarray(photograph(seed=1))])
    assert b"acTL" in moving
    np.testing.assert_array_equal(decode[3](moving)[0], PHOTO)


def test_cmyk_is_read_as_rgb_and_refused_for_other_channels(decode):
    data = file(PHOTO, "JPEG", "CMYK", quality=95)
    np.testing.assert_allclose(decode[3](data)[0].astype(int), read(data), atol=12)
    for channels in (1, 4):
        with pytest.raises(tf.errors.InvalidArgumentError, match="must not be CMYK JPEG.*at index 0"):
            decode[channels](data)


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_named_by_its_index(decode, kind):
    data, told = BAD[kind]
    with pytest.raises(tf.errors.InvalidArgumentError, match=told):
        decode[3](EXACT["PNG"], data)


def test_files_of_several_sizes_are_refused_unless_they_are_resized(decode):
    files = EXACT["PNG"], file(PHOTO, "JPEG"), file(PHOTO[:20], "JPEG")
    rule = r"must be of one size, .*: 24 x 36 \(height x width\). Received: 20 x 36 .* at index 2 of the batch"
    with pytest.raises(tf.errors.InvalidArgumentError, match=rule):
        decode[3](*files)
    assert decoder(3, size=(12, 18))(*files).shape == (3, 12, 18, 3)


def test_images_must_have_the_known_sides_of_the_model():
    decode = decoder(3, sides=(24, None))
    assert decode(EXACT["PNG"]).shape == (1, 24, 36, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="24 x 36 .* Received: 20 x 36 .* at index 0 of the batch"):
        decode(file(PHOTO[:20]))


def test_resizing_is_anti_aliased(decode):
    resized = decoder(3, size=(12, 18))(EXACT["PNG"])
    np.testing.assert_allclose(resized, ops.bilinear_down(PHOTO[None].astype(np.float32), antialias=True), atol=1e-3)
    np.testing.assert_array_equal(decoder(3, size=SIDES)(EXACT["PNG"])[0], PHOTO)


def test_a_batch_may_be_empty(decode):
    assert decode[3]().shape == (0, 1, 1, 3)
    assert decoder(1, sides=(24, None))().shape == (0, 24, 1, 1)
    assert decoder(3, size=(12, 18))().shape == (0, 12, 18, 3)


def claiming(height, width, data=None):
    """Return a PNG whose header claims these sides, with a correct checksum, whatever its data are."""
    data = file(PHOTO) if data is None else data
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def start_of_frame(height, width):
    """Return a JPEG whose header claims these sides."""
    data = file(PHOTO, "JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


LARGE = {"PNG": claiming, "JPEG": start_of_frame}


@pytest.mark.parametrize("kind", LARGE)
@pytest.mark.parametrize("size", [None, (8, 8)])
def test_files_of_too_many_pixels_are_refused_by_their_headers(kind, size):
    # The data belong to a small image, so decoding them would raise another error.
    data = LARGE[kind](15000, 15000)
    most = "33,554,432 pixels together" if size is None else "134,217,728 pixels each"
    told = rf"must be files of at most {most}. Received: 15000 x 15000 \(height x width\) at index 1 of the batch"
    with pytest.raises(tf.errors.InvalidArgumentError, match=told):
        decoder(3, size=size)(EXACT["PNG"], data)


@pytest.mark.slow
def test_the_limit_is_per_file_if_files_are_resized_and_per_batch_otherwise():
    one, pixels = EXACT["PNG"], SIDES[0] * SIDES[1]
    assert len(decoder(3, size=SIDES, max_pixels=pixels)(one, one, one)) == 3
    assert len(decoder(3, max_pixels=3 * pixels)(one, one, one)) == 3
    told = rf"at most {3 * pixels - 1:,} pixels together. Received: 24 x 36 \(height x width\) at index 2 of the batch"
    with pytest.raises(tf.errors.InvalidArgumentError, match=told):
        decoder(3, max_pixels=3 * pixels - 1)(one, one, one)
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"at most {pixels - 1:,} pixels each. Received: 24 x 36"):
        decoder(3, size=SIDES, max_pixels=pixels - 1)(file(PHOTO[:20]), one)


@pytest.mark.slow
def test_the_pixels_of_a_batch_after_resizing_are_limited():
    one = EXACT["one pixel"]
    decode = decoder(1, size=(2**12, 2**12))
    assert decode(one, one).shape == (2, 2**12, 2**12, 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 2 files, resized to 4096 x 4096 .* Received: 3"):
        decode(one, one, one)
    decode = decoder(1, size=(2**9, 2**9), max_pixels=1)
    assert decode(*128 * [one]).shape[0] == 128
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 128 files"):
        decode(*129 * [one])


@pytest.mark.parametrize(
    "data, told",
    [
        (claiming(0, 5), r"an image of 0 x 5 \(height x width\)"),
        (claiming(5, 0), r"an image of 5 x 0 \(height x width\)"),
        (claiming(2**32 - 1, 1), "4294967295 x 1 "),
        (claiming(2**31, 2**31), "2147483648 x 2147483648 "),
        (claiming(2**32 - 1, 2**32 - 1), "4294967295 x 4294967295 "),
        (start_of_frame(0, 36), "a file with a header that does not decode"),
        (start_of_frame(24, 0), "a file with a header that does not decode"),
        (file(PHOTO, "JPEG").replace(b"\xff\xc0\0", b"\xff\xc0\xff"), "a file with a header that does not decode"),
        (b"\xff\xd8\xff\xd9", "a file with a header that does not decode"),
        # The header of a small image comes first; libpng skips it.
        (EXACT["PNG"][:8] + struct.pack(">I", 13) + b"abCd" + EXACT["PNG"][16:], "a PNG that does not start with its"),
        (EXACT["PNG"][:33] + EXACT["PNG"][-12:], "a file that does not decode"),
    ],
    ids=range(11),
)
def test_a_header_that_lies_is_named_by_its_index(decode, data, told):
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"Received: {told}.* at index 2 of the batch"):
        decode[3](EXACT["PNG"], EXACT["PNG"], data)


@pytest.mark.parametrize("sides", [(4000, 4000), (25, 36)])
def test_a_header_that_claims_more_pixels_than_the_file_has_is_named_by_its_index(decode, sides):
    with pytest.raises(tf.errors.InvalidArgumentError, match="a file that does not decode at index 0 of the batch"):
        decode[3](claiming(*sides))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_damaged_file_is_decoded_or_named_by_its_index(decode, kind):
    whole, random, answers = file(PHOTO, kind), np.random.default_rng(0), set()
    for _ in range(200):
        data = bytearray(whole)
        for at in random.integers(2, len(data) if random.random() < 0.5 else 200, random.integers(1, 4)):
            data[at] = random.integers(256)
        try:
            decode[3](EXACT["PNG"], bytes(data))
            answers.add(None)
        except tf.errors.InvalidArgumentError as error:
            assert " at index 1 of the batch." in str(error), bytes(data)
            answers.add(str(error).split("Received: ")[1][:20])
    assert "a file that does not" in answers and len(answers) > 3


def test_large_files_are_decoded_one_at_a_time_to_the_same_pixels():
    files = [file(photograph(seed=k), kind) for k in range(4) for kind in ("PNG", "JPEG")]
    together = decoder(3, size=(12, 18))(*files)
    one_by_one = decoder(3, size=(12, 18), max_pixels=SIDES[0] * SIDES[1])(*files)
    np.testing.assert_array_equal(one_by_one, together)
    for k, data in enumerate(files):
        expected = tf.image.resize(tf.io.decode_image(data, 3), (12, 18), antialias=True)
        np.testing.assert_array_equal(together[k], expected)


def test_decoding_one_file_has_the_same_limits_and_errors():
    assert decode_image(tf.constant(EXACT["PNG"]), 3, SIDES[0] * SIDES[1]).shape == (*SIDES, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="A file must have at most 863 pixels. Received: 24 x 36"):
        decode_image(tf.constant(EXACT["PNG"]), 3, SIDES[0] * SIDES[1] - 1)
    for data, told in ((claiming(0, 5), "an image of 0 x 5"), (b"GIF89a", "a GIF"), (b"", "no bytes")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"A file must be PNG or JPEG, .* Received: {told}"):
            decode_image(tf.constant(data), 3, 2**20)
