"""What the examples share: how they start, write files, and end."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextlib.contextmanager
def imports(script: str) -> Iterator[None]:
    """Import quietly; end with what to install if a package is missing."""
    stderr = os.dup(2)
    try:
        # TensorFlow logs while it is imported, whatever its log level: only the descriptor itself can be turned off.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        yield
    except ImportError as error:
        os.dup2(stderr, 2)
        sys.exit(f"{script}: {error}. What the examples need is installed by: pip install 'tfpyramid[examples]'")
    except KeyboardInterrupt:
        os.write(stderr, f"{script}: interrupted\n".encode())
        sys.exit(130)
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def run(script: str, main: Callable[[], None]) -> None:
    """Run the script; an interrupt is no traceback."""
    try:
        main()
    except KeyboardInterrupt:
        print(f"{script}: interrupted", file=sys.stderr)
        sys.exit(130)


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a name in the same folder to write to, and rename what is there once it is whole."""
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
