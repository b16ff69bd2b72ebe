"""The numbered folders of a model, of which TensorFlow Serving serves the highest."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from tfpyramid import _checks

NEXT = "next"
# TensorFlow Serving counts in int64, and ignores folders of other names.
_LARGEST = 2**63 - 1


def check_version(path: Path, version: object) -> int | str | None:
    """Return `version` as an integer, "next" or None; `path` is where the numbered folders are."""
    if version is None:
        return None
    if isinstance(version, str) and version != NEXT:
        raise ValueError(f"`version` must be an integer, {NEXT!r} or None. {_checks.received('version', version)}")
    if not isinstance(version, str):
        version = _checks.integer("version", version, 0, f"{NEXT!r} or None", maximum=_LARGEST)
    if tf.saved_model.contains_saved_model(str(path)):
        raise ValueError(
            "`path` must be the folder of the versions, where a `version` is given, and not one of them. "
            f"Received: path={str(path)!r}, which is a SavedModel"
        )
    if version == NEXT and next_version(path) > _LARGEST:
        raise ValueError(
            f"`version` must be a number that is free, since {_LARGEST} is the highest that TensorFlow Serving takes, "
            f"and exists. Received: version={version!r}, path={str(path)!r}"
        )
    return version


def next_version(path: Path) -> int:
    """Return the number behind the highest that is there, 1 if none is."""
    newest = newest_version(path)
    return 1 if newest is None else int(newest.name) + 1


def newest_version(path: Path) -> Path | None:
    """Return the folder of the highest number in `path`, None if none is there."""
    # What TensorFlow Serving takes for a version: "007" too.
    found = [each for each in path.iterdir() if _is_version(each.name)] if path.is_dir() else []
    return max(found, key=lambda each: int(each.name), default=None)


def _is_version(name: str) -> bool:
    # The length first: Python refuses to read a number of thousands of digits.
    return name.isascii() and name.isdigit() and len(name) < 256 and int(name) <= _LARGEST
