"""The folder of an unfinished store: one process at a time, foreign files unchanged, nothing left in the end."""

import errno
import os
import shutil
import threading

import pytest

from tests.scale import stores
from tfpyramid import _files
from tfpyramid.scale import _chunk_log, _unfinished_store

SMALL = stores.SMALL
OTHER = stores.picture(4, 33, 40)
BUSY = "`path` can be written by one process at a time, and another process is writing it.* Received: path="


class Calling:
    """An image that calls a function when its last rows are read after `skipped` earlier reads."""

    def __init__(self, function, skipped=8, image=SMALL):
        self.array, self.shape, self.dtype = image, image.shape, image.dtype
        self._function, self._left = function, iter(range(skipped))

    def __getitem__(self, places):
        # The checksum of the image reads smaller parts of it.
        if places[0].stop == self.shape[0] and places[0].start == 32 and next(self._left, None) is None:
            function, self._function = self._function, lambda: None
            function()
        return self.array[places]


@pytest.mark.parametrize("options", [{}, {"border": "wrap"}], ids=["equal", "other arguments"])
def test_a_second_writer_raises_an_error(options, tmp_path):
    path, told = tmp_path / "a.zarr", []

    def write_too():
        with pytest.raises(BlockingIOError, match=BUSY) as error:
            stores.write(path, OTHER, **options)
        told.append(error)

    stores.write(path, Calling(write_too, 0))
    assert told
    stores.check(path, SMALL)
    assert list(tmp_path.iterdir()) == [path]


def before_the_first_call(monkeypatch, holder, name, action):
    """Run `action` before the first call of a function of a module."""
    function = getattr(holder, name)

    def first(*arguments):
        monkeypatch.setattr(holder, name, function)
        action()
        return function(*arguments)

    monkeypatch.setattr(holder, name, first)


def test_a_writer_that_waited_for_the_lock_finds_the_store_of_the_first(tmp_path, monkeypatch):
    path = tmp_path / "a.zarr"
    before_the_first_call(monkeypatch, _unfinished_store, "lock_folder", lambda: stores.write(path, SMALL))
    with pytest.raises(FileExistsError, match="`path` must not exist. Received: path="):
        stores.write(path, OTHER)
    stores.check(path, SMALL)
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_its_owner_removes_in_the_meantime_is_made_again(tmp_path, monkeypatch):
    path = tmp_path / "a.zarr"
    before_the_first_call(monkeypatch, _files, "Lock", stores.unfinished(path).rmdir)
    stores.write(path, SMALL)
    stores.check(path, SMALL)


