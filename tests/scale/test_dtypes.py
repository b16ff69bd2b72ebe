"""Levels have the dtype of their image: OpenCV's rounding, exact labels, and the translation in OME-Zarr."""

import json

import cv2
import numpy as np
import pytest
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

from tests.scale.test_tiles import whole
from tfpyramid import ops, scale


def noise(dtype, shape=(75, 46)):
    """Return an image that uses the whole range of a dtype."""
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, np.dtype(dtype).newbyteorder("="), endpoint=True).astype(dtype)
    return (rng.random(shape) > 0.5) if dtype == "bool" else rng.normal(size=shape).astype(dtype)


def levels_of(image, path, *arguments, **options):
    group = zarr.open_group(str(scale.write_ome_zarr(image, path, *arguments, **options)), mode="r")
    return [group[str(k)][:] for k in range(len(list(group.array_keys())))]


def transformations(path):
    """Return the levels that the reader of ome-zarr finds."""
    (node,) = Reader(parse_url(str(path)))()
    return node.metadata["coordinateTransformations"]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_integer_levels_equal_those_of_opencv(dtype, tmp_path):
    level = noise(dtype)
    for found in levels_of(level, tmp_path / "image", 4, tile_size=32):
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, level)
        level = cv2.pyrDown(level)


@pytest.mark.parametrize("dtype", ["bool", "float16", "int8", "uint32", "int32", "float64", ">u2"])
def test_every_level_has_the_dtype_of_the_image(dtype, tmp_path):
    image = noise(dtype)
    exact = image.astype(np.float64)
    for found in levels_of(image, tmp_path / "image", 3):
        assert found.dtype == np.dtype(dtype).newbyteorder("=")
        if found.dtype.kind == "f":
            expected = exact.astype(dtype)
            np.testing.assert_allclose(found, expected, rtol=0, atol=4 * np.finfo(dtype).eps)
        else:  # Rounded to the nearest integer, halves up; True is 1.
            expected = np.floor(exact + 0.5).astype(found.dtype)
            np.testing.assert_array_equal(found, expected)
        exact = ops.pyr_down(np.float64(expected)[None, ..., None])[0, ..., 0].numpy()


def test_a_mask_is_true_where_half_of_the_weight_is():
    mask = np.zeros((4, 4), bool)
    mask[:2, :2] = mask[2, 2] = mask[2, 3] = True
    (tile,) = scale.pyr_down_tiles(mask, kernel="box")
    np.testing.assert_array_equal(tile.values, [[True, False], [False, True]])


def test_a_kernel_that_overshoots_stays_in_the_range():
    image = np.zeros((8, 8), np.uint8)
    image[:, 3:5] = 255
    (tile,) = scale.pyr_down_tiles(image, kernel=[-1.0, 4.0, -1.0])
    exact = ops.pyr_down(np.float64(image)[None, ..., None], kernel=[-1.0, 4.0, -1.0])[0, ..., 0]
    assert np.min(exact) < 0 and np.max(exact) > 255
    np.testing.assert_array_equal(tile.values, np.clip(np.floor(exact + 0.5), 0, 255))


@pytest.mark.parametrize("border", ["reflect", "symmetric", "edge", "constant", "wrap"])
def test_integer_tiles_are_rounded_unless_dtype_is_floating(border):
    image = noise("uint8", (33, 20))
    coarse = image[::2, ::2].copy()
    down = ops.pyr_down(np.float32(image)[None, ..., None], border=border)[0, ..., 0]
    up = ops.pyr_up(np.float32(coarse)[None, ..., None], image.shape, border=border)[0, ..., 0]
    for tiles, exact in (
        (lambda **dtype: scale.pyr_down_tiles(image, border=border, tile_size=8, **dtype), down),
        (lambda **dtype: scale.pyr_up_tiles(coarse, image.shape, border=border, tile_size=8, **dtype), up),
    ):
        assert all(tile.values.dtype == np.uint8 for tile in tiles())
        np.testing.assert_array_equal(whole(tiles(), exact.shape), np.floor(np.float64(exact) + 0.5))
        assert all(tile.values.dtype == np.float32 for tile in tiles(dtype="float32"))
        np.testing.assert_allclose(whole(tiles(dtype=np.float32), exact.shape), exact, atol=1e-4)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16"])
