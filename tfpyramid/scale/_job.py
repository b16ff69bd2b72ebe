"""A folder that many workers fill part by part, on any file system of Beam, and that is gone on with when interrupted.

    results/part-00003-of-00020.parquet       what was asked for
    dead_letters/part-00003-of-00020.parquet  the files that could not be read
    _SUCCESS                                  when there is nothing left to do, as Hadoop and Spark have it
    _job/                                     what was asked for, and what was begun
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

RESULTS, DEAD_LETTERS = "results", "dead_letters"
# Readers of folders leave out what begins with an underscore.
_JOB, _SUCCESS = "_job", "_SUCCESS"

log = logging.getLogger("tfpyramid")


class Part(NamedTuple):
    """A part of `total`; its files are listed at bytes `start` to `end` of the job's list."""

    number: int
    total: int
    start: int
    end: int


class Job:
    """A folder, and the format of the files in it: how their names end."""

    def __init__(self, output: str, file_format: str) -> None:
        self.output, self.file_format = output, file_format
        self._arguments, self._files = self._join(_JOB, "arguments.json"), self._join(_JOB, "files.jsonl")

    def begin(self, file_pattern: str | list[str], files_per_part: int, arguments: dict[str, Any]) -> list[Part]:
        """List the files, or go on with those that were listed when it was begun, with equal `arguments`.

        Raises:
            ValueError: if no file matches, or it was begun with other arguments.
            FileExistsError: if anything else is in the folder.
        """
        arguments = {"file_pattern": file_pattern, "files_per_part": files_per_part, **arguments}
        if FileSystems.exists(self._arguments):
            self._check_begun(arguments)
        else:
            if _match(self._join("**")):
                raise FileExistsError(
                    "`output` must be a folder that is empty, or not there, or one that the same call has begun. "
                    f"Received: output={self.output!r}"
                )
            names = _match(file_pattern)
            if not names:
                raise ValueError(f"`file_pattern` must match a file. Received: file_pattern={file_pattern!r}")
            _write(self._files, "".join(json.dumps(name) + "\n" for name in names))
            _write(self._arguments, json.dumps(arguments, indent=1))
        lines = _read(self._files).splitlines(keepends=True)
        if late := len({*_match(file_pattern)} - {*map(json.loads, lines)}):
            log.warning(
                "%d files match %r now that did not when %s was begun: they are left out, for an output of their own.",
                late,
                file_pattern,
                self.output,
            )
        sizes = [sum(map(len, lines[k : k + files_per_part])) for k in range(0, len(lines), files_per_part)]
        ends = [sum(sizes[: k + 1]) for k in range(len(sizes))]
        return [Part(k, len(ends), end - size, end) for k, (size, end) in enumerate(zip(sizes, ends))]

    def files(self, part: Part) -> list[str]:
        """Return the names of the files of a part."""
        with FileSystems.open(self._files, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            file.seek(part.start)
            return [json.loads(line) for line in file.read(part.end - part.start).splitlines()]

    def results(self, part: Part) -> str:
        """Return the path of the results of a part."""
        return self._path(RESULTS, part)

    def is_finished(self, part: Part) -> bool:
        """Tell whether the results of a part, which are written last, are there."""
        return FileSystems.exists(self.results(part))

    @contextlib.contextmanager
    def written(self, part: Part) -> Iterator[dict[str, str]]:
        """Yield names of files of this machine to write to, and put what is there in its places.

        Raises:
            OSError: if there is no room for it.
        """
        folder = tempfile.mkdtemp(prefix="tfpyramid-")
        try:
            local = {kind: os.path.join(folder, kind) for kind in (DEAD_LETTERS, RESULTS)}
            yield local
            for kind, path in local.items():
                self._put(path, self._path(kind, part))
        except (OSError, tf.errors.ResourceExhaustedError) as error:
            raise OSError(
                getattr(error, "errno", None),
                f"{getattr(error, 'strerror', None) or error}. Parts that are finished are kept in {self.output}; once "
                "the cause is mended, the same call goes on from there",
                getattr(error, "filename", None) or self.results(part),
            ) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def finish(self) -> None:
        """Mark the folder as finished, and remove what killed workers have left."""
        if left := _match(self._join(_JOB, "aside-*")):
            FileSystems.delete(left)
        _write(self._join(_SUCCESS), "")

    def _check_begun(self, arguments: dict[str, Any]) -> None:
        begun = json.loads(_read(self._arguments))
        others = [name for name in arguments if begun.get(name) != arguments[name]]
        if others:
            raise ValueError(
                f"`output` must be gone on with by the call that has begun it, or be another folder. Received: "
                f"{({name: arguments[name] for name in others})}, and {self.output} was begun with "
                f"{({name: begun.get(name) for name in others})}"
            )

    def _put(self, local: str, path: str) -> None:
        """Copy a file aside, and rename it."""
        aside = self._join(_JOB, f"aside-{uuid.uuid4()}")
        with open(local, "rb") as source, _create(aside) as file:
            shutil.copyfileobj(source, file, 2**20)
        _rename(aside, path)

    def _path(self, kind: str, part: Part) -> str:
        return self._join(kind, f"part-{part.number:05}-of-{part.total:05}.{self.file_format}")

    def _join(self, *names: str) -> str:
        return FileSystems.join(self.output, *names)


def contents(path: str, limit: int) -> bytes:
    """Return the bytes of a file.

    Raises:
        ValueError: if they are more than `limit`.
        OSError: if it cannot be read.
    """
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"A file must have at most {limit:,} bytes. Received: more")
    return data


