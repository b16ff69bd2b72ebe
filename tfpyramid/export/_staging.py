"""Exports are written to a hidden folder next to their target and renamed; the next export cleans up after a kill.

The staging folder holds these folders:

    written   the new model
    replaced  the old model, which the new one replaces
    removed   the old model, after the new one has replaced it
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from tfpyramid import _files
from tfpyramid.export._versions import NEXT, next_version

WRITTEN, REPLACED, _REMOVED = "written", "replaced", "removed"
_STAGING_OR_LOCK = re.compile(rf"\.(\d+|{NEXT})\.exporting(-.*)?", re.ASCII)


@contextlib.contextmanager
def staging_folder(target: Path, *, is_next: bool = False) -> Iterator[Path]:
    """Yield a new hidden folder next to `target` for this process alone, and remove it in the end.

    First restore or remove the files of killed exports to `target`. In the end, if `publish` failed and the old model
    is still in the staging folder, move it back to `target`.

    Args:
        target: the folder to write.
        is_next: the version is not numbered yet; several processes may then export at once, each to its own version.

    Raises:
        BlockingIOError: another process is writing `target`.
    """
    _files.make_folder(target.parent)
    with contextlib.nullcontext() if is_next else _locked(target):
        if is_next:
            _recover_versions(target.parent)
        else:
            _recover(target)
        restore = functools.partial(_restore, target)
        with _files.own_folder(target.parent, _prefix(target), _contents(target), restore) as staging:
            yield staging


def publish(staging: Path, target: Path, overwrite: bool) -> Path:
    """Rename the new model to `target`; with `overwrite`, first move the old model to the staging folder."""
    _sync(staging / WRITTEN)
    if overwrite and target.exists():
        os.rename(target, staging / REPLACED)
    return _rename(staging, target)


def publish_next(staging: Path, versions: Path) -> Path:
    """Rename the new model to one above the highest number in `versions`."""
    _sync(staging / WRITTEN)
    number = 0
    while True:
        # Skip a number that another process is writing, even if its folder does not exist yet.
        number = max(number + 1, next_version(versions))
        target = versions / str(number)
        with contextlib.suppress(BlockingIOError), _locked(target):
            try:
                return _rename(staging, target)
            except OSError:
                if not target.exists():  # Otherwise another process has just taken the number: try the next one.
                    raise


def _rename(staging: Path, target: Path) -> Path:
    os.rename(staging / WRITTEN, target)
    # The model is at its target already; a failing sync only means that a power failure could still undo the rename.
    with contextlib.suppress(OSError):
        _files.sync(target.parent)
    return target


def _restore(target: Path, staging: Path) -> bool:
    """Move the old model in a staging folder back to `target`, unless the new one is there; then return True."""
    replaced = staging / REPLACED
    if replaced.is_dir() and not replaced.is_symlink():
        published = target.exists() and not (staging / WRITTEN).exists()
        try:
            # Rename an old model before it is removed, so that half of it is never moved back.
            os.rename(replaced, staging / _REMOVED if published else target)
        except BaseException as error:
            kind = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else OSError
            raise kind(
                f"the old model of {str(target)!r} is now at {str(replaced)!r}, because it could not be moved back. "
                f"The next export to this path moves it back. Received: {type(error).__name__} {error}"
            ) from error
    return True


def _recover(target: Path) -> None:
    """Restore the old model and remove the staging folders of killed exports; no other process may be writing."""

    def finish(staging: Path) -> bool:
        # If another program wrote a model to `target` after the old one was moved away, keep both models.
        occupied = target.exists() and (staging / REPLACED).exists() and (staging / WRITTEN).exists()
        return not occupied and _restore(target, staging)

    _files.clear_folders(target.parent, _prefix(target), _contents(target), finish)


def _recover_versions(versions: Path) -> None:
    """Recover every version in the folder, except those that other processes are writing."""
    found = {match[1] for each in versions.iterdir() if (match := _STAGING_OR_LOCK.fullmatch(each.name))}
    for name in sorted(found):
        with contextlib.suppress(OSError), _locked(versions / name):
            _recover(versions / name)


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Hold the lock of `target`; raise `BlockingIOError` if another export holds it."""
    path = target.with_name(f".{target.name}.exporting")
    try:
        lock = _files.Lock(path, _contents(target))
    except BlockingIOError as error:
        raise BlockingIOError(f"another process is writing {str(target)!r}") from error
    with lock:
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()


def _prefix(target: Path) -> str:
    # TensorFlow Serving ignores folders whose names are not numbers.
    return f".{target.name}.exporting-"


def _contents(target: Path) -> str:
    # Include the name: ".a.exporting-b" could be a staging folder of "a", or the lock of "a.exporting-b".
    return f"tfpyramid.export.export_saved_model to {target.name!r}\n"


def _sync(folder: Path) -> None:
    """Wait until a folder and everything in it are on the disk."""
    for path in (*folder.rglob("*"), folder):
        _files.sync(path)
