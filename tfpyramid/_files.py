"""Locks between processes, and files that are complete or absent even if a process is killed."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no flock. Without it, no lock is held, and no folder counts as abandoned.
    fcntl = None  # type: ignore[assignment]

# Windows lacks this flag.
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
_MODE = 0o600
LOCK = "lock"
# Raised for a link, a folder, a file of another user, and a socket.
_FOREIGN = (errno.ELOOP, errno.EISDIR, errno.EACCES, errno.ENXIO)


class ForeignError(PermissionError):
    """A file or a folder has the name of one of ours, and something else made it: another user or another program."""


class Lock:
    """A small file that one process at a time can hold; the kernel releases it when the process ends for any reason.

    Links are never followed, and no file is emptied. A file is refused unless it is a lock with these contents, made by
    the same user. So a file that someone else put in its place is neither changed nor trusted.

    Attributes:
        held: False if the file system has no locks; then nothing is known about other processes.
    """

    def __init__(self, path: Path, contents: str, *, create: bool = True) -> None:
        """Take the lock at `path`; `contents` identify its purpose. With `create`, make the file if it does not exist.

        Raises:
            BlockingIOError: another process holds it.
            FileNotFoundError: it does not exist, and `create` is False; or its folder does not.
            ForeignError: the file is not a lock of this user with these contents.
        """
        self._file, self.held = -1, False
        _open_locks.add(self)
        while True:
            self._file = _open(path, create)
            try:
                self.held = _flock(self._file)
                # Another process may have removed or renamed it between the two calls.
                if _is_at(self._file, path):
                    _own(self._file, path, contents.encode(), create)
                    return
            except BaseException:
                self.close()
                raise
            self.close()

    def close(self) -> None:
        """Release the lock."""
        if self._file >= 0:
            os.close(self._file)
        self._file, self.held = -1, False

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_open_locks: weakref.WeakSet[Lock] = weakref.WeakSet()


def _close_in_a_fork() -> None:
    for lock in list(_open_locks):
        lock.close()


# A lock is free when all processes that share its open file have closed it. A forked process shares it, and may outlive
# the process that took the lock. Other programs do not, because Python opens files that they do not inherit.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_a_fork)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file such that it holds either the old or the new bytes, even if the process is killed or power fails.

    Only one process at a time may write the file.
    """
    new = path.with_name(f".{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()  # A killed process left it. A link is removed, not followed.
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINKS, 0o666)
    with open(file, "wb") as stream:
        stream.write(data)
    replace(new, path)


def replace(source: Path, target: Path) -> None:
    """Move a file to `target` so that, after a power failure, `target` is the old file or all of the new one."""
    sync(source)
    os.replace(source, target)
    sync(target.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, and wait until their names are on the disk.

    Raises:
        NotADirectoryError: a file has the name of the folder, or of one of its parents.
    """
    missing = [each for each in (folder, *folder.parents) if not each.is_dir()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error
    for each in missing:
        sync(each.parent)


@contextlib.contextmanager
def own_folder(
    parent: Path, prefix: str, contents: str, finish: Callable[[Path], bool] | None = None
) -> Iterator[Path]:
    """Yield a new folder in `parent` that only this process uses, and remove it at the end.

    The folder holds a lock with these `contents`, which tells `clear_folders` whether the process is alive. `finish` is
    called with the folder at the end, and returns whether to remove it.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        # Another process may remove the folder while it is empty, or lock it to do so.
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            lock = Lock(folder / LOCK, contents)
            break
    with lock:
        try:
            yield folder
        finally:
            if finish is None or finish(folder):
                with contextlib.suppress(OSError):
                    remove(folder)


def clear_folders(parent: Path, prefix: str, contents: str, finish: Callable[[Path], bool] | None = None) -> None:
    """Remove the folders that `own_folder`, called with the same arguments, made in processes that were killed.

    Links are not followed. A folder is removed only if it belongs to this user and holds a free lock with these
    `contents`, or if `own_folder` made it and the process was killed before it wrote the lock.
    """
    with os.scandir(parent) as entries:
        found = [Path(entry) for entry in entries if entry.name.startswith(prefix)]
    for folder in found:
        try:
            lock = Lock(folder / LOCK, contents, create=_is_new(folder, prefix))
        except OSError:  # Its process is alive or removes it, or the folder is not ours.
            continue
        with lock:
            if lock.held and (finish is None or finish(folder)):
                with contextlib.suppress(OSError):
                    remove(folder)


def remove(folder: Path) -> None:
    """Remove a folder, and its lock last: if the process is killed halfway, the folder can still be recognised."""
    empty(folder)
    (folder / LOCK).unlink()
    folder.rmdir()


def empty(folder: Path) -> None:
    """Remove everything in a folder except its lock, in the order of the names."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    try:
        file = os.open(path, os.O_RDONLY)
    except PermissionError:
        if path.is_dir():  # Windows cannot open folders.
            return
        raise
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno != errno.EINVAL or not path.is_dir():  # Some network file systems cannot sync folders.
            raise
    finally:
        os.close(file)


def sync_all(paths: Iterable[Path]) -> None:
    """Wait until files and folders are on the disk; several threads let the file system write them together."""
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(sync, paths))


def _open(path: Path, create: bool) -> int:
    try:
        return os.open(path, os.O_RDWR | _NO_LINKS | (os.O_CREAT if create else 0), _MODE)
    except OSError as error:
        if error.errno in _FOREIGN:
            raise _foreign(path) from error
        raise


def _flock(file: int) -> bool:
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return fcntl is not None
    except BlockingIOError:
        raise
    except OSError:  # This file system has no locks.
        return False


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.lstat(path))
    except FileNotFoundError:
        return False


def _own(file: int, path: Path, contents: bytes, create: bool) -> None:
    """Raise `PermissionError` unless the open file is ours; with `create`, write the contents of a new file."""
    status = os.fstat(file)
    if not (stat.S_ISREG(status.st_mode) and is_mine(status) and status.st_nlink == 1):
        raise _foreign(path)
    found = os.read(file, len(contents) + 1)
    if create and not found:
        os.write(file, contents)
    elif found != contents:
        raise _foreign(path)


def is_mine(status: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or status.st_uid == os.geteuid()


def _is_new(folder: Path, prefix: str) -> bool:
    """Return whether a folder holds at most a lock, and has the name and mode of those that `tempfile` makes.

    Raises:
        ForeignError: it is not a folder of this user.
    """
    status = folder.lstat()
    if not (stat.S_ISDIR(status.st_mode) and is_mine(status)):
        raise _foreign(folder)
    made = re.fullmatch("[a-z0-9_]{8}", folder.name[len(prefix) :]) and stat.S_IMODE(status.st_mode) == 0o700
    return bool(made) and set(os.listdir(folder)) <= {LOCK}


def _foreign(path: Path) -> ForeignError:
    rule = "must be a lock that tfpyramid made for this user, but it is something else"
    return ForeignError(f"{path} {rule}. Choose another folder.")
