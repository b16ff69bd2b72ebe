"""The record of the chunks that are on the disk, which a power failure cannot make claim too much."""

from __future__ import annotations

import contextlib
import os
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tfpyramid import _files

# What stands for the checksum of a chunk of zeros, which has no file.
_NO_FILE = "none"

# A power failure costs at most so many seconds of work. A record a chunk would wait for the disk too often.
_INTERVAL = 1.0

# File systems put what several threads wait for on the disk at once.
_THREADS = 16


class Finished:
    """The chunks in a folder that are on the disk, each with its checksum, in a file of that folder.

    Each line has a checksum of its own. A damaged line is ignored, so its chunk is written once more.
    """

    def __init__(self, path: Path) -> None:
        """Read the record at `path`, if it exists."""
        self._path, self._folder = path, path.parent
        self._chunks, self._pending, self._flushed = dict[str, str](), list[str](), time.monotonic()
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        for line in lines:
            name, _, checksum = line.decode(errors="replace").rpartition(" ")[0].rpartition(" ")
            if line == _line(name, checksum):
                self._chunks[name] = checksum
        # A line that was cut off would garble the next one.
        _files.write_whole(path, b"".join(_line(*chunk) for chunk in self._chunks.items()))

    def holds(self, file: Path) -> bool:
        """Tell whether a chunk is on the disk as it was written; if not, remove its file."""
        recorded = self._chunks.get(self._name(file))
        if recorded is not None and recorded == _checksum(file):
            return True
        file.unlink(missing_ok=True)
        return False

    def add(self, file: Path) -> None:
        """Record a chunk that is written, now or within a second."""
        self._pending.append(self._name(file))
        if time.monotonic() - self._flushed >= _INTERVAL:
            self.flush()

    def flush(self) -> None:
        """Record what was added, when the files and their names are on the disk."""
        if not self._pending:
            return
        with ThreadPoolExecutor(_THREADS) as pool:
            checksums = pool.map(lambda name: _checksum(self._folder / name, sync=True), self._pending)
            chunks = dict(zip(self._pending, checksums))
            folders = {folder for name in chunks for folder in Path(name).parents}
            list(pool.map(lambda folder: _sync_if_exists(self._folder / folder), folders))
        with self._path.open("ab") as log:
            log.write(b"".join(_line(*chunk) for chunk in chunks.items()))
            log.flush()
            os.fsync(log.fileno())
        self._chunks.update(chunks)
        self._pending.clear()
        self._flushed = time.monotonic()

    def remove_others(self, folder: Path) -> None:
        """Remove the files that are not recorded: killed processes leave temporary files and half chunks."""
        for parent, _, names in os.walk(folder):
            for file in (Path(parent, name) for name in names):
                if self._chunks.get(self._name(file), _NO_FILE) == _NO_FILE:
                    file.unlink()

    def _name(self, file: Path) -> str:
        return file.relative_to(self._folder).as_posix()


def _sync_if_exists(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # Chunks of zeros need none.
        _files.sync(folder)


def _checksum(file: Path, sync: bool = False) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read()
            if sync:
                os.fsync(stream.fileno())
    except FileNotFoundError:
        return _NO_FILE
    return f"{zlib.crc32(data):08x}"


def _line(name: str, checksum: str) -> bytes:
    text = f"{name} {checksum}".encode()
    return text + b" %08x\n" % zlib.crc32(text)