def test_one_of_many_threads_writes_a_path(tmp_path):
    images = [stores.picture(seed, 33, 40) for seed in range(4)]
    for number in range(3):
        path, answers = tmp_path / f"{number}.zarr", {}
        ready = threading.Barrier(len(images))

        def write(k, path=path, answers=answers, ready=ready):
            ready.wait()
            try:
                answers[k] = stores.write(path, images[k])
            except (BlockingIOError, FileExistsError) as error:
                answers[k] = error

        threads = [threading.Thread(target=write, args=(k,)) for k in range(len(images))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (winner,) = (k for k, answer in answers.items() if answer == path)
        stores.check(path, images[winner])
        assert len(answers) == len(images)
    assert sorted(os.listdir(tmp_path)) == ["0.zarr", "1.zarr", "2.zarr"]


MADE = {
    "folder": lambda path: path.mkdir(),
    "file": lambda path: path.write_text("precious"),
    "folder with a file": lambda path: (path.mkdir(), (path / "file").write_text("precious")),
    "link to nothing": lambda path: path.symlink_to(path.with_name("nothing")),
    "link to a folder": lambda path: (path.with_name("folder").mkdir(), path.symlink_to(path.with_name("folder"))),
}


@pytest.mark.parametrize("made", MADE)
def test_an_existing_path_is_not_changed(made, tmp_path):
    path = tmp_path / "a.zarr"
    MADE[made](path)
    before = stores.everything(tmp_path)
    with pytest.raises(FileExistsError, match="`path` must not exist. Received: path="):
        stores.write(path, SMALL)
    assert stores.everything(tmp_path) == before


@pytest.mark.parametrize("made", MADE)
def test_a_path_that_appears_in_the_meantime_is_kept_and_so_is_the_store(made, tmp_path, monkeypatch):
    path = tmp_path / "a.zarr"
    with pytest.raises(
        FileExistsError, match="`path` must not exist, but something else made it in the meantime.*is kept in"
    ):
        stores.write(path, Calling(lambda: MADE[made](path), 0))
    before = stores.everything(tmp_path)
    with pytest.raises(FileExistsError, match="`path` must not exist. Received: path="):
        stores.write(path, SMALL)
    assert stores.everything(tmp_path) == before
    os.rename(path, tmp_path / "moved away")
    # Nothing is computed again.
    monkeypatch.setattr(_chunk_log.ChunkLog, "add", None)
    stores.write(path, SMALL)
    stores.check(path, SMALL)
    assert not stores.unfinished(path).exists()


def test_a_file_that_is_made_at_the_last_moment_is_kept(tmp_path, monkeypatch):
    path, rename = tmp_path / "a.zarr", os.rename

    def made_before(*arguments):
        path.write_text("precious")
        return rename(*arguments)

    monkeypatch.setattr(os, "rename", made_before)
    with pytest.raises(FileExistsError, match="`path` must not exist, but something else made it"):
        stores.write(path, SMALL)
    assert path.read_text() == "precious"


def earlier_version(folder):
    (folder / "0").mkdir(parents=True)
    (folder / "arguments.json").write_text("{}")
    (folder / "finished.txt").write_text("0 0 0\n")


def planted_link(folder):
    target = folder.with_name("target")
    target.mkdir()
    (target / "precious").write_text("precious")
    folder.symlink_to(target)


def planted_lock(folder):
    folder.mkdir()
    folder.with_name("precious").write_text("precious")
    (folder / "lock").symlink_to(folder.with_name("precious"))


def of_another_user(folder):
    folder.mkdir()
    os.chown(folder, 12345, 12345)


FOREIGN = {
    "earlier version": earlier_version,
    "own folder": lambda folder: (folder.mkdir(), (folder / "precious").write_text("precious")),
    "own folder with an empty lock": lambda folder: [
        folder.mkdir(),
        *((folder / name).write_text("") for name in ("lock", "precious")),
    ],
    "own folder with a lock of its own": lambda folder: (folder.mkdir(), (folder / "lock").write_text("pid 7")),
    "file": lambda folder: folder.write_text("precious"),
    "link to nothing": lambda folder: folder.symlink_to(folder.with_name("nothing")),
    "link to a folder": planted_link,
    "link as lock": planted_lock,
    "another user's": of_another_user,
}


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_foreign_folder_is_neither_used_nor_changed(foreign, exists, tmp_path):
    if foreign == "another user's" and os.geteuid() != 0:
        pytest.skip("gives a folder to another user")
    path = tmp_path / "a.zarr"
    if exists:
        path.mkdir()
    FOREIGN[foreign](stores.unfinished(path))
    before = stores.everything(tmp_path)
    rule = "`path` must not exist" if exists else f"`path` cannot be written.*{stores.unfinished(path)}.*Remove it, or"
    with pytest.raises(FileExistsError, match=f"{rule}.*Received: path="):
        stores.write(path, SMALL)
    assert stores.everything(tmp_path) == before


def test_files_of_a_call_that_was_killed_after_the_rename_are_removed(tmp_path, monkeypatch):
    path = tmp_path / "a.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(_unfinished_store._files, "remove", lambda folder: None)
        stores.write(path, SMALL)
    assert sorted(os.listdir(stores.unfinished(path))) == ["arguments.json", "finished.txt", "lock"]
    stores.check(path, SMALL)
    with pytest.raises(FileExistsError, match="`path` must not exist"):
        stores.write(path, SMALL)
    assert list(tmp_path.iterdir()) == [path]


def test_files_of_such_a_call_allow_other_arguments(tmp_path, monkeypatch):
    path = tmp_path / "a.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(_unfinished_store._files, "remove", lambda folder: None)
        stores.write(path, SMALL)
    shutil.rmtree(path)
    stores.write(path, OTHER)
    stores.check(path, OTHER)
    assert list(tmp_path.iterdir()) == [path]


def test_without_locks_a_store_is_written_and_leftover_files_are_kept(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    path = tmp_path / "a.zarr"
    monkeypatch.setattr(_files.fcntl, "flock", no_locks)
    with monkeypatch.context() as patch:
        patch.setattr(_unfinished_store._files, "remove", lambda folder: None)
        stores.write(path, SMALL)
    with pytest.raises(FileExistsError):
        stores.write(path, SMALL)
    # Another process may be writing it.
    assert stores.unfinished(path).exists()
