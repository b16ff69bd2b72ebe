"""Pyramids as OME-Zarr, read by the reader of ome-zarr itself."""

import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf
from ome_zarr.axes import KNOWN_SPATIAL_UNITS
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

from tfpyramid import ops, scale
from tfpyramid.scale import _dtypes, _store

GREY = np.random.default_rng(0).random((150, 133), dtype=np.float32)
COLOUR = np.random.default_rng(1).integers(0, 256, (75, 90, 3)).astype(np.uint8)


def opened(path):
    """Return the levels, channels last, and the scales that the reader finds."""
    (node,) = Reader(parse_url(str(path)))()
    levels = [np.asarray(level) for level in node.data]
    scales = [transformations[0]["scale"] for transformations in node.metadata["coordinateTransformations"]]
    return [np.moveaxis(level, 0, -1) if level.ndim == 3 else level for level in levels], scales


def expected(image, laplacian, num_levels=None, **step):
    function = ops.laplacian_pyramid if laplacian else ops.gaussian_pyramid
    images = np.float32(image)[None] if image.ndim == 3 else image[None, ..., None]
    levels = [level[0].numpy() for level in function(images, num_levels, **step)]
    return levels if image.ndim == 3 else [level[..., 0] for level in levels]


@pytest.mark.parametrize("laplacian", [False, True])
@pytest.mark.parametrize("image", [GREY, COLOUR], ids=["grey", "colour"])
def test_the_store_holds_the_pyramid_and_its_scales(image, laplacian, tmp_path):
    path = scale.write_ome_zarr(
        image, tmp_path / "a.ome.zarr", 4, laplacian=laplacian, tile_size=32, pixel_size=0.5, unit="micrometer"
    )
    assert os.listdir(tmp_path) == ["a.ome.zarr"]
    assert sorted(os.listdir(path)) == ["0", "1", "2", "3", "zarr.json"]
    levels, scales = opened(path)
    assert scales == [[1.0] * (image.ndim - 2) + [0.5 * 2**k] * 2 for k in range(4)]
    for level, whole in zip(levels, expected(image, laplacian, 4), strict=True):
        assert level.dtype == (np.float32 if laplacian else image.dtype)
        rounded = 0 if laplacian or image.dtype == np.float32 else 1  # Half a number at each level, and its blur.
        np.testing.assert_allclose(level, whole, rtol=1e-6, atol=max(rounded, 1e-6 * image.max()))


def test_every_option_of_a_step_reaches_it(tmp_path):
    step = {"scale_factor": 3, "kernel": [1.0, 3.0, 2.0], "border": "wrap"}
    levels, scales = opened(scale.write_ome_zarr(GREY, tmp_path / "b", laplacian=True, tile_size=20, **step))
    assert [level.shape for level in levels] == [(150, 133), (50, 45), (17, 15), (6, 5), (2, 2), (1, 1)]
    assert scales == [[3.0**k] * 2 for k in range(6)]
    for level, whole in zip(levels, expected(GREY, True, **step), strict=True):
        np.testing.assert_allclose(level, whole, atol=1e-6)


def test_one_level_is_the_image(tmp_path):
    (level,), _ = opened(scale.write_ome_zarr(COLOUR, tmp_path / "c", 1, laplacian=True))
    np.testing.assert_array_equal(level, COLOUR)


KILLED = """
import os, signal, sys
import numpy as np
from tfpyramid import scale
from tfpyramid.scale import _finished

original, added = _finished.Finished.add, []
def add(finished, chunk):
    original(finished, chunk)
    added.append(chunk)
    if len(added) == 30:
        os.kill(os.getpid(), signal.SIGKILL)
_finished._INTERVAL, _finished.Finished.add = 0, add
scale.write_ome_zarr(np.load(sys.argv[1]), sys.argv[2], laplacian=True, tile_size=32)
"""


