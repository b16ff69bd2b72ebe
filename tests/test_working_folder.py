"""Folders that one process holds, and folders that are made with their parents."""

import os
from pathlib import Path

import pytest

from tfpyramid import _files
from tfpyramid._working_folder import lock_folder, working_folder

OURS = "a lock of this test\n"


def test_one_process_at_a_time_holds_a_folder_and_the_next_one_takes_it_over(tmp_path):
    folder = tmp_path / "folder"
    with lock_folder(folder, OURS):
        (folder / "file").write_text("unfinished")
        with pytest.raises(BlockingIOError):
            lock_folder(folder, OURS)
    with lock_folder(folder, OURS) as lock:
        assert lock.held and (folder / "file").read_text() == "unfinished"


def test_a_working_folder_is_removed_with_its_files(tmp_path):
    with working_folder(tmp_path / "folder", OURS) as folder:
        (folder / "file").write_text("unfinished")
    assert os.listdir(tmp_path) == []


def test_the_lock_is_on_the_disk_before_other_files_are_written(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(os.readlink(f"/proc/self/fd/{file}")), fsync(file)))
    lock_folder(tmp_path / "folder", OURS).close()
    assert synced == [str(tmp_path / "folder" / "lock"), str(tmp_path / "folder")]


FOREIGN = {
    "a file without a lock": lambda folder: (folder.mkdir(), (folder / "file").touch()),
    "a file and an empty lock": lambda folder: (
        folder.mkdir(),
        *((folder / name).touch() for name in ("file", "lock")),
    ),
    "another lock": lambda folder: (folder.mkdir(), (folder / "lock").write_text("pid 7")),
    "a file in place of the folder": lambda folder: folder.touch(),
    "a broken link": lambda folder: folder.symlink_to("nothing"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_folder_is_refused_and_unchanged(kind, tmp_path):
    FOREIGN[kind](tmp_path / "folder")
    before = sorted((path, path.lstat().st_size) for path in tmp_path.rglob("*"))
    with pytest.raises(_files.ForeignError, match="folder.* must be a "):
        lock_folder(tmp_path / "folder", OURS)
    assert sorted((path, path.lstat().st_size) for path in tmp_path.rglob("*")) == before


def test_a_missing_folder_is_made_only_on_request_and_a_missing_parent_never(tmp_path):
    with pytest.raises(FileNotFoundError):
        lock_folder(tmp_path / "folder", OURS, create=False)
    with pytest.raises(FileNotFoundError):
        lock_folder(tmp_path / "missing" / "folder", OURS)
    assert os.listdir(tmp_path) == []


def test_a_folder_is_made_with_its_parents_and_their_names_are_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    synced, sync = [], _files.sync
    monkeypatch.setattr(_files, "sync", lambda path: (synced.append(path), sync(path)))
    for folder in (Path("one", "two"), tmp_path / "one" / "three"):
        _files.make_folder(folder)
        _files.make_folder(folder)
        assert folder.is_dir()
    assert set(synced) == {Path("."), Path("one"), tmp_path / "one"}


@pytest.mark.parametrize("path", ["file", "file/folder", "file/folder/folder"])
def test_a_folder_in_place_of_or_below_a_file_is_an_error(path, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file"):
        _files.make_folder(tmp_path / path)
