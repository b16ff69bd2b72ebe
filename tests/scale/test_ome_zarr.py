"""Pyramids as OME-Zarr, read by the reader of ome-zarr; interrupted calls are resumed."""

import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

from tests.scale.stores import GREY, Sliced
from tfpyramid import ops, scale
from tfpyramid.scale import _dtypes, _store

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
        rounded = 0 if laplacian or image.dtype == np.float32 else 1  # Rounding adds up to half a unit at each level.
        np.testing.assert_allclose(level, whole, rtol=1e-6, atol=max(rounded, 1e-6 * image.max()))


@pytest.mark.slow
def test_every_option_is_used(tmp_path):
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
from tfpyramid.scale import _chunk_log

original, added = _chunk_log.ChunkLog.add, []
def add(log, chunk):
    original(log, chunk)
    added.append(chunk)
    if len(added) == 30:
        os.kill(os.getpid(), signal.SIGKILL)
_chunk_log._INTERVAL, _chunk_log.ChunkLog.add = 0, add
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
    """Leave a partial store, as a full disk does."""

    def fail(level, *tile):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")

    with monkeypatch.context() as patched:
        patched.setattr(_store.Level, "__setitem__", fail)
        rule = "No space left on device. Finished chunks are kept .*the same arguments to resume"
        with pytest.raises(OSError, match=rule) as full:
            scale.write_ome_zarr(image, path, 3, **arguments)
    assert full.value.errno == errno.ENOSPC


def test_a_full_disk_is_an_error_that_says_how_to_resume(tmp_path, monkeypatch):
    path = tmp_path / "e.ome.zarr"
    interrupted(path, monkeypatch)
    assert not path.exists()
    assert len(opened(scale.write_ome_zarr(GREY, path, 3))[0]) == 3


@pytest.mark.parametrize(
    "image, arguments, told",
    [
        (GREY, {"border": "wrap"}, r"\{'border': 'reflect'\}. Rerun .* Received: \{'border': 'wrap'\}"),
        (GREY[::-1], {}, r"Received: \{'image': 'float32 \(150, 133\), checksum"),
        (np.float64(GREY), {}, r"Received: \{'image': 'float64"),
        (GREY, {"kind": "labels"}, r"\{'kernel': None\}. Rerun .* Received: \{'kernel': \[1.0\]\}"),
    ],
)
def test_a_store_that_was_started_with_other_arguments_is_not_resumed(image, arguments, told, tmp_path, monkeypatch):
    path = tmp_path / "f.ome.zarr"
    interrupted(path, monkeypatch)
    rule = r"`path` has an unfinished store that was started with other arguments: .*"
    with pytest.raises(ValueError, match=rule + told):
        scale.write_ome_zarr(image, path, 3, **arguments)


def test_a_store_that_was_started_with_levels_of_another_dtype_is_not_resumed(tmp_path, monkeypatch):
    path = tmp_path / "f.ome.zarr"
    image = np.zeros([40, 40], np.uint8)
    with monkeypatch.context() as patched:  # Coarser levels of an integer image were once float32.
        patched.setattr(_dtypes, "native", lambda dtype: np.dtype(np.float32))
        interrupted(path, monkeypatch, image=image)
    rule = "{'dtype of the levels': 'float32'}. Rerun .* Received: {'dtype of the levels': 'uint8'}"
    with pytest.raises(ValueError, match=rule):
        scale.write_ome_zarr(image, path, 3)


@pytest.mark.parametrize("bad", ["masked", "large"])
def test_an_image_that_breaks_a_rule_late_leaves_nothing(bad, tmp_path):
    """The same call would fail again, so nothing is kept for it."""
    if bad == "masked":
        image = Sliced(lambda part: np.ma.masked_equal(part, GREY[75, 75]))
    else:
        image = np.zeros([40, 40], np.int64)
        image[30, 30] = 2**53
    with pytest.raises(ValueError, match="`image` must .* Received: "):
        scale.write_ome_zarr(image, tmp_path / "a", 3, tile_size=32)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("error", [RuntimeError("not now"), OSError("not now"), TimeoutError(110, "not now")])
def test_tiles_written_before_an_image_cannot_be_read_are_kept(error, tmp_path):
    """One thread reads the image and raises the error while another thread writes."""
    path, failing = tmp_path / "a", [True]

    def fail(part):
        if failing[0] and (part == GREY[100, 100]).any():
            raise error
        return part

    with pytest.raises(type(error), match="not now") as found:
        scale.write_ome_zarr(Sliced(fail), path, 1, tile_size=32)
    kept = f"not now. Finished chunks are kept in {tmp_path / '.a.unfinished'}. Remove the cause"
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
