"""A folder that many workers fill part by part, on any file system of Beam; a later call resumes it.

    results/part-00003-of-00020.parquet       the model's outputs
    dead_letters/part-00003-of-00020.parquet  the files that could not be processed
    _SUCCESS                                  written when all parts are finished, as by Hadoop and Spark
    _job/arguments.json                       arguments of the call, and the checksum of its list of files
    _job/files.jsonl                          the list of files
    _job/part-00003-of-00020.json             sizes and checksums of a part; written last, it makes the part finished

A file counts only if it matches its checksum. Every file is written to a staging folder and renamed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Union

import tensorflow as tf
from apache_beam.io.filesystem import BeamIOError

from tfpyramid import _checks
from tfpyramid.scale import _paths
from tfpyramid.scale._storage import JOB, LocalStorage, RemoteStorage

RESULTS, DEAD_LETTERS = "results", "dead_letters"
_ARGUMENTS, _FILES, _SUCCESS = f"{JOB}/arguments.json", f"{JOB}/files.jsonl", "_SUCCESS"
# The files that a call can leave if it is killed before it has written its arguments.
_BEFORE_ARGUMENTS = re.compile(rf"{JOB}/(files\.jsonl(\.[0-9a-f-]{{36}})?|begin\.lock|aside-[^/]*(/.*)?)")
_MAX_BYTES = 2**30  # Of the arguments, or of the checksums of a part.


class Part(NamedTuple):
    """One of `total` parts. Bytes `start` to `end` of the list of files hold its files, and have this `checksum`."""

    number: int
    total: int
    start: int
    end: int
    checksum: int

    @property
    def name(self) -> str:
        return f"part-{self.number:05}-of-{self.total:05}"


class Job:
    """A folder of parts in one file format, which is also the suffix of their names."""

    def __init__(self, output: str, file_format: str) -> None:
        self.output, self.file_format = output, file_format
        self._storage: Union[LocalStorage, RemoteStorage]
        self._storage = LocalStorage(output) if _paths.is_local(output) else RemoteStorage(output)

    def begin(self, file_pattern: str | list[str], files_per_part: int, arguments: dict[str, Any]) -> list[Part]:
        """List the files and start a job, or read the list of a job that was started with equal `arguments`.

        Raises:
            ValueError: no file matches; the job was started with other arguments, or is damaged; or the folder cannot
                be written.
            FileExistsError: the folder holds other files.
        """
        arguments = {"file_pattern": file_pattern, "files_per_part": files_per_part, **arguments}
        try:
            names = _paths.match(file_pattern)
        except BeamIOError as error:
            raise ValueError(
                "`file_pattern` must be a pattern that Beam can match and list. Received: "
                f"file_pattern={file_pattern!r}, which raised: {error}"
            ) from error
        if link := next((name for name in (JOB, RESULTS, DEAD_LETTERS) if self._storage.is_link(name)), None):
            raise self._foreign(link)
        if not self._storage.exists(_ARGUMENTS):
            self._start(names, arguments)
        lines = self._list(names, arguments).splitlines(keepends=True)
        if new_files := len({*names} - {*map(json.loads, lines)}):
            _paths.log.warning(
                "%d files match %r that did not match when the job in %s was started. The job ignores them; start "
                "another job for them, with another `output`.",
                new_files,
                file_pattern,
                self.output,
            )
        starts = range(0, len(lines), files_per_part)
        parts, end = [], 0
        for number, start in enumerate(starts):
            text = b"".join(lines[start : start + files_per_part])
            parts.append(Part(number, len(starts), end, end + len(text), zlib.crc32(text)))
            end += len(text)
        return parts

    def files(self, part: Part) -> list[str]:
        """Return the names of the files of a part."""
        with _paths.opened(self._storage.path(_FILES)) as file:
            file.seek(part.start)
            text = file.read(part.end - part.start)
        if zlib.crc32(text) != part.checksum:
            raise self._damaged(_FILES, "it changed while the pipeline was running")
        return [json.loads(line) for line in text.splitlines()]

    def results(self, part: Part) -> str:
        """Return the path of the results of a part."""
        return self._storage.path(self._name(RESULTS, part))

    def is_finished(self, part: Part) -> bool:
        """Return whether both files of a part match their checksums."""
        if not self._storage.exists(_sums(part)):
            return False
        try:
            sums = json.loads(self._read(_sums(part)))
            return sums == {kind: self._checksum(self._name(kind, part)) for kind in (DEAD_LETTERS, RESULTS)}
        except (OSError, ValueError, RecursionError):  # A part that cannot be read is written again.
            return False

    @contextlib.contextmanager
    def written(self, part: Part) -> Iterator[dict[str, str]]:
        """Yield the paths of two new files on this machine, by kind; then move them to their final names.

        Raises:
            OSError: the files cannot be written. The message says where, and how to resume.
        """
        with contextlib.ExitStack() as stack:
            with self._with_advice("in the folder for temporary files"):
                folder = stack.enter_context(self._storage.staging_folder())
            new_files = {kind: folder / kind for kind in (DEAD_LETTERS, RESULTS)}
            with self._with_advice(f"in {folder}"):
                yield {kind: str(path) for kind, path in new_files.items()}
            with self._with_advice(f"at {self.results(part)}"):
                self._publish(new_files, part)

    def finish(self) -> None:
        """Mark the job as finished, and remove the temporary files of killed workers."""
        self._storage.clear(finished=True)
        if not self._storage.exists(_SUCCESS):
            with self._with_advice(f"at {self._storage.path(_SUCCESS)}"):
                self._storage.write(_SUCCESS, b"")

    def clear(self) -> None:
        """Remove the temporary files of killed workers on this machine."""
        self._storage.clear(finished=False)

    def _start(self, names: list[str], arguments: dict[str, Any]) -> None:
        """Write the list of files, then the arguments, so a job with arguments has a complete list."""
        if other := next((name for name in self._storage.names() if not _BEFORE_ARGUMENTS.fullmatch(name)), None):
            raise self._foreign(other)
        pattern = arguments["file_pattern"]
        if not names:
            raise ValueError(
                f"`file_pattern` must match at least one file. {_checks.received('file_pattern', pattern)}"
            )
        if all(_paths.is_local(name) and os.path.isdir(name) for name in names):
            raise ValueError(
                "`file_pattern` must match at least one file. Use 'folder/*' for all files of a folder, 'folder/**' to "
                f"include its subfolders. Received: file_pattern={pattern!r}, a folder"
            )
        text = _listing(names)
        try:
            with self._storage.exclusive("begin"):
                if not self._storage.exists(_ARGUMENTS):  # Otherwise another process started the job first.
                    self._storage.write(_FILES, text)
                    recorded = json.dumps({**arguments, "files": _digest(text)}, indent=1)
                    self._storage.write(_ARGUMENTS, recorded.encode())
        except OSError as error:
            raise ValueError(
                "`output` must be a folder that can be written, or the path of a new one. "
                f"Received: output={self.output!r}, which raised: {error}"
            ) from error

    def _list(self, names: list[str], arguments: dict[str, Any]) -> bytes:
        """Return the list of files of the job; raise unless the job was started with these arguments."""
        try:
            recorded = json.loads(self._read(_ARGUMENTS))
            if not isinstance(recorded, dict):
                raise ValueError("it holds no arguments")
        except (OSError, ValueError, RecursionError) as error:
            raise self._damaged(_ARGUMENTS, str(error)) from error
        if changed := [name for name in arguments if recorded.get(name) != arguments[name]]:
            raise ValueError(
                "`output` holds a job that was started with other arguments: "
                f"{ ({name: recorded.get(name) for name in changed}) }. Rerun with those arguments, or choose an empty "
                f"folder. Received: { ({name: arguments[name] for name in changed}) }, output={self.output!r}"
            )
        digest = recorded.get("files")
        try:
            with _paths.opened(self._storage.path(_FILES)) as file:
                text = file.read()
        except (OSError, ValueError):
            text = b""
        if _digest(text) != digest:
            # List the files again. The list must be the same, because parts are numbered by it.
            text = _listing(names)
            if _digest(text) != digest:
                raise self._damaged(_FILES, f"it does not match the checksum in {_ARGUMENTS}")
            with self._storage.exclusive("begin"):
                self._storage.write(_FILES, text)
        return text

    def _publish(self, new_files: dict[str, Path], part: Part) -> None:
        """Move the two files of a part to their final names, unless another process has finished the part.

        Both files must come from one process. Two processes may read an image at different times, and only one of them
        may succeed; with results of one and dead letters of the other, the image would be in both files or in none.
        """
        sums = {kind: _checksum(str(path)) for kind, path in new_files.items()}
        try:
            with self._storage.exclusive(part.name):
                if self.is_finished(part):
                    return
                for name in (_SUCCESS, _sums(part)):
                    self._storage.remove(name)
                for kind, path in new_files.items():
                    self._storage.publish(path, self._name(kind, part))
                self._storage.write(_sums(part), json.dumps(sums).encode())
        except OSError:
            # On a file system without locks, another process may have finished the part and the job in the meantime.
            if not self.is_finished(part):
                raise

    @contextlib.contextmanager
    def _with_advice(self, where: str) -> Iterator[None]:
        """Add to errors of a disk the file they are about, and how to resume."""
        try:
            yield
        except (OSError, tf.errors.ResourceExhaustedError) as error:
            raise OSError(
                getattr(error, "errno", None),
                f"{getattr(error, 'strerror', None) or error}, {where}. Finished parts are kept in {self.output}. "
                "Remove the cause, then rerun with the same arguments to resume",
                getattr(error, "filename", None),
            ) from error

    def _foreign(self, name: str) -> FileExistsError:
        return FileExistsError(
            "`output` must be an empty or a new folder, or the folder of an interrupted call with the same arguments. "
            f"Choose another folder. Received: output={self.output!r}, which contains {name!r}"
        )

    def _damaged(self, name: str, reason: str) -> ValueError:
        return ValueError(
            f"`output` cannot be resumed, because {name} in it is damaged: {reason}. Remove the folder to start again, "
            f"or choose another. {_checks.received('output', self.output)}"
        )

    def _read(self, name: str) -> bytes:
        return _paths.contents(self._storage.path(name), _MAX_BYTES)

    def _checksum(self, name: str) -> list[int] | None:
        return _checksum(self._storage.path(name)) if self._storage.exists(name) else None

    def _name(self, kind: str, part: Part) -> str:
        return f"{kind}/{part.name}.{self.file_format}"


def _sums(part: Part) -> str:
    return f"{JOB}/{part.name}.json"


def _listing(names: list[str]) -> bytes:
    return "".join(json.dumps(name) + "\n" for name in names).encode()


def _digest(text: bytes) -> list[int]:
    return [len(text), zlib.crc32(text)]


def _checksum(path: str) -> list[int]:
    """Return the size and the checksum of a file."""
    size = checksum = 0
    with _paths.opened(path) as file:
        while data := file.read(2**20):
            size, checksum = size + len(data), zlib.crc32(data, checksum)
    return [size, checksum]
