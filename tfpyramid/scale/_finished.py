"""The record of the chunks that are on the disk, which a power failure cannot make claim too much."""

from __future__ import annotations

import os
import time
import zlib
from pathlib import Path

from tfpyramid import _files

# What stands for the checksum of a chunk of zeros, which has no file.
_NO_FILE = "none"

# Seconds of work that a power failure can cost. To record each chunk by itself would wait for the disk too often.
_INTERVAL = 1.0


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
        """Record a chunk that is written, at once or together with those of the next second."""
        self._pending.append(self._name(file))
        if time.monotonic() - self._flushed >= _INTERVAL:
            self.flush()

    def unrecorded(self) -> list[Path]:
        """Return the files that were added and may not be on the disk."""
        files = [self._folder / name for name in self._pending]
        return [file for file in files if file.exists()]

    def flush(self) -> None:
        """Record what was added, when the files and their names are on the disk."""
        if not self._pending:
            return
        chunks = {name: _checksum(self._folder / name) for name in self._pending}
        on_disk = {Path(name) for name, checksum in chunks.items() if checksum != _NO_FILE}
        on_disk |= {folder for file in on_disk for folder in file.parents}
        _files.sync_all(self._folder / path for path in on_disk)
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


def _checksum(file: Path) -> str:
    try:
        return f"{zlib.crc32(file.read_bytes()):08x}"
    except FileNotFoundError:
        return _NO_FILE


def _line(name: str, checksum: str) -> bytes:
    text = f"{name} {checksum}".encode()
    return text + b" %08x\n" % zlib.crc32(text)
