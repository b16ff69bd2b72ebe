"""Stores that are interrupted at each step of writing, and after a power failure."""

import collections
import errno
import os
import threading
from pathlib import Path

import pytest

from tests.scale import stores
from tfpyramid import scale
from tfpyramid.scale import _chunk_log


class Interrupting:
    """Raises an error before or after one numbered call of the functions that change files.

    Python raises KeyboardInterrupt in the main thread alone.
    """

    NAMES = ("fsync", "rename", "replace", "unlink", "mkdir", "rmdir", "open")

    def __init__(self, patch, number, error, after):
        self.count, self._thread, self._after = 0, threading.current_thread(), after
        self._number, self._error = number, error
        for name in self.NAMES:
            patch.setattr(os, name, self._interrupted(name, getattr(os, name)))

    def _interrupted(self, name, function):
        def call(*arguments, **options):
            if isinstance(self._error, KeyboardInterrupt) and threading.current_thread() is not self._thread:
                return function(*arguments, **options)
            self.count += 1
            if self.count != self._number:
                return function(*arguments, **options)
            if self._after and name != "open":
                function(*arguments, **options)
            raise self._error

        return call


DISK = OSError(errno.EIO, "Input/output error")


@pytest.mark.slow
@pytest.mark.parametrize(
    "error, after",
    [(KeyboardInterrupt(), False), (KeyboardInterrupt(), True), (DISK, False)],
    ids=["key", "late key", "disk"],
)
def test_after_an_interruption_at_any_step_the_next_call_finishes_the_store(error, after, tmp_path, monkeypatch):
    monkeypatch.setattr(_chunk_log, "_INTERVAL", 0)
    monkeypatch.setattr(os, "fsync", lambda file: None)
    outcomes, number = collections.Counter(), 0
    while not outcomes["undisturbed"]:
        number += 1
        path = tmp_path / str(number) / "a.zarr"
        path.parent.mkdir()
        with monkeypatch.context() as patch:
            interrupting = Interrupting(patch, number, error, after)
            try:
                scale.write_ome_zarr(stores.SMALL, path, 2, tile_size=32)
            except (KeyboardInterrupt, OSError):
                outcomes["whole" if path.exists() else "absent"] += 1
            else:
                outcomes["succeeded" if interrupting.count >= number else "undisturbed"] += 1
        if path.exists():
            with pytest.raises(FileExistsError, match="`path` must not exist. Received: path="):
                scale.write_ome_zarr(stores.SMALL, path, 2, tile_size=32)
        else:
            scale.write_ome_zarr(stores.SMALL, path, 2, tile_size=32)
        stores.check(path, stores.SMALL, 2)
        assert list(path.parent.iterdir()) == [path], f"after step {number}"
    assert outcomes["absent"] > 20 and outcomes["whole" if isinstance(error, KeyboardInterrupt) else "succeeded"] > 0


def test_nothing_counts_as_finished_before_it_is_on_the_disk(tmp_path, monkeypatch):
    """A power failure keeps only what was synced. Folders must be synced too, or a file loses its name."""
    path, folder = tmp_path / "a.zarr", stores.unfinished(tmp_path / "a.zarr")
    synced, fsync, rename, replace = set(), os.fsync, os.rename, os.replace
    claimed = []

    def check_claims(log):
        for line in log.read_text().splitlines():
            name, checksum, _ = line.split(" ")
            if checksum != "none":
                claimed.append(name)
                assert {folder / name, *(folder / parent for parent in Path(name).parents)} <= synced

    def fsync_noted(file):
        target = stores.target_of(file)
        if target.name == "finished.txt":
            check_claims(target)
        fsync(file)
        synced.add(target)

    def rename_checked(source, target):
        assert source == folder / "store" and target == path
        assert {each for each in source.rglob("*")} | {source} <= synced
        synced.clear()
        rename(source, target)

    def replace_checked(source, target):
        if os.path.basename(target) in ("arguments.json", "finished.txt"):
            assert Path(source) in synced
        replace(source, target)

    monkeypatch.setattr(_chunk_log, "_INTERVAL", 0)
    monkeypatch.setattr(os, "fsync", fsync_noted)
    monkeypatch.setattr(os, "rename", rename_checked)
    monkeypatch.setattr(os, "replace", replace_checked)
    stores.write(path)
    assert {name.split("/")[1] for name in claimed} == {"0", "1", "2"}
    # After the rename.
    assert synced == {tmp_path}
