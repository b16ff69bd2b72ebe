"""A folder that is filled tile by tile beside the place it will have, and gone on with after an interruption."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

_ARGUMENTS, _FINISHED = "arguments.json", "finished.txt"


class Unfinished:
    """What stands beside `path` until all of it is there.

    Attributes:
        folder: where to write.
        finished: the tiles that an interrupted call has written, by name.
    """

    def __init__(self, path: Path, arguments: dict[str, Any]) -> None:
        """Begin, or go on with what was begun with equal `arguments`, which JSON can hold.

        Raises:
            ValueError: if it was begun with others.
        """
        self._path = path
        self.folder = path.with_name(f".{path.name}.unfinished")
        begun, self._log_path = self.folder / _ARGUMENTS, self.folder / _FINISHED
        text = json.dumps(arguments, sort_keys=True)
        if not begun.exists():  # Nothing was written in it yet.
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            aside = begun.with_suffix(".new")
            aside.write_text(text)
            os.replace(aside, begun)
        elif begun.read_text() != text:
            earlier = json.loads(begun.read_text())
            others = {key: earlier.get(key) for key in arguments if earlier.get(key) != arguments[key]}
            raise ValueError(
                f"`path` must be given with the arguments that {self.folder} was begun with, or that folder be removed "
                f"to begin again. Received: {({key: arguments[key] for key in others})}, and it was begun with {others}"
            )
        # A line that was cut off names no tile.
        lines = self._log_path.read_text().splitlines(keepends=True) if self._log_path.exists() else []
        self.finished = {line.strip() for line in lines if line.endswith("\n")}
        self._log_path.write_text("".join(f"{name}\n" for name in sorted(self.finished)))

    def add(self, name: str) -> None:
        """Note that a tile is written."""
        if name not in self.finished:
            with self._log_path.open("a") as log:
                log.write(f"{name}\n")
            self.finished.add(name)

    def complete(self) -> None:
        """Put the folder in its place."""
        self.folder.rename(self._path)
        for name in (_ARGUMENTS, _FINISHED):
            (self._path / name).unlink()
