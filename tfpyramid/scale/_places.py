"""Where a job is written: a folder of this machine or of another file system of Beam, with the same methods.

Names are relative to the folder, with slashes.
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

# Readers of folders ignore what begins with an underscore.
JOB = "_job"
_ASIDE, _LOCK = "aside-", ".lock"
_CONTENTS = "a lock of tfpyramid.scale.beam\n"
# Seconds that a lock is waited for. It is held while files are renamed.
_PATIENCE = 60


class _Place(abc.ABC):
    """A folder, in which files are written aside first."""

    def __init__(self, output: str) -> None:
        self.output = output

    def write(self, name: str, data: bytes) -> None:
        """Write a file that is whole or absent."""
        with self.aside() as folder:
            (folder / "file").write_bytes(data)
            self.put(folder / "file", name)

    @abc.abstractmethod
    def aside(self) -> ContextManager[Path]:
        """Yield a folder of this machine to write files to, which `put` then moves."""

    @abc.abstractmethod
    def put(self, file: Path, name: str) -> None:
        """Move a file of `aside` to its name."""


class Local(_Place):
    """A folder of this machine, or of a disk that several machines mount.

    Files are written aside, in a folder within `_job` whose lock tells whether its process is alive. They are synced to
    the disk and then renamed.
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

    def put(self, file: Path, name: str) -> None:
        path = Path(self.path(name))
        _make(path.parent)
        _files.sync(file)
        os.replace(file, path)
        _files.sync(path.parent)

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        Path(self.path(name)).unlink(missing_ok=True)

    def aside(self) -> ContextManager[Path]:
        return _files.own_folder(_make(self._job), _ASIDE, _CONTENTS)

    @contextlib.contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Wait until no other process is within `alone(name)`, and make others wait.

        Raises:
            BlockingIOError: if another process stays within for a minute.
        """
        path, end = _make(self._job) / f"{name}{_LOCK}", time.monotonic() + _PATIENCE
        while True:
            try:
                lock = _files.Lock(path, _CONTENTS)
                break
            except BlockingIOError as error:
                if time.monotonic() > end:
                    rule = f"another process is writing there, and has held {path} for {_PATIENCE} seconds"
                    raise BlockingIOError(error.errno, rule) from error
            time.sleep(0.01)
        with lock:
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    def clear(self, *, finished: bool) -> None:
        """Remove what killed processes have left; all of it if all parts are `finished`."""
        with contextlib.suppress(FileNotFoundError):
            _files.clear_folders(self._job, _ASIDE, _CONTENTS)
        for path in self._job.glob(f"*{_LOCK}"):
            # Not with `create=False`, which refuses the empty lock of a process that was killed while it made it.
            # An error: its process is alive, or it is not ours.
            with contextlib.suppress(OSError), _files.Lock(path, _CONTENTS) as lock:
                if lock.held:
                    path.unlink()

    @property
    def _job(self) -> Path:
        return Path(self.output, JOB)


class Remote(_Place):
    """A folder of another file system, which has neither locks nor links.

    Files are written to the temporary folder of this machine, copied aside and renamed. A file system of objects makes
    an object appear whole or not at all.
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

    def put(self, file: Path, name: str) -> None:
        aside, path = self.path(f"{JOB}/{_ASIDE}{uuid.uuid4()}"), self.path(name)
        for each in (aside, path):
            parent, _ = FileSystems.split(each)
            # Another worker may make it too.
            with contextlib.suppress(BeamIOError, OSError):
                FileSystems.mkdirs(parent)
        with open(file, "rb") as source:
            with FileSystems.create(aside, compression_type=CompressionTypes.UNCOMPRESSED) as target:
                shutil.copyfileobj(source, target, 2**20)
        self.remove(name)  # Some file systems rename to no name that exists.
        FileSystems.rename([aside], [path])

    def remove(self, name: str) -> None:
        if self.exists(name):
            FileSystems.delete([_paths.quoted(self.path(name))])

    def aside(self) -> ContextManager[Path]:
        return _files.own_folder(Path(tempfile.gettempdir()), f"tfpyramid-{_ASIDE}", _CONTENTS)

    def alone(self, name: str) -> ContextManager[None]:
        return contextlib.nullcontext()

    def clear(self, *, finished: bool) -> None:
        _files.clear_folders(Path(tempfile.gettempdir()), f"tfpyramid-{_ASIDE}", _CONTENTS)
        # Before that, nothing tells whether another process is writing them.
        for path in _paths.match(self.path(f"{JOB}/{_ASIDE}*")) if finished else ():
            with contextlib.suppress(BeamIOError):  # Another worker has removed it.
                FileSystems.delete([_paths.quoted(path)])


def _make(folder: Path) -> Path:
    """Make a folder, and those it is in, and return it.

    Raises:
        OSError: if it cannot be made, or a link is at its name: what it leads to may be of somebody else.
    """
    if folder.is_symlink():
        raise NotADirectoryError(f"{folder} must be a folder, and is a link")
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        _files.sync(folder.parent)
    return folder
