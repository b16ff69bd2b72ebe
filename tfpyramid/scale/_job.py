"""A folder that many workers fill part by part, on any file system of Beam, and that a later call completes.

    results/part-00003-of-00020.parquet       the answers
    dead_letters/part-00003-of-00020.parquet  the files that could not be answered
    _SUCCESS                                  written when all parts are finished, as by Hadoop and Spark
    _job/arguments.json                       of the call, and the checksum of its list of files
    _job/files.jsonl                          the list of files
    _job/part-00003-of-00020.json             sizes and checksums of a part, written last: with it the part is finished

No file is trusted that its checksum does not fit, and all of them are written aside and renamed.
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
from tfpyramid.scale._places import JOB, Local, Remote

RESULTS, DEAD_LETTERS = "results", "dead_letters"
_ARGUMENTS, _FILES, _SUCCESS = f"{JOB}/arguments.json", f"{JOB}/files.jsonl", "_SUCCESS"
# What a call can leave that is killed before it has begun: without arguments it has written nothing else.
_NOT_BEGUN = re.compile(rf"{JOB}/(files\.jsonl(\.[0-9a-f-]{{36}})?|begin\.lock|aside-[^/]*(/.*)?)")
_MOST = 2**30  # Bytes of a file of a job that is not a list.


class Part(NamedTuple):
    """A part of `total`; its files are listed at bytes `start` to `end` of the job's list, which have a `checksum`."""

    number: int
    total: int
    start: int
    end: int
    checksum: int

    @property
    def name(self) -> str:
        return f"part-{self.number:05}-of-{self.total:05}"


