"""A folder for unfinished files inside the folder that they are for: one process at a time writes there."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tfpyramid import _files


@contextlib.contextmanager
def working_folder(path: Path, contents: str) -> Iterator[Path]:
    """Make a folder, or take over the folder of a process that was killed; yield it, and remove it in the end.

    It holds a lock with these `contents`, which is made first and removed last. So a folder that holds files and no
    such lock belongs to someone else and is refused; in one that holds the lock, all files may be removed.

    Raises:
        BlockingIOError: another process holds the lock.
        PermissionError: the folder is not one that this user made for this purpose.
    """
    with _locked(path, contents):
        try:
            yield path
        finally:
            _files.empty(path)
            (path / _files.LOCK).unlink()
            with contextlib.suppress(OSError):  # Another process has made its lock here since.
                path.rmdir()


def _locked(path: Path, contents: str) -> _files.Lock:
    while True:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        # Its last process may remove it meanwhile.
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            found = os.listdir(path) if stat.S_ISDIR(status.st_mode) and _files.is_mine(status) else None
            if found is None or (found and _files.LOCK not in found):
                rule = "must be a folder that tfpyramid made for this user"
                raise PermissionError(f"{path} {rule}, and is something else")
            return _files.Lock(path / _files.LOCK, contents)
