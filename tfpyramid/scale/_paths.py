"""Paths and patterns of files, on any file system of Beam, that mean the same to workers on other machines."""

from __future__ import annotations

import logging
import os
import re
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from apache_beam.io.filesystem import CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.localfilesystem import LocalFileSystem

from tfpyramid import _checks, _plain

log = logging.getLogger("tfpyramid")

# Without this flag, opening a FIFO waits for a writer. Windows has neither.
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)
_CHUNK_BYTES = 2**22
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def is_local(path: str) -> bool:
    """Return whether a path is on a disk of this machine. Other file systems have a scheme, as in "gs://bucket"."""
    return FileSystems.get_scheme(path) is None


def absolute(argument: str, path: str | Path) -> str:
    """Return an absolute path, for workers that are started in other folders.

    Raises:
        ValueError: `path` is not a path that TensorFlow can open. The message names the `argument`.
    """
    return _absolute(_checks.path(argument, path))


def patterns(file_pattern: Any) -> str | list[str]:
    """Return a pattern of files, or a list of patterns, with absolute paths. Names need not be UTF-8.

    Raises:
        ValueError: `file_pattern` is neither.
    """
    several = isinstance(file_pattern, (list, tuple))
    given = file_pattern if several else [file_pattern]
    texts = [_plain.path_text(os.fsdecode(each) if isinstance(each, bytes) else each) for each in given]
    if None in texts:
        raise ValueError(
            "`file_pattern` must be a path or a pattern of files, or a list of them. "
            f"{_checks.received('file_pattern', file_pattern)}"
        )
    found = [_absolute(text) for text in texts if text is not None]
    return found if several else found[0]


def check_known(argument: str, paths: str | list[str]) -> None:
    """Raise `ValueError`, which names the `argument`, if Beam has no file system for a path."""
    for path in [paths] if isinstance(paths, str) else paths:
        try:
            FileSystems.get_filesystem(path)
        except ValueError as error:
            raise ValueError(
                f"`{argument}` must be on a file system that Beam knows. Received: {argument}={path!r}, which raised: "
                f"{error}"
            ) from error


def match(pattern: str | list[str]) -> list[str]:
    """Return the names of all files that match, sorted, without duplicates."""
    patterns = [pattern] if isinstance(pattern, str) else pattern
    found: set[str] = set()
    with warnings.catch_warnings():
        # "[[]" is the only way to quote a bracket in a pattern, and Beam copies it into a regular expression.
        warnings.filterwarnings("ignore", "Possible nested set", FutureWarning)
        # One call per pattern, because Beam uses the file system of the first pattern for all of them.
        for each in patterns:
            (result,) = (_Disk(None) if is_local(each) else FileSystems).match([quoted(each)])
            found.update(metadata.path for metadata in result.metadata_list)
    return sorted(found)


def quoted(pattern: str) -> str:
    """Quote the special characters in each leading part of `pattern` that is the name of an existing folder or file."""
    parts = pattern.split("/")
    quoted = [re.sub(r"([*?[])", r"[\1]", part) for part in parts]
    for k, part in enumerate(parts):
        if quoted[k] != part and not FileSystems.exists("/".join(parts[: k + 1])):
            return "/".join([*quoted[:k], *parts[k:]])
    return "/".join(quoted)


def contents(path: str, limit: int) -> bytes:
    """Return the bytes of a file.

    Raises:
        ValueError: the file has more than `limit` bytes, or is a FIFO, a device, a socket or a folder.
        OSError: the file cannot be read.
    """
    found = bytearray()
    with opened(path) as file:
        # Read in chunks, because Python allocates the requested size. A file without data yet, such as /proc/kmsg,
        # returns None.
        while data := file.read(min(_CHUNK_BYTES, limit + 1 - len(found))):
            found += data
    if len(found) > limit:
        raise ValueError(f"A file must have at most {limit:,} bytes. Received: a larger file")
    return bytes(found)


def opened(path: str) -> BinaryIO:
    """Open a regular file for reading. Raise as `contents` does for other files: reading a FIFO would never return."""
    if is_local(path):
        _check_regular(os.stat(path))
        return open(path, "rb", opener=_open)
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


class _Disk(LocalFileSystem):
    """Beam's local file system, with broken links, and with a warning for folders that cannot be listed.

    Beam skips both silently, so their files would be neither in the results nor in the dead letters.
    """

    @classmethod
    def scheme(cls) -> str:
        return "tfpyramid-disk"  # Must differ from Beam's scheme: Beam expects one class per scheme.

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        for folder, _, names in os.walk(dir_or_prefix, onerror=_warn):
            yield from (self.metadata(os.path.join(folder, name)) for name in names)

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def metadata(self, path: str) -> FileMetadata:
        return FileMetadata(path, 0, 0.0)  # Looking up the size of millions of files, which is not used, takes long.


def _warn(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # The folder of a pattern need not exist.
        log.warning("A folder cannot be listed, so its files are skipped: %s", error)


def _open(path: str, flags: int) -> int:
    file = os.open(path, flags | _NO_WAIT)
    try:
        _check_regular(os.fstat(file))  # Check again, because the file may have been replaced.
    except ValueError:
        os.close(file)
        raise
    return file


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise ValueError(f"A file must be a regular file. Received: {kind}")


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(path)