def test_bands_of_a_laplacian_pyramid_are_floating_and_of_one_dtype(dtype, tmp_path):
    image = noise(dtype)
    bands = levels_of(image, tmp_path / "bands", 3, laplacian=True)
    wide = np.float64 if dtype == "int32" else np.float32
    assert [band.dtype for band in bands] == [wide] * 3
    again = ops.reconstruct([band[None, ..., None] for band in bands])[0, ..., 0].numpy()
    assert np.array_equal(np.round(again), image) or np.allclose(again, image, atol=1e-5)


@pytest.mark.parametrize("dtype", ["uint64", "int64", "uint8", "bool"])
@pytest.mark.parametrize("factor", [2, 3])
def test_labels_are_copied(dtype, factor, tmp_path):
    image = noise(dtype)
    image[0, 0] = np.iinfo(dtype).max if dtype != "bool" else True
    options = {"kind": "labels", "scale_factor": factor, "pixel_size": 0.5}
    found = levels_of(image, tmp_path / "labels", 3, tile_size=7, **options)
    for k, level in enumerate(found):
        assert level.dtype == image.dtype
        np.testing.assert_array_equal(level, image[:: factor**k, :: factor**k])
    assert transformations(tmp_path / "labels") == [
        [{"type": "scale", "scale": [0.5 * factor**k] * 2}] for k in range(3)
    ]


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_integers_that_float64_cannot_hold_are_refused(dtype, tmp_path):
    image = np.full((8, 8), 2**40, dtype)
    image[3, 5] = 2**45
    for found in levels_of(image, tmp_path / "small", 2):
        assert found.dtype == dtype
    image[3, 5] = 2**60
    rule = rf"`image` must hold integers below 2\*\*53, .* For labels, .* Received: .*{2**60}"
    with pytest.raises(ValueError, match=rule):
        scale.write_ome_zarr(image, tmp_path / "large", 2)
    with pytest.raises(ValueError, match=rule):
        list(scale.pyr_down_tiles(image))
    lowest = np.full((8, 8), np.iinfo(dtype).min, dtype)
    if dtype == "int64":
        with pytest.raises(ValueError, match=rf"Received: image of dtype int64, which holds {2**63}"):
            list(scale.pyr_down_tiles(lowest))
    # A one-tap kernel copies numbers.
    (tile,) = scale.pyr_down_tiles(image, kernel=[1.0])
    np.testing.assert_array_equal(tile.values, image[::2, ::2])


@pytest.mark.parametrize("laplacian", [False, True])
@pytest.mark.parametrize("kernel", ["box", [3.0, 1.0, 4.0, 1.0]], ids=["box", "asymmetric"])
def test_the_metadata_hold_the_positions_of_samples_of_even_kernels(kernel, laplacian, tmp_path):
    colour = np.zeros((40, 33, 3), np.uint8)
    for name, image, factor in (("grey", noise("uint8"), 2), ("colour", colour, 3)):
        options = {"kernel": kernel, "laplacian": laplacian, "scale_factor": factor, "pixel_size": 0.25}
        scale.write_ome_zarr(image, tmp_path / name, 4, unit="micrometer", **options)
        others = [1.0] * (image.ndim - 2)
        taps = np.ones(factor) if kernel == "box" else np.array(kernel)
        centroid = taps @ np.arange(taps.size) / taps.sum() - (taps.size - 1) // 2
        expected, first = [], 0.0  # Where the first sample of a level lies, in pixels of the image.
        for k in range(4):
            expected.append([{"type": "scale", "scale": others + [0.25 * factor**k] * 2}])
            if centroid:
                place = {"type": "translation", "translation": [0.0] * len(others) + [0.25 * first] * 2}
                expected[-1].append(place)
            first += centroid * factor**k
        assert transformations(tmp_path / name) == json.loads(json.dumps(expected))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"kind": "mask"}, "`kind` must be one of 'image', 'labels'. Received: kind='mask'"),
        ({"kind": "labels", "laplacian": True}, "`laplacian` must be False for labels.* Received: laplacian=True"),
        ({"kind": "labels", "kernel": "box"}, "`kernel` must be None for labels.* Received: kernel='box'"),
    ],
)
def test_labels_accept_neither_a_kernel_nor_residuals(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        scale.write_ome_zarr(noise("uint8"), tmp_path / "labels", **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", ["complex64", "text", "S3"])
def test_the_dtype_of_tiles_must_be_numeric(dtype):
    for tiles in (scale.pyr_down_tiles, lambda x, **given: scale.pyr_up_tiles(x, (150, 92), **given)):
        with pytest.raises(ValueError, match=f"`dtype` must be a boolean, integer .* Received: dtype='{dtype}'"):
            tiles(noise("uint8"), dtype=dtype)
