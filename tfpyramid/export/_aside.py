"""Written aside and renamed: a folder beside the target, and recovery of what killed processes left there."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from tfpyramid import _files
from tfpyramid.export._versions import NEXT, next_version

# In a folder aside: the new model, the old one that made way for it, and the latter when it is no longer needed.
WRITTEN, REPLACED, _REMOVED = "written", "replaced", "removed"
_EXPORTING = re.compile(rf"\.(\d+|{NEXT})\.exporting(-.*)?", re.ASCII)


@contextlib.contextmanager
def aside(target: Path, *, shared: bool = False) -> Iterator[Path]:
    """Yield a new folder beside `target`, hidden and of this process alone, and remove it in the end.

    First, whatever killed exports to `target` left is put back or removed. An old model that is in the folder in the
    end, because `put` failed, is put back.

    Args:
        target: the folder to write.
        shared: whether other processes may do the same at once, each for a version of its own behind the others.

    Raises:
        BlockingIOError: if another process is writing `target`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.nullcontext() if shared else _only_writer(target):
        if shared:
            _recover_versions(target.parent)
        else:
            _recover(target)
        finish = functools.partial(_put_back, target)
        with _files.own_folder(target.parent, _prefix(target), _contents(target), finish) as folder:
            yield folder


def put(folder: Path, target: Path, overwrite: bool) -> Path:
    """Put what was written in `folder` at `target`; with `overwrite`, move what stands there into `folder` first."""
    _sync(folder / WRITTEN)
    if overwrite and target.exists():
        os.rename(target, folder / REPLACED)
    return _publish(folder, target)


def put_next(folder: Path, versions: Path) -> Path:
    """Put what was written in `folder` behind the highest of `versions`."""
    _sync(folder / WRITTEN)
    number = 0
    while True:
        # A number that another process is writing is taken, even if its folder does not exist yet.
        number = max(number + 1, next_version(versions))
        target = versions / str(number)
        with contextlib.suppress(BlockingIOError), _only_writer(target):
            try:
                return _publish(folder, target)
            except OSError:
                if not target.exists():  # Another process has not been faster.
                    raise


def _publish(folder: Path, target: Path) -> Path:
    os.rename(folder / WRITTEN, target)
    with contextlib.suppress(OSError):  # The model is in its place, whether or not a power failure now could undo it.
        _files.sync(target.parent)
    return target


def _put_back(target: Path, folder: Path) -> bool:
    """Move the old model in a folder aside back to `target`, unless the new one stands there; then return True."""
    replaced = folder / REPLACED
    if replaced.is_dir() and not replaced.is_symlink():
        published = target.exists() and not (folder / WRITTEN).exists()
        try:
            # An old model gets another name before it is removed, so that half of it is never put back.
            os.rename(replaced, folder / _REMOVED if published else target)
        except BaseException as error:
            kind = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else OSError
            raise kind(
                f"the model that was at {str(target)!r} is now at {str(replaced)!r}. The next export to this path "
                f"moves it back. Received: {type(error).__name__} {error}"
            ) from error
    return True


def _recover(target: Path) -> None:
    """Finish what killed exports to `target` began, while no other process may write it."""

    def finish(folder: Path) -> bool:
        # Another program may have put a model in the place of the one that was moved: then both are kept.
        occupied = target.exists() and (folder / REPLACED).exists() and (folder / WRITTEN).exists()
        return not occupied and _put_back(target, folder)

    _files.clear_folders(target.parent, _prefix(target), _contents(target), finish)


def _recover_versions(versions: Path) -> None:
    """Do so for every number in the folder of the versions, except those that other processes are writing."""
    found = {match[1] for each in versions.iterdir() if (match := _EXPORTING.fullmatch(each.name))}
    for name in sorted(found):
        with contextlib.suppress(OSError), _only_writer(versions / name):
            _recover(versions / name)


@contextlib.contextmanager
def _only_writer(target: Path) -> Iterator[None]:
    """Hold `target` against other exports, which end with a `BlockingIOError`."""
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
    # TensorFlow Serving looks only at folders whose names are numbers.
    return f".{target.name}.exporting-"


def _contents(target: Path) -> str:
    # The name belongs to it: ".a.exporting-b" could be beside "a", or the begin of a folder beside "a.exporting-b".
    return f"tfpyramid.export.export_saved_model to {target.name!r}\n"


def _sync(folder: Path) -> None:
    """Wait until a folder is on the disk, with all that is in it."""
    for path in (*folder.rglob("*"), folder):
        _files.sync(path)