@pytest.mark.slow
def test_a_killed_call_leaves_no_store_and_is_resumed(tmp_path, monkeypatch):
    np.save(tmp_path / "image.npy", GREY)
    path = tmp_path / "d.ome.zarr"
    command = [sys.executable, "-c", KILLED, str(tmp_path / "image.npy"), str(path)]
    killed = subprocess.run(command, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not path.exists()
    written = []
    original = _store.Level.__setitem__
    monkeypatch.setattr(
        _store.Level, "__setitem__", lambda level, *tile: written.append(level.name) or original(level, *tile)
    )
    scale.write_ome_zarr(GREY, path, laplacian=True, tile_size=32)
    total = sum(-(-h // 32) * -(-w // 32) for h, w in [level.shape for level in expected(GREY, True)])
    aside = sum(-(-h // 32) * -(-w // 32) for h, w in [level.shape for level in expected(GREY, True)[1:-1]])
    assert len(written) == total + aside - 30
    assert sorted(os.listdir(tmp_path)) == ["d.ome.zarr", "image.npy"]
    for level, whole in zip(opened(path)[0], expected(GREY, True), strict=True):
        np.testing.assert_allclose(level, whole, atol=1e-6)


def interrupted(path, monkeypatch, image=GREY, **arguments):
    """Leave half a store, as a full disk does."""

    def fail(level, *tile):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")

    with monkeypatch.context() as patched:
        patched.setattr(_store.Level, "__setitem__", fail)
        rule = "No space left on device. What is finished is kept .*the same arguments"
        with pytest.raises(OSError, match=rule) as full:
            scale.write_ome_zarr(image, path, 3, **arguments)
    assert full.value.errno == errno.ENOSPC


def test_a_full_disk_is_an_error_that_says_how_to_go_on(tmp_path, monkeypatch):
    path = tmp_path / "e.ome.zarr"
    interrupted(path, monkeypatch)
    assert not path.exists()
    assert len(opened(scale.write_ome_zarr(GREY, path, 3))[0]) == 3


@pytest.mark.parametrize(
    "image, arguments, received",
    [
        (GREY, {"border": "wrap"}, r"Received: \{'border': 'wrap'\}, and it was begun with \{'border': 'reflect'\}"),
        (GREY[::-1], {}, r"Received: \{'image': 'float32 \(150, 133\), checksum"),
        (np.float64(GREY), {}, r"Received: \{'image': 'float64"),
        (GREY, {"kind": "labels"}, r"Received: \{'kernel': \[1.0\]\}, and it was begun with \{'kernel': None\}"),
    ],
)
def test_what_was_begun_with_other_arguments_is_not_gone_on_with(image, arguments, received, tmp_path, monkeypatch):
    path = tmp_path / "f.ome.zarr"
    interrupted(path, monkeypatch)
    rule = r"`path` must be written with the arguments that .*f.ome.zarr.unfinished.*"
    with pytest.raises(ValueError, match=rule + received):
        scale.write_ome_zarr(image, path, 3, **arguments)


def test_what_was_begun_with_levels_of_another_dtype_is_not_gone_on_with(tmp_path, monkeypatch):
    path = tmp_path / "f.ome.zarr"
    image = np.zeros([40, 40], np.uint8)
    with monkeypatch.context() as patched:  # Coarser levels of an integer image were once float32.
        patched.setattr(_dtypes, "native", lambda dtype: np.dtype(np.float32))
        interrupted(path, monkeypatch, image=image)
    rule = "Received: {'dtype of the levels': 'uint8'}, and it was begun with {'dtype of the levels': 'float32'}"
    with pytest.raises(ValueError, match=rule):
        scale.write_ome_zarr(image, path, 3)


class Sliced:
    """Has the shape and the dtype of an array, and returns what a function makes of it."""

    def __init__(self, function, array=GREY):
        self.array, self.shape, self.dtype, self._function = array, array.shape, array.dtype, function

    def __getitem__(self, places):
        return self._function(self.array[places])


NO_ARRAY = "`image` must be an array of numbers, .* Received: image of type "
NO_PART = r"`image` must return an array of numbers of shape \(1, 1\) for image\[0:1, 0:1\]. Received: "
MASKED = r"`image` must have no masked values, .* Received: masked values in image\["


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_levels": 0}, "`num_levels` must be an integer of at least 1"),
        ({"tile_size": 0}, "`tile_size` must be an integer of at least 1"),
        ({"tile_size": 2.5}, "`tile_size` must be an integer of at least 1"),
        ({"tile_size": None}, "`tile_size` must be an integer of at least 1"),
        ({"tile_size": "32"}, "`tile_size` must be an integer of at least 1"),
        ({"scale_factor": 2.5}, "`scale_factor` must be an integer of at least 2"),
        ({"pixel_size": 0}, "`pixel_size` must be a finite number greater than 0"),
        ({"pixel_size": None}, "`pixel_size` must be a finite number greater than 0"),
        ({"pixel_size": 10**400}, "`pixel_size` must be a finite number greater than 0"),
        ({"pixel_size": 1e308}, "`pixel_size` must be at most"),
        ({"unit": 5}, "`unit` must be one of None, .*'micrometer'.*Received: unit=5"),
        ({"unit": ""}, "`unit` must be one of None"),
        ({"unit": True}, "`unit` must be one of None"),
        ({"unit": b"meter"}, "`unit` must be one of None"),
        ({"unit": ["meter"]}, "`unit` must be one of None"),
        ({"unit": "um"}, "`unit` must be one of None"),
        ({"laplacian": 1}, "`laplacian` must be True or False"),
        ({"verbose": 2}, "`verbose` must be True or False"),
        ({"image": None}, NO_ARRAY + "NoneType"),
        ({"image": []}, NO_ARRAY + "list"),
        ({"image": "image.npy"}, NO_ARRAY + "str"),
        ({"image": {}}, NO_ARRAY + "dict"),
        ({"image": tf.zeros([40, 40])}, NO_ARRAY + "EagerTensor"),
        ({"image": tf.TensorSpec([40, 40])}, NO_ARRAY + "TensorSpec"),
        ({"image": scipy.sparse.csr_array(GREY)}, NO_PART + "csr_array"),
        ({"image": np.ma.masked_greater(GREY, 0.999)}, MASKED),
        ({"image": Sliced(lambda part: np.ma.masked_greater(part, 0))}, MASKED),
        ({"image": Sliced(lambda part: part[0])}, NO_PART + r"ndarray of shape \(1,\)"),
        ({"image": Sliced(lambda part: "pixels")}, NO_PART + "str"),
        ({"image": Sliced(np.ravel, np.zeros([40, 40]))}, NO_PART + r"ndarray of shape \(1,\)"),
    ],
)
def test_bad_arguments_leave_nothing_behind(arguments, message, tmp_path):
    arguments = {"image": GREY, **arguments}
    with pytest.raises(ValueError, match=message):
        scale.write_ome_zarr(arguments.pop("image"), tmp_path / "g.ome.zarr", **arguments)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    "path, error, message",
    [
        (None, ValueError, "`path` must be the path of a folder to make. Received: path=None"),
        (5, ValueError, "`path` must be the path of a folder to make. Received: path=5"),
        (b"a", ValueError, "`path` must be the path of a folder to make. Received: path=b'a'"),
        ("a\0b", ValueError, "`path` must be the path of a folder to make. Received: path="),
        ("missing/a", FileNotFoundError, "`path` must be in a folder that exists on this machine. Received: path='mis"),
        ("s3://bucket/a", FileNotFoundError, "`path` must be in a folder that exists on this machine. Received: path="),
        ("file/a", FileNotFoundError, "`path` must be in a folder that exists on this machine. Received: path="),
        ("a" * 250, OSError, r"`path` must be in a folder that can be written \(File name too long\). Received: path="),
        ("/proc/a", OSError, r"`path` must be in a folder that can be written \(.*\). Received: path="),
        ("", FileExistsError, "`path` must not exist. Received: path='.'"),
        ("/", FileExistsError, "`path` must not exist. Received: path='/'"),
        ("..", FileExistsError, "`path` must not exist. Received: path='..'"),
        ("file", FileExistsError, "`path` must not exist. Received: path='file'"),
    ],
)
def test_a_bad_path_leaves_nothing_behind(path, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("precious")
    with pytest.raises(error, match=message):
        scale.write_ome_zarr(GREY, path)
    assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "Denied"), OSError(errno.EROFS, "Read-only")])
