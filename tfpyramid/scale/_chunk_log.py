"""A log of the chunks that are on the disk, with their checksums; after a power failure it claims no chunk too many.

One process appends to it. `PredictImages` cannot share it: many workers finish parts at once, and object stores cannot
append to a file, so a job has one small file of checksums for each part (`_job.py`).
"""

from __future__ import annotations

import os
import time
import zlib
from pathlib import Path

from tfpyramid import _files

# Recorded in place of a checksum for a chunk of zeros, which has no file.
_NO_FILE = "none"

# Seconds of work that a power failure can cost. Recording every chunk separately would wait for the disk too often.
_INTERVAL = 1.0


class ChunkLog:
    """The finished chunks of a folder, each with its checksum, in a text file in that folder.

    Each line also ends in a checksum of its own. A damaged line is ignored, so its chunk is written again.
    """

    def __init__(self, path: Path) -> None:
        """Read the log at `path` if it exists, and remove its damaged lines."""
        self._path, self._folder = path, path.parent
        self._chunks, self._pending, self._flushed = dict[str, str](), list[str](), time.monotonic()
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        for line in lines:
            name, _, checksum = line.decode(errors="replace").rpartition(" ")[0].rpartition(" ")
            if line == _line(name, checksum):
                self._chunks[name] = checksum
        # Rewrite the log, because a line without its end would garble the next one.
        _files.write_whole(path, b"".join(_line(*chunk) for chunk in self._chunks.items()))

    def is_intact(self, file: Path) -> bool:
        """Return whether the log holds a chunk and its file has not changed; otherwise remove the file."""
        recorded = self._chunks.get(self._name(file))
        if recorded is not None and recorded == _checksum(file):
            return True
        file.unlink(missing_ok=True)
        return False

    def add(self, file: Path) -> None:
        """Record a chunk that was written, at the latest when the next chunk is added a second later."""
        self._pending.append(self._name(file))
        if time.monotonic() - self._flushed >= _INTERVAL:
            self.flush()

    def unsynced_files(self) -> list[Path]:
        """Return the files of the added chunks that are not recorded yet, so they may not be on the disk."""
        files = [self._folder / name for name in self._pending]
        return [file for file in files if file.exists()]

    def flush(self) -> None:
        """Wait until the added chunks and their names are on the disk, then record them."""
        if not self._pending:
            return
        chunks = {name: _checksum(self._folder / name) for name in self._pending}
        unsynced = {Path(name) for name, checksum in chunks.items() if checksum != _NO_FILE}
        unsynced |= {folder for file in unsynced for folder in file.parents}
        _files.sync_all(self._folder / path for path in unsynced)
        with self._path.open("ab") as log:
            log.write(b"".join(_line(*chunk) for chunk in chunks.items()))
            log.flush()
            os.fsync(log.fileno())
        self._chunks.update(chunks)
        self._pending.clear()
        self._flushed = time.monotonic()

    def remove_unrecorded(self, folder: Path) -> None:
        """Remove all files that are not recorded: a killed process leaves temporary files and partial chunks."""
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
