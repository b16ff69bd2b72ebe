"""Code that the examples share: their options, quiet imports, complete files, and a clean end after an interrupt."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def parser(description: str, *, output: str = "", seed: int = 0, quick: str = "") -> argparse.ArgumentParser:
    """Return a parser with the options of all examples: `--seed`, and `--output` and `--quick` if they are given."""
    found = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    if output:
        found.add_argument("--output", type=Path, default=Path(output), help="output folder (default: %(default)s)")
    found.add_argument("--seed", type=int, default=seed, help="seed of the random numbers (default: %(default)s)")
    if quick:
        found.add_argument("--quick", action="store_true", help=quick)
    return found


@contextlib.contextmanager
def imports(script: str, extra: str = "examples") -> Iterator[None]:
    """Import packages without log messages. If one is missing, exit and name the extra that installs it."""
    stderr = os.dup(2)
    try:
        # TensorFlow logs to the file descriptor during its import, regardless of its log level.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        yield
    except ImportError as error:
        os.dup2(stderr, 2)
        sys.exit(f"{script}: {error}. Install what this example needs: pip install 'tfpyramid[{extra}]'")
    except KeyboardInterrupt:
        os.write(stderr, f"{script}: interrupted\n".encode())
        sys.exit(130)
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def run(script: str, main: Callable[[], None]) -> None:
    """Run `main`; end an interrupt with a message instead of a traceback."""
    try:
        main()
    except KeyboardInterrupt:
        print(f"{script}: interrupted", file=sys.stderr)
        sys.exit(130)


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, and rename the file to `path` once it is complete."""
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