def test_a_folder_that_cannot_be_written_is_named_as_that_of_path(error, tmp_path, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(os, "mkdir", fail)
    with pytest.raises(type(error), match=r"`path` must be in a folder that can be written \(.*\). Received: path="):
        scale.write_ome_zarr(GREY, tmp_path / "a")


def test_units_are_those_of_the_specification():
    assert sorted(_store.UNITS) == sorted(KNOWN_SPATIAL_UNITS)


@pytest.mark.parametrize("bad", ["masked", "large"])
def test_an_image_that_turns_out_to_be_unfit_leaves_nothing_behind(bad, tmp_path):
    """The same call could not succeed later, so there is nothing to keep."""
    if bad == "masked":
        image = Sliced(lambda part: np.ma.masked_equal(part, GREY[75, 75]))
    else:
        image = np.zeros([40, 40], np.int64)
        image[30, 30] = 2**53
    with pytest.raises(ValueError, match="`image` must .* Received: "):
        scale.write_ome_zarr(image, tmp_path / "a", 3, tile_size=32)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("error", [RuntimeError("not now"), OSError("not now"), TimeoutError(110, "not now")])
def test_what_is_written_before_an_image_cannot_be_read_is_kept(error, tmp_path):
    """One thread that reads it raises the error while another is writing."""
    path, failing = tmp_path / "a", [True]

    def fail(part):
        if failing[0] and (part == GREY[100, 100]).any():
            raise error
        return part

    with pytest.raises(type(error), match="not now") as found:
        scale.write_ome_zarr(Sliced(fail), path, 1, tile_size=32)
    kept = f"not now. What is finished is kept in {tmp_path / '.a.unfinished'}. Once the cause is mended"
    assert (kept in str(found.value)) == isinstance(error, OSError) and "None" not in str(found.value)
    assert (tmp_path / ".a.unfinished" / "finished.txt").read_text().count("\n") >= 10
    failing[0] = False
    (level,), _ = opened(scale.write_ome_zarr(Sliced(fail), path, 1, tile_size=32))
    np.testing.assert_array_equal(level, GREY)
    assert list(tmp_path.iterdir()) == [path]


def test_masked_arrays_without_masked_values_are_arrays(tmp_path):
    (level,), _ = opened(scale.write_ome_zarr(np.ma.masked_less(GREY, 0), tmp_path / "a", 1))
    np.testing.assert_array_equal(level, GREY)


def test_progress_is_shown_if_asked(tmp_path, capsys):
    scale.write_ome_zarr(GREY, tmp_path / "h", 2)
    assert capsys.readouterr().out == ""
    scale.write_ome_zarr(GREY, tmp_path / "i", 2, verbose=True)
    assert "2/2" in capsys.readouterr().out


def test_without_ome_zarr_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ome_zarr.writer", None)
    with pytest.raises(ImportError, match=r"pip install 'tfpyramid\[scale\]'"):
        scale.write_ome_zarr(GREY, tmp_path / "j")