def absolute(argument: str, path: str | Path) -> str:
    """Return a path that means the same to a worker that was started elsewhere, and that TensorFlow and Beam can hold.

    Raises:
        ValueError: if it is no path, or not UTF-8; `argument` is what it was given as.
    """
    try:
        found = _absolute(path)
        found.encode()
    except (TypeError, UnicodeEncodeError):
        raise ValueError(f"`{argument}` must be a path in UTF-8. Received: {argument}={path!r}") from None
    return found


def patterns(file_pattern: Any) -> str | list[str]:
    """Return one pattern of files, or a list of them, as workers anywhere understand them.

    Raises:
        ValueError: if it is neither.
    """
    try:
        if isinstance(file_pattern, (list, tuple)):
            return [_absolute(each) for each in file_pattern]
        return _absolute(file_pattern)
    except TypeError:
        raise ValueError(
            "`file_pattern` must be a path or a pattern of files, or a list of them. "
            f"Received: file_pattern={file_pattern!r}"
        ) from None


def _absolute(path: Any) -> str:
    # Names of other bytes than UTF-8 are legal: Python holds them as surrogates.
    path = os.fsdecode(path)
    return path if "://" in path else os.path.abspath(path)


def _match(pattern: str | list[str]) -> list[str]:
    patterns = [pattern] if isinstance(pattern, str) else pattern
    with warnings.catch_warnings():
        # "[[]" is the one way to quote a bracket in a pattern, and Beam makes a regular expression of it as it is.
        warnings.filterwarnings("ignore", "Possible nested set", FutureWarning)
        found = FileSystems.match([_quoted(each) for each in patterns])
    return sorted({each.path for result in found for each in result.metadata_list})


def _quoted(pattern: str) -> str:
    """Return `pattern` with the folders and the file in it quoted that exist by just these names."""
    parts = pattern.split("/")
    quoted = [re.sub(r"([*?[])", r"[\1]", part) for part in parts]
    for k, part in enumerate(parts):
        if quoted[k] != part and not FileSystems.exists("/".join(parts[: k + 1])):
            return "/".join([*quoted[:k], *parts[k:]])
    return "/".join(quoted)


def _read(path: str) -> str:
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        return file.read().decode()


def _write(path: str, text: str) -> None:
    aside = f"{path}.{uuid.uuid4()}"
    with _create(aside) as file:
        file.write(text.encode())
    _rename(aside, path)


def _create(path: str) -> Any:
    return FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED)


def _rename(source: str, target: str) -> None:
    folder, _ = FileSystems.split(target)
    # Another worker may make it too.
    with contextlib.suppress(BeamIOError, OSError):
        FileSystems.mkdirs(folder)
    FileSystems.rename([source], [target])
