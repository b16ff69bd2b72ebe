"""A folder for unfinished files that one process at a time holds."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tfpyramid import _files


@contextlib.contextmanager
def working_folder(path: Path, contents: str) -> Iterator[Path]:
    """Lock a folder with `lock_folder`, yield it, and remove it at the end.

    The lock is removed last, so files of a killed process are always next to the lock that says who made them.

    Raises:
        BlockingIOError: another process holds the lock.
        PermissionError: the folder was not made by this user for this purpose.
    """
    with lock_folder(path, contents):
        try:
            yield path
        finally:
            _files.empty(path)
            (path / _files.LOCK).unlink()
            with contextlib.suppress(OSError):  # Another process may have made its lock here by now.
                path.rmdir()


def lock_folder(path: Path, contents: str, *, create: bool = True) -> _files.Lock:
    """Return the lock in a folder; with `create`, make the folder if it does not exist.

    The lock holds these `contents`. It is on the disk before the caller writes any file, so a folder that holds files
    but no such lock belongs to someone else and is refused. The caller may remove all files of a folder it has locked.

    Raises:
        BlockingIOError: another process holds the lock.
        _files.ForeignError: the folder is not one that this user made for this purpose.
        FileNotFoundError: the folder does not exist, and `create` is False; or its parent does not exist.
    """
    while True:
        if create:
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)
        try:
            _check_ours(path)
            return _synced_lock(path, contents)
        except FileNotFoundError:  # The process that held the folder has just removed it.
            if not create:
                raise


def _check_ours(folder: Path) -> None:
    """Raise `ForeignError` unless this user made the folder, and it is empty or holds a lock: we write that first."""
    status = folder.lstat()
    if stat.S_ISDIR(status.st_mode) and _files.is_mine(status):
        names = set(os.listdir(folder))
        # We never write a file next to an empty lock.
        if names <= {_files.LOCK} or (_files.LOCK in names and (folder / _files.LOCK).lstat().st_size > 0):
            return
    rule = "must be a folder that tfpyramid made for this user, but it is something else"
    raise _files.ForeignError(f"{folder} {rule}. Choose another folder.")


def _synced_lock(folder: Path, contents: str) -> _files.Lock:
    lock = _files.Lock(folder / _files.LOCK, contents)
    try:
        _files.sync(folder / _files.LOCK)
        _files.sync(folder)
        return lock
    except BaseException:
        lock.close()
        raise
