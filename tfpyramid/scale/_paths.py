"""Paths and patterns of files that workers on other machines read, on any file system of Beam."""

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

from tfpyramid import _checks

log = logging.getLogger("tfpyramid")

# Opening a FIFO with it returns at once, without it when somebody writes. Windows has neither.
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)
_PIECE = 2**22
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def is_local(path: str) -> bool:
    """Tell a path of this machine from one of another file system, which has a scheme, as in "gs://bucket"."""
    return FileSystems.get_scheme(path) is None


def absolute(argument: str, path: str | Path) -> str:
    """Return a path that means the same to a worker that was started elsewhere, and that TensorFlow and Beam can hold.

    Raises:
        ValueError: if it is no path, or not UTF-8; `argument` is what it was given as.
    """
    try:
        found = _absolute(path)
        found.encode()
    except (TypeError, UnicodeEncodeError):
        raise ValueError(f"`{argument}` must be a path in UTF-8. {_checks.received(argument, path)}") from None
    return found


def patterns(file_pattern: Any) -> str | list[str]:
    """Return one pattern of files, or a list of them, as workers anywhere understand them.

    Raises:
        ValueError: if it is neither.
    """
    try:
        several = isinstance(file_pattern, (list, tuple))
        found = [_absolute(each) for each in (file_pattern if several else [file_pattern])]
    except TypeError:
        raise ValueError(
            "`file_pattern` must be a path or a pattern of files, or a list of them. "
            f"{_checks.received('file_pattern', file_pattern)}"
        ) from None
    return found if several else found[0]


def check_known(argument: str, paths: str | list[str]) -> None:
    """Raise unless Beam knows the file systems of a path or several; `argument` is what they were given as."""
    for path in [paths] if isinstance(paths, str) else paths:
        try:
            FileSystems.get_filesystem(path)
        except ValueError as error:
            raise ValueError(
                f"`{argument}` must be on a file system that Beam knows. Received: {argument}={path!r}, and the error: "
                f"{error}"
            ) from error


def match(pattern: str | list[str]) -> list[str]:
    """Return the names of all files that match, sorted, each once."""
    patterns = [pattern] if isinstance(pattern, str) else pattern
    found: set[str] = set()
    with warnings.catch_warnings():
        # "[[]" is the one way to quote a bracket in a pattern, and Beam makes a regular expression of it as it is.
        warnings.filterwarnings("ignore", "Possible nested set", FutureWarning)
        # One call each, because Beam asks the file system of the first pattern for all of them.
        for each in patterns:
            (result,) = (_Disk(None) if is_local(each) else FileSystems).match([quoted(each)])
            found.update(metadata.path for metadata in result.metadata_list)
    return sorted(found)


def quoted(pattern: str) -> str:
    """Return `pattern` with the folders and the file in it quoted that exist by just these names."""
    parts = pattern.split("/")
    quoted = [re.sub(r"([*?[])", r"[\1]", part) for part in parts]
    for k, part in enumerate(parts):
        if quoted[k] != part and not FileSystems.exists("/".join(parts[: k + 1])):
            return "/".join([*quoted[:k], *parts[k:]])
    return "/".join(quoted)


def contents(path: str, limit: int) -> bytes:
    """Return the bytes of a file.

    Raises:
        ValueError: if they are more than `limit`, or it is a FIFO, a device, a socket or a folder.
        OSError: if it cannot be read.
    """
    found = bytearray()
    with opened(path) as file:
        # In pieces, because Python allocates all that is asked for. None is what has no bytes yet, such as /proc/kmsg.
        while data := file.read(min(_PIECE, limit + 1 - len(found))):
            found += data
    if len(found) > limit:
        raise ValueError(f"A file must have at most {limit:,} bytes. Received: more")
    return bytes(found)


def opened(path: str) -> BinaryIO:
    """Return a file that is open for reading, or raise as `contents` does: reading a FIFO would wait for ever."""
    if is_local(path):
        _check_regular(os.stat(path))
        return open(path, "rb", opener=_open)
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


class _Disk(LocalFileSystem):
    """The disk as Beam sees it, but also with links that lead to nothing, and with a warning of folders it cannot list.

    Beam leaves both out in silence, so their files would be neither answered nor dead letters.
    """

    @classmethod
    def scheme(cls) -> str:
        return "tfpyramid-disk"  # Another than Beam's, which looks for the one class of a scheme.

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        for folder, _, names in os.walk(dir_or_prefix, onerror=_warn):
            yield from (self.metadata(os.path.join(folder, name)) for name in names)

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def metadata(self, path: str) -> FileMetadata:
        return FileMetadata(path, 0, 0.0)  # Nobody asks for the size, and millions of files have none looked up.


def _warn(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # A pattern of files in a folder that does not exist.
        log.warning("A folder cannot be listed, and files in it are left out: %s", error)


def _open(path: str, flags: int) -> int:
    file = os.open(path, flags | _AT_ONCE)
    try:
        _check_regular(os.fstat(file))  # Once more: it may have been replaced since.
    except ValueError:
        os.close(file)
        raise
    return file


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise ValueError(f"A file must be a regular file. Received: {kind}")


def _absolute(path: Any) -> str:
    # Names of other bytes than UTF-8 are legal: Python holds them as surrogates.
    path = os.fsdecode(path)
    if not path or "\0" in path:
        raise TypeError("No file has this name")
    return path if "://" in path else os.path.abspath(path)
