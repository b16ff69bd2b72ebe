"""Arguments and paths that `write_ome_zarr` refuses, and what it says when ome-zarr is missing."""

import errno
import os
import sys

import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf
from ome_zarr.axes import KNOWN_SPATIAL_UNITS

from tests.scale import stores
from tests.scale.stores import GREY, Sliced
from tfpyramid import scale
from tfpyramid.scale import _store

NO_ARRAY = "`image` must be an array of numbers, .* Received: image of type "
NO_PART = r"`image` must return an array of numbers of shape \(1, 1\) for image\[0:1, 0:1\]. Received: "
MASKED = r"`image` must not have masked values, .* Received: masked values in image\["


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
def test_bad_arguments_leave_nothing(arguments, message, tmp_path):
    arguments = {"image": GREY, **arguments}
    with pytest.raises(ValueError, match=message):
        scale.write_ome_zarr(arguments.pop("image"), tmp_path / "g.ome.zarr", **arguments)
    assert not os.listdir(tmp_path)


NO_PATH = "`path` must be a path: a str or a pathlib.Path. Received: path="
NO_NAME = "`path` must end in the name of the folder to make. Received: path="
UNWRITABLE = "`path` must be in a folder that can be written "


@pytest.mark.parametrize(
    "path, error, message",
    [
        (None, ValueError, NO_PATH + "None"),
        (5, ValueError, NO_PATH + "5"),
        (b"a", ValueError, NO_PATH + "b'a'"),
        ("a\0b", ValueError, NO_PATH),
        ("", ValueError, NO_PATH),
        ("caf\udce9", ValueError, NO_PATH),
        ("s3://bucket/a", ValueError, "`path` must be on a disk of this machine: .* Received: path='s3://bucket/a'"),
        ("/", ValueError, NO_NAME + "'/'"),
        ("..", ValueError, NO_NAME + "'..'"),
        ("file/a", NotADirectoryError, UNWRITABLE + r"\(Not a directory\). Received: path='file/a'"),
        ("file/a/b", NotADirectoryError, UNWRITABLE + r"\(Not a directory\). Received: path='file/a/b'"),
        ("a" * 250, OSError, UNWRITABLE + r"\(File name too long\). Received: path="),
        ("/proc/a", OSError, UNWRITABLE + r"\(.*\). Received: path="),
        ("/proc/a/b", OSError, UNWRITABLE + r"\(.*\). Received: path="),
        ("file", FileExistsError, "`path` must not exist. Received: path='file'"),
    ],
)
def test_a_bad_path_leaves_nothing(path, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("precious")
    with pytest.raises(error, match=message):
        scale.write_ome_zarr(GREY, path)
    assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "Denied"), OSError(errno.EROFS, "Read-only")])
def test_a_folder_that_cannot_be_written_is_an_error_of_path(error, tmp_path, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(os, "mkdir", fail)
    with pytest.raises(type(error), match=UNWRITABLE + r"\(.*\). Received: path="):
        scale.write_ome_zarr(GREY, tmp_path / "a")


def test_missing_parents_are_made_and_on_the_disk(tmp_path, monkeypatch):
    synced, fsync = set(), os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.add(stores.target_of(file)), fsync(file)))
    path = tmp_path / "one" / "two" / "a"
    assert scale.write_ome_zarr(GREY, path, 1) == path
    assert os.listdir(path.parent) == ["a"] and {tmp_path, tmp_path / "one", path.parent} <= synced


def test_units_equal_those_of_the_specification():
    assert sorted(_store.UNITS) == sorted(KNOWN_SPATIAL_UNITS)


@pytest.mark.parametrize("module", ["zarr", "ome_zarr.writer"])
def test_without_ome_zarr_the_error_says_what_to_install(module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    told = r"write_ome_zarr requires ome-zarr. Install it with: pip install 'tfpyramid\[scale\]'. Received: .*" + module
    with pytest.raises(ImportError, match=told):
        scale.write_ome_zarr(GREY, tmp_path / "j")
    assert os.listdir(tmp_path) == []
