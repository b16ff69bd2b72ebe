"""The numbered folders of a model, of which TensorFlow Serving serves the highest."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from tfpyramid import _checks

NEXT = "next"


def check_version(path: Path, version: object) -> int | str | None:
    """Return `version` as an integer, "next" or None; `path` is where the numbered folders are."""
    if version is None:
        return None
    if tf.saved_model.contains_saved_model(str(path)):
        raise ValueError(
            "`path` must be the folder of the versions, where a `version` is given, and not one of them. "
            f"Received: path={str(path)!r}, which is a SavedModel"
        )
    if version == NEXT:
        return NEXT
    if isinstance(version, str):
        raise ValueError(f"`version` must be an integer, {NEXT!r} or None. Received: version={version!r}")
    return _checks.integer("version", version, 0, f"{NEXT!r} or None")


def next_version(path: Path) -> int:
    """Return the number behind the highest that is there, 1 if none is."""
    newest = newest_version(path)
    return 1 if newest is None else int(newest.name) + 1


def newest_version(path: Path) -> Path | None:
    """Return the folder of the highest number in `path`, None if none is there."""
    # What TensorFlow Serving takes for a version: "007" too.
    found = [each for each in path.iterdir() if each.name.isascii() and each.name.isdigit()] if path.is_dir() else []
    return max(found, key=lambda each: int(each.name), default=None)
