"""A store in a hidden folder next to its path: one process at a time writes it, and a later call resumes it."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from tfpyramid import _files
from tfpyramid._working_folder import lock_folder
from tfpyramid.scale._chunk_log import ChunkLog

_ARGUMENTS, _CHUNK_LOG, _STORE, _INTERMEDIATE = "arguments.json", "finished.txt", "store", "aside"
_PURPOSE = "tfpyramid: write_ome_zarr writes a store in this folder\n"


class UnfinishedStore:
    """The folder of a store that is not finished.

    lock            held by the process that writes the store
    arguments.json  the arguments of the call that started the store
    finished.txt    the log of chunks that are on the disk
    aside/          intermediate arrays, from which arrays of the store are computed
    store/          renamed to `path` when all of it is on the disk

    This class is a context manager. On exit it releases the lock, and adds to an `OSError` how to resume.

    Attributes:
        folder: the folder of all these files.
        store: the folder for arrays of the store.
        intermediate: the folder for intermediate arrays.
        chunk_log: the log of the chunks of both.
    """

    def __init__(self, path: Path, arguments: dict[str, Any]) -> None:
        """Start a store, or resume one that was started with equal `arguments`, which must be serializable as JSON.

        Raises:
            ValueError: the store was started with other arguments, or the record of them is damaged.
            FileExistsError: `path` exists, or tfpyramid did not make what has the name of the folder.
            BlockingIOError: another process is writing the store.
            OSError: the folder cannot be made or written.
        """
        self._path, self.folder = path, _folder(path)
        self.store, self.intermediate = self.folder / _STORE, self.folder / _INTERMEDIATE
        self._lock = _lock(path, self.folder)
        try:
            if os.path.lexists(path):  # Another process finished the store before this one got the lock.
                if not self.store.exists():
                    _files.remove(self.folder)
                raise _exists(path)
            self.chunk_log = self._start_or_resume(arguments)
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> UnfinishedStore:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            if self.store.exists():
                with contextlib.suppress(OSError):  # Chunks that cannot be recorded are written again.
                    self.chunk_log.flush()
            if isinstance(error, OSError) and not isinstance(error, FileExistsError):
                raise self._with_advice(error) from error
        finally:
            self._lock.close()

    def publish(self) -> None:
        """Rename the store to `path` when all of it is on the disk, and remove the folder.

        Raises:
            FileExistsError: something else made `path` in the meantime.
        """
        # The chunks that are recorded are on the disk already.
        paths = self.chunk_log.unsynced_files()
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
        with contextlib.suppress(OSError):  # The store is finished. `check_absent` removes the folder later.
            _files.remove(self.folder)

    def discard(self) -> None:
        """Remove the folder."""
        _files.remove(self.folder)

    def _start_or_resume(self, arguments: dict[str, Any]) -> ChunkLog:
        record, text = self.folder / _ARGUMENTS, json.dumps(arguments, sort_keys=True).encode()
        if record.exists() and self.store.exists():
            if record.read_bytes() != text:
                raise self._other_arguments(record, arguments)
            chunk_log = ChunkLog(self.folder / _CHUNK_LOG)
            for folder in (self.store, self.intermediate):
                chunk_log.remove_unrecorded(folder)
            return chunk_log
        # `empty` removes the arguments first, in the order of names, so a call that is killed there is not resumed.
        _files.empty(self.folder)
        _files.write_whole(record, text)
        self.store.mkdir()
        return ChunkLog(self.folder / _CHUNK_LOG)

    def _other_arguments(self, record: Path, arguments: dict[str, Any]) -> ValueError:
        try:
            recorded = dict(json.loads(record.read_bytes()))
        except (ValueError, TypeError):
            return ValueError(
                f"`path` cannot be resumed, because {record} is damaged. Remove {self.folder} to start again. "
                f"Received: path={str(self._path)!r}"
            )
        changed = [key for key in arguments if recorded.get(key) != arguments[key]]
        return ValueError(
            "`path` has an unfinished store that was started with other arguments: "
            f"{ ({key: recorded.get(key) for key in changed}) }. Rerun with those arguments to resume, or remove "
            f"{self.folder} to start again. Received: { ({key: arguments[key] for key in changed}) }"
        )

    def _with_advice(self, error: OSError) -> OSError:
        text = (
            f"{error.strerror or error}. Finished chunks are kept in {self.folder}. Remove the cause, then rerun with "
            "the same arguments to resume"
        )
        return OSError(text) if error.errno is None else OSError(error.errno, text, error.filename or str(self.folder))


def check_absent(path: Path) -> None:
    """Raise `FileExistsError` if there is a file, a folder or a link at `path`.

    If so, also remove the folder that a call left if it was killed after it had finished the store.
    """
    if not os.path.lexists(path):
        return
    with contextlib.suppress(OSError):  # There is no folder, or it is not ours, or another process holds it.
        with lock_folder(_folder(path), _PURPOSE, create=False) as lock:
            if lock.held and not os.path.lexists(_folder(path) / _STORE):
                _files.remove(_folder(path))
    raise _exists(path)


def _folder(path: Path) -> Path:
    return path.with_name(f".{path.name}.unfinished")


def _lock(path: Path, folder: Path) -> _files.Lock:
    """Return the lock in `folder`; make the folder, and the parents of `path`, if they do not exist."""
    received = f"Received: path={str(path)!r}"
    try:
        _files.make_folder(path.parent)
        return lock_folder(folder, _PURPOSE)
    except BlockingIOError as error:
        text = "`path` can be written by one process at a time, and another process is writing it now"
        raise BlockingIOError(error.errno, f"{text}. Wait for it, or choose another path. {received}") from None
    except _files.ForeignError as error:
        raise FileExistsError(
            f"`path` cannot be written, because tfpyramid first writes to {folder}, which this version of tfpyramid "
            f"did not make for this user. Remove it, or choose another path. {received}"
        ) from error
    except OSError as error:
        text = f"`path` must be in a folder that can be written ({error.strerror or error}). {received}"
        raise (OSError(text) if error.errno is None else OSError(error.errno, text)) from error


def _exists(path: Path, kept: Path | None = None) -> FileExistsError:
    rule = "`path` must not exist"
    if kept:
        rule += (
            f", but something else made it in the meantime. The finished store is kept in {kept}. Move `path` away, "
            "then rerun with the same arguments to put the store there"
        )
    return FileExistsError(f"{rule}. Received: path={str(path)!r}")
