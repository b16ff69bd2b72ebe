"""The numbered folders of a model. TensorFlow Serving serves the highest number."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from tfpyramid import _checks

NEXT = "next"
# TensorFlow Serving counts in int64, and ignores folders of other names.
_LARGEST = 2**63 - 1


def check_version(path: Path, version: object) -> int | str | None:
    """Return `version` as an integer, "next" or None; `path` is the folder of the numbered folders."""
    if version is None:
        return None
    if isinstance(version, str) and version != NEXT:
        raise ValueError(f"`version` must be an integer, {NEXT!r} or None. {_checks.received('version', version)}")
    if not isinstance(version, str):
        version = _checks.integer("version", version, 0, f"{NEXT!r} or None", maximum=_LARGEST)
    if tf.saved_model.contains_saved_model(str(path)):
        raise ValueError(
            "`path` must be the folder that holds the versions if a `version` is given. "
            f"Received: path={str(path)!r}, which is a SavedModel itself"
        )
    if version == NEXT and next_version(path) > _LARGEST:
        raise ValueError(
            f"`version` must be a free number: {_LARGEST}, the highest that TensorFlow Serving accepts, exists. "
            f"Received: version={version!r}, path={str(path)!r}"
        )
    return version


def next_version(path: Path) -> int:
    """Return the highest number plus 1, or 1 if there is none."""
    newest = newest_version(path)
    return 1 if newest is None else int(newest.name) + 1


def newest_version(path: Path) -> Path | None:
    """Return the folder with the highest number in `path`, or None."""
    # TensorFlow Serving accepts "007" too.
    found = [each for each in path.iterdir() if _is_version(each.name)] if path.is_dir() else []
    return max(found, key=lambda each: int(each.name), default=None)


def _is_version(name: str) -> bool:
    # Check the length first, because Python raises an error for numbers with thousands of digits.
    return name.isascii() and name.isdigit() and len(name) < 256 and int(name) <= _LARGEST
