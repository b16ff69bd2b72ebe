"""Written aside and renamed: a folder beside the target, and what becomes of those that killed processes left."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tfpyramid.export._versions import next_version

try:
    import fcntl
except ImportError:  # Windows: whether the owner of a folder lives is not known there, and what is left is left.
    fcntl = None  # type: ignore[assignment]

# In a folder aside: the new model, the old one when it has made way, and what its owner holds as long as it lives.
WRITTEN, REPLACED, LOCK = "written", "replaced", "lock"


@contextlib.contextmanager
def aside(target: Path) -> Iterator[Path]:
    """Yield a new folder beside `target`, hidden and of this process alone, which is gone in the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder, lock = _own_folder(target)
    try:
        with lock:
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def put(folder: Path, target: Path, overwrite: bool) -> Path:
    """Put what was written in `folder` at `target`; what stands there goes with the folder, if it is to be replaced."""
    if overwrite and target.exists():
        target.rename(folder / REPLACED)
    return (folder / WRITTEN).rename(target)


def put_next(folder: Path, versions: Path) -> Path:
    """Put what was written in `folder` behind the highest of `versions`."""
    while True:
        target = versions / str(next_version(versions))
        try:
            return (folder / WRITTEN).rename(target)
        except OSError:
            if not target.exists():  # Another process has not been faster.
                raise


def clear(target: Path) -> None:
    """Remove what exports to `target` left that were killed, after putting back what they had moved out of the way."""
    if fcntl is None or not target.parent.is_dir():
        return
    for folder in target.parent.iterdir():
        if folder.name.startswith(_prefix(target)):
            # An error: its owner lives, or has just removed it, or nothing can be locked on this disk.
            with contextlib.suppress(OSError), open(folder / LOCK, "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if (folder / REPLACED).exists() and not target.exists():
                    (folder / REPLACED).rename(target)
                shutil.rmtree(folder)


def _prefix(target: Path) -> str:
    # TensorFlow Serving looks only at folders whose names are numbers.
    return f".{target.name}.exporting-"


def _own_folder(target: Path) -> tuple[Path, IO[str]]:
    """Return a new folder and the open file in it by whose lock others see that this process lives."""
    while True:
        folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=_prefix(target)))
        # Errors, and a folder that is gone: another process took it, not locked yet, for one that was left.
        with contextlib.suppress(FileNotFoundError, BlockingIOError), contextlib.ExitStack() as stack:
            lock = stack.enter_context(open(folder / LOCK, "w"))
            _lock(lock)
            if folder.exists():
                stack.pop_all()
                return folder, lock


def _lock(file: IO[str]) -> None:
    """Lock a file until it is closed, which the kernel does however the process ends."""
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # Nothing can be locked on this disk, and so nothing is removed from it.
        pass
