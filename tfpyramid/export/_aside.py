"""Written aside and renamed: a folder beside the target, and what becomes of those that killed processes left."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tfpyramid.export._versions import next_version

try:
    import fcntl
except ImportError:  # Windows: who a folder belongs to cannot be told there, and none is taken from anyone.
    fcntl = None  # type: ignore[assignment]

# Inside a folder aside: the new model, and the old one while it makes way.
WRITTEN, REPLACED = "written", "replaced"


@contextlib.contextmanager
def aside(target: Path) -> Iterator[Path]:
    """Yield a new folder beside `target`, hidden and of this process alone, which is gone in the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    while True:
        folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=_prefix(target)))
        descriptor = os.open(folder, os.O_RDONLY)
        # Another process may have taken it, unlocked as it was, for one that was left behind.
        if _locked(descriptor) and folder.exists():
            break
        os.close(descriptor)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def put(folder: Path, target: Path) -> Path:
    """Put what was written in `folder` at `target`; what stands there goes with the folder."""
    if target.exists():
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
    if not target.parent.is_dir():
        return
    for folder in target.parent.iterdir():
        if not folder.name.startswith(_prefix(target)):
            continue
        descriptor = os.open(folder, os.O_RDONLY)
        if fcntl and _locked(descriptor):
            if (folder / REPLACED).exists() and not target.exists():
                (folder / REPLACED).rename(target)
            shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _prefix(target: Path) -> str:
    # TensorFlow Serving looks at folders whose names are numbers.
    return f".{target.name}.exporting-"


def _locked(descriptor: int) -> bool:
    """Tell whether this process now holds the lock, which the kernel takes back however the process ends."""
    try:
        if fcntl:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
