"""A store that is written in a folder beside its path, by one process at a time, and resumed after an interruption."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Any

from tfpyramid import _checks, _files
from tfpyramid.scale._finished import Finished

_ARGUMENTS, _FINISHED = "arguments.json", "finished.txt"
_PURPOSE = "tfpyramid: write_ome_zarr writes a store in this folder\n"


class Unfinished:
    """The folder of a store that is not whole, held by one process at a time.

    lock            what that process holds
    arguments.json  the arguments of the call that began the store
    finished.txt    the chunks that are on the disk
    aside/          arrays that others are computed from
    store/          renamed to `path` when all of it is on the disk

    A context manager: errors of the operating system say how to resume, and the lock is released in the end.

    Attributes:
        folder: where all this is.
        store, aside: where to write arrays.
        finished: the record of their chunks.
    """

    def __init__(self, path: Path, arguments: dict[str, Any]) -> None:
        """Begin a store, or resume one that was begun with equal `arguments`, which JSON can hold.

        Raises:
            ValueError: it was begun with others, or the record of them is damaged.
            FileExistsError: `path` exists, or what has the name of this folder is not ours.
            BlockingIOError: another process holds the folder.
            OSError: the folder cannot be made or written.
        """
        self._path, self.folder = path, _folder(path)
        self.store, self.aside = self.folder / "store", self.folder / "aside"
        self._lock = _hold(path, self.folder)
        try:
            if os.path.lexists(path):  # Another process finished it before this one had the lock.
                if not self.store.exists():
                    _files.remove(self.folder)
                raise _exists(path)
            self.finished = self._begin(arguments)
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Unfinished:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            if self.store.exists():
                with contextlib.suppress(OSError):  # The chunks that cannot be recorded are written once more.
                    self.finished.flush()
            if isinstance(error, OSError) and not isinstance(error, FileExistsError):
                raise self._explained(error) from error
        finally:
            self._lock.close()

    def publish(self) -> None:
        """Rename the store to `path` when all of it is on the disk, and remove the folder.

        Raises:
            FileExistsError: `path` was made by something else meanwhile.
        """
        # The other files are recorded as finished.
        paths = self.finished.unrecorded()
        for folder, _, names in os.walk(self.store):
            paths += [Path(folder), *(Path(folder, name) for name in names if name == "zarr.json")]
        _files.sync_all(paths)
        if os.path.lexists(self._path):  # A rename would replace an empty folder.
            raise _exists(self._path, self.folder)
        try:
            os.rename(self.store, self._path)
        except OSError as error:
            if os.path.lexists(self._path):
                raise _exists(self._path, self.folder) from error
            raise
        _files.sync(self._path.parent)
        with contextlib.suppress(OSError):  # The store is whole, and `remove_rest` removes this later.
            _files.remove(self.folder)

    def discard(self) -> None:
        """Remove the folder."""
        _files.remove(self.folder)

    def _begin(self, arguments: dict[str, Any]) -> Finished:
        record, text = self.folder / _ARGUMENTS, json.dumps(arguments, sort_keys=True).encode()
        if record.exists() and self.store.exists():
            if record.read_bytes() != text:
                raise self._differs(record, arguments)
            finished = Finished(self.folder / _FINISHED)
            for folder in (self.store, self.aside):
                finished.remove_others(folder)
            return finished
        _files.empty(self.folder)  # The arguments come first: what is left without them is not resumed.
        _files.write_whole(record, text)
        self.store.mkdir()
        return Finished(self.folder / _FINISHED)

    def _differs(self, record: Path, arguments: dict[str, Any]) -> ValueError:
        try:
            begun = dict(json.loads(record.read_bytes()))
        except (ValueError, TypeError):
            return ValueError(
                f"`path` cannot be resumed, because {record} is damaged. Remove {self.folder} to begin again. "
                f"Received: path={str(self._path)!r}"
            )
        others = {key: begun.get(key) for key in arguments if begun.get(key) != arguments[key]}
        given = {key: arguments[key] for key in others}
        return ValueError(
            f"`path` must be written with the arguments that {self.folder} was begun with. Call with those to resume, "
            f"or remove that folder to begin again. Received: {given}, and it was begun with {others}"
        )

    def _explained(self, error: OSError) -> OSError:
        text = (
            f"{error.strerror or error}. What is finished is kept in {self.folder}. Once the cause is mended, call "
            "with the same arguments to resume"
        )
        return OSError(text) if error.errno is None else OSError(error.errno, text, error.filename or str(self.folder))


def check_path(path: Any) -> Path:
    """Return `path`, at which there is nothing, in a folder that exists.

    Raises:
        ValueError: it is no path.
        FileExistsError: it exists, if only as a link to nothing.
        FileNotFoundError: its folder does not exist.
    """
    try:
        found = Path(path)
    except TypeError:
        found = Path("\0")
    if "\0" in str(found):
        raise ValueError(f"`path` must be the path of a folder to make. {_checks.received('path', path)}")
    if os.path.lexists(found):
        if found.name:
            _remove_rest(_folder(found))
        raise _exists(found)
    if not found.parent.is_dir():
        rule = "`path` must be in a folder that exists on this machine"
        raise FileNotFoundError(f"{rule}. Received: path={str(found)!r}")
    return found


def _folder(path: Path) -> Path:
    return path.with_name(f".{path.name}.unfinished")


def _hold(path: Path, folder: Path) -> _files.Lock:
    """Return the lock in `folder`, which is made if it does not exist, and must be ours if it does."""
    received = f"Received: path={str(path)!r}"
    while True:
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700)
        except OSError as error:
            raise _unwritable(error, received) from error
        try:
            if _is_ours(folder):
                return _locked(folder)
        except FileNotFoundError:  # The process that held it has just removed it.
            continue
        except BlockingIOError as error:
            text = "`path` can be written by one process at a time, and another process is writing it now"
            raise BlockingIOError(error.errno, f"{text}. Wait for it, or choose another path. {received}") from None
        except PermissionError:  # Another user's, or its lock is not ours.
            pass
        except OSError as error:
            raise _unwritable(error, received) from error
        raise FileExistsError(
            f"`path` cannot be written, because tfpyramid needs the name {folder}, and what has that name was not made "
            f"by this version of tfpyramid for this user. Remove it, or choose another path. {received}"
        )


def _is_ours(folder: Path) -> bool:
    """Tell whether a folder is this user's, and empty or with a lock, which we make before anything else in it."""
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode) or not _files.is_mine(status):
        return False
    names = os.listdir(folder)
    return set(names) <= {_files.LOCK} or (_files.LOCK in names and os.lstat(folder / _files.LOCK).st_size > 0)


