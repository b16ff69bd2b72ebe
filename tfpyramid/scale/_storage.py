"""The folder of a job: on a disk of this machine, or on another file system of Beam, with the same methods.

File names are relative to the folder, with slashes.
"""

from __future__ import annotations

import abc
import contextlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import ContextManager

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from tfpyramid import _files
from tfpyramid.scale import _paths

# Readers of folders ignore names that begin with an underscore.
JOB = "_job"
_STAGING, _LOCK = "aside-", ".lock"
_CONTENTS = "a lock of tfpyramid.scale.beam\n"
# Seconds to wait for a lock, which processes hold only while they rename files.
_LOCK_TIMEOUT = 60


class _Storage(abc.ABC):
    """A folder in which files appear whole: they are written to a staging folder first."""

    def __init__(self, output: str) -> None:
        self.output = output

    def write(self, name: str, data: bytes) -> None:
        """Write a file that is whole or absent."""
        with self.staging_folder() as folder:
            (folder / "file").write_bytes(data)
            self.publish(folder / "file", name)

    @abc.abstractmethod
    def staging_folder(self) -> ContextManager[Path]:
        """Yield a folder on this machine for new files, which `publish` then moves."""

    @abc.abstractmethod
    def publish(self, file: Path, name: str) -> None:
        """Move a file of the staging folder to its final name."""


class LocalStorage(_Storage):
    """A folder on a disk of this machine, or on a disk that several machines mount.

    The staging folder is in `_job`, and holds a lock while its process is alive. Files are synced to the disk before
    they are renamed.
    """

    def path(self, name: str) -> str:
        return os.path.join(self.output, *name.split("/"))

    def exists(self, name: str) -> bool:
        return os.path.exists(self.path(name))

    def is_link(self, name: str) -> bool:
        return os.path.islink(self.path(name))

    def names(self) -> Iterator[str]:
        """Yield the names of all files and links, at any depth."""
        for folder, folders, files in os.walk(self.output):
            links = [each for each in folders if os.path.islink(os.path.join(folder, each))]
            for name in [*files, *links]:
                yield Path(folder, name).relative_to(self.output).as_posix()

    def publish(self, file: Path, name: str) -> None:
        path = Path(self.path(name))
        _make_folder(path.parent)
        _files.replace(file, path)

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        Path(self.path(name)).unlink(missing_ok=True)

    def staging_folder(self) -> ContextManager[Path]:
        return _files.own_folder(_make_folder(self._job_folder), _STAGING, _CONTENTS)

    @contextlib.contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Wait until no other process holds the lock of this name, and hold it.

        Raises:
            BlockingIOError: another process holds the lock for a minute.
        """
        path, end = _make_folder(self._job_folder) / f"{name}{_LOCK}", time.monotonic() + _LOCK_TIMEOUT
        while True:
            try:
                lock = _files.Lock(path, _CONTENTS)
                break
            except BlockingIOError as error:
                if time.monotonic() > end:
                    problem = f"another process is writing there, and has held {path} for {_LOCK_TIMEOUT} seconds"
                    raise BlockingIOError(error.errno, problem) from error
            time.sleep(0.01)
        with lock:
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    def clear(self, *, finished: bool) -> None:
        """Remove the temporary files of killed processes. `finished`: no process is writing a part any more."""
        with contextlib.suppress(FileNotFoundError):
            _files.clear_folders(self._job_folder, _STAGING, _CONTENTS)
        for path in self._job_folder.glob(f"*{_LOCK}"):
            # Create the lock, because `create=False` refuses the empty file of a process that was killed while it made
            # one. Locking fails if the process is alive, or if the file is not ours.
            with contextlib.suppress(OSError), _files.Lock(path, _CONTENTS) as lock:
                if lock.held:
                    path.unlink()

    @property
    def _job_folder(self) -> Path:
        return Path(self.output, JOB)


class RemoteStorage(_Storage):
    """A folder on another file system, which has neither locks nor links.

    The staging folder is in the temporary folder of this machine. Files are copied from there to a temporary name and
    renamed. In an object store, an object appears whole or not at all.
    """

    def path(self, name: str) -> str:
        return FileSystems.join(self.output, *name.split("/"))

    def exists(self, name: str) -> bool:
        return FileSystems.exists(self.path(name))

    def is_link(self, name: str) -> bool:
        return False

    def names(self) -> Iterator[str]:
        root = self.output.rstrip("/") + "/"
        yield from (path.removeprefix(root) for path in _paths.match(self.path("**")))

    def publish(self, file: Path, name: str) -> None:
        temporary, path = self.path(f"{JOB}/{_STAGING}{uuid.uuid4()}"), self.path(name)
        for each in (temporary, path):
            parent, _ = FileSystems.split(each)
            # Another worker may make the folder at the same time.
            with contextlib.suppress(BeamIOError, OSError):
                FileSystems.mkdirs(parent)
        with open(file, "rb") as source:
            with FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED) as target:
                shutil.copyfileobj(source, target, 2**20)
        self.remove(name)  # Some file systems cannot rename to a name that exists.
        FileSystems.rename([temporary], [path])

    def remove(self, name: str) -> None:
        if self.exists(name):
            FileSystems.delete([_paths.quoted(self.path(name))])

    def staging_folder(self) -> ContextManager[Path]:
        return _files.own_folder(Path(tempfile.gettempdir()), f"tfpyramid-{_STAGING}", _CONTENTS)

    def exclusive(self, name: str) -> ContextManager[None]:
        return contextlib.nullcontext()

    def clear(self, *, finished: bool) -> None:
        _files.clear_folders(Path(tempfile.gettempdir()), f"tfpyramid-{_STAGING}", _CONTENTS)
        # Until all parts are finished, another process may be writing these files.
        for path in _paths.match(self.path(f"{JOB}/{_STAGING}*")) if finished else ():
            with contextlib.suppress(BeamIOError):  # Another worker has removed it.
                FileSystems.delete([_paths.quoted(path)])


def _make_folder(folder: Path) -> Path:
    """Make a folder and its missing parents, and return it.

    Raises:
        OSError: the folder cannot be made, or is a link, which could lead to files of somebody else.
    """
    if folder.is_symlink():
        raise NotADirectoryError(f"{folder} must be a folder, and is a link")
    _files.make_folder(folder)
    return folder
