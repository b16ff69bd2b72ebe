"""Stores of one image: their levels computed by OpenCV, partial stores, and the contents of folders."""

import errno
import os
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
import zarr

from tfpyramid import scale
from tfpyramid.scale import _store

NUM_LEVELS, TILE_SIZE = 3, 32


def picture(seed=0, height=75, width=90):
    """Return an image with tiles of zeros, which have no file in a store."""
    image = np.random.default_rng(seed).integers(1, 256, (height, width)).astype(np.uint8)
    image[:, : width // 2] = 0
    return image


GREY = np.random.default_rng(0).random((150, 133), dtype=np.float32)
IMAGE, SMALL = picture(), picture(3, 33, 40)


class Sliced:
    """An image with the shape and dtype of an array, and with a function applied to each slice."""

    def __init__(self, function, array=GREY):
        self.array, self.shape, self.dtype, self._function = array, array.shape, array.dtype, function

    def __getitem__(self, places):
        return self._function(self.array[places])


def write(path, image=IMAGE, **options):
    return scale.write_ome_zarr(image, path, NUM_LEVELS, tile_size=TILE_SIZE, **options)


def levels_of(image, num_levels=NUM_LEVELS):
    levels = [image]
    while len(levels) < num_levels:
        levels.append(cv2.pyrDown(levels[-1]))
    return levels


def files_of(levels):
    """Return the names of all files in a store of these levels."""
    names = {"zarr.json"}
    for k, level in enumerate(levels):
        names.add(f"{k}/zarr.json")
        for y in range(0, level.shape[0], TILE_SIZE):
            for x in range(0, level.shape[1], TILE_SIZE):
                if level[y : y + TILE_SIZE, x : x + TILE_SIZE].any():
                    names.add(f"{k}/c/{y // TILE_SIZE}/{x // TILE_SIZE}")
    return names


def check(path, image=IMAGE, num_levels=NUM_LEVELS):
    """Assert that a store holds exactly its files, and the levels that OpenCV computes."""
    levels = levels_of(image, num_levels)
    assert {str(file.relative_to(path)) for file in path.rglob("*") if not file.is_dir()} == files_of(levels)
    group = zarr.open_group(str(path), mode="r")
    for k, level in enumerate(levels):
        np.testing.assert_array_equal(group[str(k)][:], level)


def interrupt(path, after=8, **options):
    """Write a store, and fail after `after` tiles."""
    left, original = iter(range(after)), _store.Level.__setitem__

    def write_or_fail(level, places, values):
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")
        original(level, places, values)

    with mock.patch.object(_store.Level, "__setitem__", write_or_fail), pytest.raises(OSError, match="No space left"):
        write(path, **options)
    assert not path.exists()
    return unfinished(path)


def target_of(file):
    """Return the path of an open file."""
    return Path(os.readlink(f"/proc/self/fd/{file}"))


def unfinished(path):
    return path.with_name(f".{path.name}.unfinished")


def everything(folder):
    """Return the contents of a folder, with the targets of links."""
    return {
        str(file.relative_to(folder)): (
            os.readlink(file) if file.is_symlink() else None if file.is_dir() else file.read_bytes()
        )
        for file in Path(folder).rglob("*")
    }