def _locked(folder: Path) -> _files.Lock:
    lock = _files.Lock(folder / _files.LOCK, _PURPOSE)
    try:
        # So that after a power failure too there is nothing in the folder without a lock that says whose it is.
        _files.sync(folder / _files.LOCK)
        _files.sync(folder)
        return lock
    except BaseException:
        lock.close()
        raise


def _remove_rest(folder: Path) -> None:
    """Remove what a call left that was killed after it had renamed its store."""
    with contextlib.suppress(OSError):  # There is none; it is not ours; another process holds it.
        if _is_ours(folder):
            with _locked(folder) as lock:
                if lock.held and not os.path.lexists(folder / "store"):
                    _files.remove(folder)


def _exists(path: Path, kept: Path | None = None) -> FileExistsError:
    rule = "`path` must not exist"
    if kept:
        rule += (
            f", and something else has made it meanwhile. The finished store is kept in {kept}. Move what is at `path` "
            "away, and call with the same arguments to put the store there"
        )
    return FileExistsError(f"{rule}. Received: path={str(path)!r}")


def _unwritable(error: OSError, received: str) -> OSError:
    text = f"`path` must be in a folder that can be written ({error.strerror or error}). {received}"
    return OSError(text) if error.errno is None else OSError(error.errno, text)
