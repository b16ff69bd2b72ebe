"""Steps tile by tile, compared with the steps of the whole image, which have their own references."""

import itertools

import numpy as np
import pytest

from tfpyramid import ops, scale

BORDERS = ("reflect", "symmetric", "edge", "constant", "wrap")
KERNELS = [None, "box", [1.0, 3.0, 2.0], [3.0, 1.0, 5.0, 7.0, 4.0, 3.0, 1.0]]
SIZES = [(1, 1), (1, 7), (2, 2), (5, 4), (33, 20), (37, 64)]


class Recorder:
    """An image that records the largest part that was read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.largest = array, array.shape, array.dtype, 0

    def __getitem__(self, key):
        part = self.array[key]
        self.largest = max(self.largest, part.size)
        return part


def whole(tiles, shape):
    """Return the image that tiles compose; each pixel must be written once."""
    result, written = np.full(shape, np.nan), np.zeros(shape, int)
    for tile in tiles:
        result[tile.rows, tile.columns] = tile.values
        written[tile.rows, tile.columns] += 1
    np.testing.assert_array_equal(written, 1)
    return result


@pytest.mark.slow
@pytest.mark.parametrize("tile_size", [1, 3, 8, 100])
@pytest.mark.parametrize("border", BORDERS)
def test_tiles_down_and_up_equal_parts_of_the_whole_result(border, tile_size):
    rng = np.random.default_rng(0)
    cases = list(itertools.product(SIZES, KERNELS, (2, 3)))
    # Test every third case, and only small images with small tiles.
    for size, kernel, factor in cases[BORDERS.index(border) % 3 :: 3] if tile_size > 3 else cases[:32:3]:
        step = {"scale_factor": factor, "kernel": kernel, "border": border}
        image = rng.normal(size=size)
        coarse = ops.pyr_down(image[None, ..., None], **step)
        tiles = scale.pyr_down_tiles(image, tile_size=tile_size, **step)
        case = f"{size}, {step}"
        np.testing.assert_allclose(whole(tiles, coarse.shape[1:3]), coarse[0, ..., 0], atol=1e-12, err_msg=case)
        fine = ops.pyr_up(coarse, size, **step)
        tiles = scale.pyr_up_tiles(coarse[0, ..., 0].numpy(), size, tile_size=tile_size, **step)
        np.testing.assert_allclose(whole(tiles, size), fine[0, ..., 0], atol=1e-12, err_msg=case)


@pytest.mark.parametrize("tile_size", [64, 100, 257, 1024])
@pytest.mark.parametrize("border", BORDERS)
def test_a_tiled_laplacian_pyramid_of_an_odd_colour_image_equals_the_whole_one(border, tile_size):
    image = np.random.default_rng(1).random((281, 333, 3), dtype=np.float32)
    gaussian = [image]
    for _ in range(3):
        shape = ops.pyr_down(gaussian[-1][None], border=border).shape[1:]
        tiles = scale.pyr_down_tiles(gaussian[-1], tile_size=tile_size, border=border)
        gaussian.append(np.float32(whole(tiles, shape)))
    expected = ops.laplacian_pyramid(image[None], 4, border=border)
    for fine, coarse, residual in zip(gaussian, gaussian[1:], expected):
        tiles = scale.pyr_up_tiles(coarse, fine.shape[:2], tile_size=tile_size, border=border)
        np.testing.assert_allclose(fine - whole(tiles, fine.shape), residual[0], atol=1e-6)
    np.testing.assert_allclose(gaussian[-1], expected[-1][0], atol=1e-6)


def test_integers_and_booleans_are_not_scaled():
    image = np.random.default_rng(2).integers(0, 256, (20, 31))
    for dtype in (np.uint8, np.int32, np.float16):
        (tile,) = scale.pyr_down_tiles(image.astype(dtype), dtype="float32")
        assert tile.values.dtype == np.float32
        np.testing.assert_allclose(tile.values, ops.pyr_down(image[None, ..., None] * 1.0)[0, ..., 0], rtol=1e-6)
    (tile,) = scale.pyr_down_tiles(image > 100, dtype="float32")
    np.testing.assert_allclose(tile.values, ops.pyr_down((image > 100)[None, ..., None] * 1.0)[0, ..., 0], rtol=1e-6)


def test_nan_spreads_no_further_than_the_taps_reach():
    image = np.zeros((64, 64))
    image[31, 32] = np.nan
    result = whole(scale.pyr_down_tiles(image, tile_size=7), (32, 32))
    expected = np.isnan(ops.pyr_down(image[None, ..., None])[0, ..., 0])
    np.testing.assert_array_equal(np.isnan(result), expected)


@pytest.mark.slow
@pytest.mark.parametrize("border", BORDERS)
def test_at_most_a_window_is_read(border):
    image = Recorder(np.zeros((150, 180), np.float32))
    list(scale.pyr_down_tiles(image, tile_size=16, border=border))
    assert image.largest <= (2 * 16 + 5) ** 2
    image.largest = 0
    list(scale.pyr_up_tiles(image, (299, 360), tile_size=16, border=border))
    assert image.largest <= (16 / 2 + 5) ** 2


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"image": [[1.0]]}, r"`image` must be an array of numbers.*type list, shape None"),
        ({"image": np.zeros((2, 3, 4, 1))}, r"`image` must be.*shape \(2, 3, 4, 1\)"),
        ({"image": np.zeros((0, 3))}, r"`image` must be.*shape \(0, 3\)"),
        ({"image": np.zeros((2, 3), complex)}, "`image` must be.*dtype complex128"),
        ({"image": None}, "`image` must be an array of numbers.*type NoneType, shape None"),
        ({"image": np.ma.masked_less(np.ones((8, 8)), 2)}, "`image` must not have masked.*masked values in image"),
        ({"tile_size": 0}, "`tile_size` must be an integer of at least 1.*tile_size=0"),
        ({"scale_factor": 1.5}, "`scale_factor` must be an integer of at least 2.*scale_factor=1.5"),
        ({"border": "mirror"}, "`border` must be one of.*'mirror'"),
        ({"kernel": "sinc"}, "`kernel` must be one of.*'sinc'"),
    ],
)
def test_arguments_are_checked_before_the_first_tile(arguments, message):
    arguments = {"image": np.zeros((8, 8)), **arguments}
    with pytest.raises(ValueError, match=message):
        scale.pyr_down_tiles(arguments.pop("image"), **arguments)


def test_masked_values_are_an_error_in_the_tile_that_reads_them():
    image = Recorder(np.ma.masked_equal(np.arange(400.0).reshape(20, 20), 399))
    tiles = scale.pyr_down_tiles(image, tile_size=4)
    next(tiles)
    with pytest.raises(ValueError, match="`image` must not have masked values.*masked values in image"):
        list(tiles)


def test_a_size_that_does_not_fit_is_an_error_before_the_first_tile():
    with pytest.raises(ValueError, match=r"`output_size` must satisfy.*\(17, 16\), image of shape \(8, 8\)"):
        scale.pyr_up_tiles(np.zeros((8, 8)), (17, 16))