class Job:
    """A folder, and the format of the files in it: how their names end."""

    def __init__(self, output: str, file_format: str) -> None:
        self.output, self.file_format = output, file_format
        self._place: Union[Local, Remote] = Local(output) if _paths.is_local(output) else Remote(output)

    def begin(self, file_pattern: str | list[str], files_per_part: int, arguments: dict[str, Any]) -> list[Part]:
        """List the files, or take the list of the call that has begun the job with equal `arguments`.

        Raises:
            ValueError: if no file matches, or it was begun with other arguments, or is damaged, or nothing can be
                written there.
            FileExistsError: if anything else is in the folder.
        """
        arguments = {"file_pattern": file_pattern, "files_per_part": files_per_part, **arguments}
        try:
            names = _paths.match(file_pattern)
        except BeamIOError as error:
            raise ValueError(
                f"`file_pattern` must be a pattern of Beam, of files that can be listed. Received: "
                f"file_pattern={file_pattern!r}, and the error: {error}"
            ) from error
        if link := next((name for name in (JOB, RESULTS, DEAD_LETTERS) if self._place.is_link(name)), None):
            raise self._not_ours(link)
        if not self._place.exists(_ARGUMENTS):
            self._begin(names, arguments)
        lines = self._list(names, arguments).splitlines(keepends=True)
        if late := len({*names} - {*map(json.loads, lines)}):
            _paths.log.warning(
                "%d files match %r now that did not when %s was begun. They are left out; give them another output.",
                late,
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
        with _paths.opened(self._place.path(_FILES)) as file:
            file.seek(part.start)
            text = file.read(part.end - part.start)
        if zlib.crc32(text) != part.checksum:
            raise self._damaged(_FILES, "it has changed since this pipeline was started")
        return [json.loads(line) for line in text.splitlines()]

    def results(self, part: Part) -> str:
        """Return the path of the results of a part."""
        return self._place.path(self._name(RESULTS, part))

    def is_finished(self, part: Part) -> bool:
        """Tell whether both files of a part hold what was written."""
        if not self._place.exists(_sums(part)):
            return False
        try:
            sums = json.loads(self._read(_sums(part)))
            return sums == {kind: self._checksum(self._name(kind, part)) for kind in (DEAD_LETTERS, RESULTS)}
        # What cannot be read is written again.
        except (OSError, ValueError, RecursionError):
            return False

    @contextlib.contextmanager
    def written(self, part: Part) -> Iterator[dict[str, str]]:
        """Yield the paths of two files of this machine to write to, by kind, and then put them in their places.

        Raises:
            OSError: if they cannot be written; it says where, and that the same call resumes.
        """
        with contextlib.ExitStack() as stack:
            with self._explained("in the folder for temporary files"):
                folder = stack.enter_context(self._place.aside())
            local = {kind: folder / kind for kind in (DEAD_LETTERS, RESULTS)}
            with self._explained(f"in {folder}"):
                yield {kind: str(path) for kind, path in local.items()}
            with self._explained(f"at {self.results(part)}"):
                self._put(local, part)

    def finish(self) -> None:
        """Mark the folder as finished, and remove what killed workers have left."""
        self._place.clear(finished=True)
        if not self._place.exists(_SUCCESS):
            with self._explained(f"at {self._place.path(_SUCCESS)}"):
                self._place.write(_SUCCESS, b"")

    def clear(self) -> None:
        """Remove what killed workers have left on this machine."""
        self._place.clear(finished=False)

    def _begin(self, names: list[str], arguments: dict[str, Any]) -> None:
        """Write the list of files and, when it is whole, the arguments."""
        if other := next((name for name in self._place.names() if not _NOT_BEGUN.fullmatch(name)), None):
            raise self._not_ours(other)
        pattern = arguments["file_pattern"]
        if not names:
            raise ValueError(f"`file_pattern` must match a file. {_checks.received('file_pattern', pattern)}")
        if all(_paths.is_local(name) and os.path.isdir(name) for name in names):
            raise ValueError(
                "`file_pattern` must match a file: all files of a folder are 'folder/*', and with those of folders "
                f"within 'folder/**'. Received: file_pattern={pattern!r}, a folder"
            )
        text = _listing(names)
        try:
            with self._place.alone("begin"):
                if not self._place.exists(_ARGUMENTS):  # Another process has not been faster.
                    self._place.write(_FILES, text)
                    begun = json.dumps({**arguments, "files": _digest(text)}, indent=1)
                    self._place.write(_ARGUMENTS, begun.encode())
        except OSError as error:
            raise ValueError(
                "`output` must be a folder, or the name of a new one, that can be written to. "
                f"Received: output={self.output!r}, and the error: {error}"
            ) from error

    def _list(self, names: list[str], arguments: dict[str, Any]) -> bytes:
        """Return the list of files of the job, if it was begun with these arguments."""
        try:
            begun = json.loads(self._read(_ARGUMENTS))
            if not isinstance(begun, dict):
                raise ValueError("it holds no arguments")
        except (OSError, ValueError, RecursionError) as error:
            raise self._damaged(_ARGUMENTS, str(error)) from error
        if others := [name for name in arguments if begun.get(name) != arguments[name]]:
            raise ValueError(
                "`output` holds a job that was begun with other arguments. Call it with those, or choose an empty "
                f"folder. Received: { ({name: arguments[name] for name in others}) }, and {self.output} was begun with "
                f"{ ({name: begun.get(name) for name in others}) }"
            )
        digest = begun.get("files")
        try:
            with _paths.opened(self._place.path(_FILES)) as file:
                text = file.read()
        except (OSError, ValueError):
            text = b""
        if _digest(text) != digest:
            # The same files may still match; no others may take the places of those that were listed.
            text = _listing(names)
            if _digest(text) != digest:
                raise self._damaged(_FILES, f"it does not fit the checksum in {_ARGUMENTS}")
            with self._place.alone("begin"):
                self._place.write(_FILES, text)
        return text

    def _put(self, local: dict[str, Path], part: Part) -> None:
        """Put the two files of a part in their places, unless another process has finished it.

        Two processes may read a file at different times, and only one of them succeed. If their results and dead
        letters were mixed, that file would be in both or in none.
        """
        sums = {kind: _checksum(str(path)) for kind, path in local.items()}
        try:
            with self._place.alone(part.name):
                if self.is_finished(part):
                    return
                for name in (_SUCCESS, _sums(part)):
                    self._place.remove(name)
                for kind, path in local.items():
                    self._place.put(path, self._name(kind, part))
                self._place.write(_sums(part), json.dumps(sums).encode())
        except OSError:
            # Where there are no locks, another process may have finished the part and the job meanwhile.
            if not self.is_finished(part):
                raise

    @contextlib.contextmanager
    def _explained(self, where: str) -> Iterator[None]:
        try:
            yield
        except (OSError, tf.errors.ResourceExhaustedError) as error:
            raise OSError(
                getattr(error, "errno", None),
                f"{getattr(error, 'strerror', None) or error}, {where}. Parts that are finished are kept in "
                f"{self.output}. Once the cause is mended, the same call resumes",
                getattr(error, "filename", None),
            ) from error

    def _not_ours(self, name: str) -> FileExistsError:
        return FileExistsError(
            "`output` must be a folder that is empty or does not exist, or the folder of an interrupted call with the "
            f"same arguments. Received: output={self.output!r}, which contains {name!r}"
        )

    def _damaged(self, name: str, reason: str) -> ValueError:
        return ValueError(
            f"`output` holds a job whose {name} is damaged: {reason}. Remove the folder to begin again, or choose "
            f"another. {_checks.received('output', self.output)}"
        )

    def _read(self, name: str) -> bytes:
        return _paths.contents(self._place.path(name), _MOST)

    def _checksum(self, name: str) -> list[int] | None:
        return _checksum(self._place.path(name)) if self._place.exists(name) else None

    def _name(self, kind: str, part: Part) -> str:
        return f"{kind}/{part.name}.{self.file_format}"


def _sums(part: Part) -> str:
    return f"{JOB}/{part.name}.json"


def _listing(names: list[str]) -> bytes:
    return "".join(json.dumps(name) + "\n" for name in names).encode()


def _digest(text: bytes) -> list[int]:
    return [len(text), zlib.crc32(text)]


def _checksum(path: str) -> list[int]:
    """Return the size of a file and its checksum."""
    size = checksum = 0
    with _paths.opened(path) as file:
        while data := file.read(2**20):
            size, checksum = size + len(data), zlib.crc32(data, checksum)
    return [size, checksum]
