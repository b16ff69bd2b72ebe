"""Pyramids as OME-Zarr, read by the reader of ome-zarr itself."""

import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
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
from tfpyramid.scale import _unfinished

original = _unfinished.Unfinished.add
def add(self, name):
    original(self, name)
    if len(self.finished) == 30:
        os.kill(os.getpid(), signal.SIGKILL)
_unfinished.Unfinished.add = add
scale.write_ome_zarr(np.load(sys.argv[1]), sys.argv[2], laplacian=True, tile_size=32)
"""


def test_a_killed_call_leaves_no_store_and_is_gone_on_with(tmp_path, monkeypatch):
    np.save(tmp_path / "image.npy", GREY)
    path = tmp_path / "d.ome.zarr"
    command = [sys.executable, "-c", KILLED, str(tmp_path / "image.npy"), str(path)]
    killed = subprocess.run(command, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not path.exists()
    unfinished = tmp_path / ".d.ome.zarr.unfinished"
    # A line that was cut off is no finished tile.
    with (unfinished / "finished.txt").open("a") as log:
        log.write("0 96")
    written = []
    original = _store.Level.__setitem__
    monkeypatch.setattr(
        _store.Level, "__setitem__", lambda level, *tile: written.append(level.name) or original(level, *tile)
    )
    scale.write_ome_zarr(GREY, path, laplacian=True, tile_size=32)
    total = sum(-(-h // 32) * -(-w // 32) for h, w in [level.shape for level in expected(GREY, True)])
    aside = sum(-(-h // 32) * -(-w // 32) for h, w in [level.shape for level in expected(GREY, True)[1:-1]])
    assert len(written) == total + aside - 30
    assert not unfinished.exists()
    for level, whole in zip(opened(path)[0], expected(GREY, True), strict=True):
        np.testing.assert_allclose(level, whole, atol=1e-6)


def interrupted(path, monkeypatch, image=GREY, **arguments):
    """Leave half a store, as a full disk does."""

    def fail(level, *tile):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")

    with monkeypatch.context() as patched:
        patched.setattr(_store.Level, "__setitem__", fail)
        with pytest.raises(OSError, match="No space left on device. What is finished is kept .*the same arguments") as full:
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


def test_what_exists_is_not_touched(tmp_path):
    (tmp_path / "here").mkdir()
    with pytest.raises(FileExistsError, match="`path` must not exist. Received: path="):
        scale.write_ome_zarr(GREY, tmp_path / "here")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_levels": 0}, "`num_levels` must be an integer of at least 1"),
        ({"tile_size": 0}, "`tile_size` must be an integer of at least 1"),
        ({"scale_factor": 2.5}, "`scale_factor` must be an integer of at least 2"),
        ({"pixel_size": 0}, "`pixel_size` must be a finite number greater than 0"),
        ({"laplacian": 1}, "`laplacian` must be True or False"),
        ({"verbose": 2}, "`verbose` must be True or False"),
    ],
)
def test_bad_arguments_leave_nothing_behind(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        scale.write_ome_zarr(GREY, tmp_path / "g.ome.zarr", **arguments)
    assert not os.listdir(tmp_path)


def test_progress_is_shown_if_asked(tmp_path, capsys):
    scale.write_ome_zarr(GREY, tmp_path / "h", 2)
    assert capsys.readouterr().out == ""
    scale.write_ome_zarr(GREY, tmp_path / "i", 2, verbose=True)
    assert "2/2" in capsys.readouterr().out


def test_without_ome_zarr_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ome_zarr.writer", None)
    with pytest.raises(ImportError, match=r"pip install 'tfpyramid\[scale\]'"):
        scale.write_ome_zarr(GREY, tmp_path / "j")
