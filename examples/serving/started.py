"""A server of this folder, started by another script and stopped with it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def server(script: str, saved_model: Path, name: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """Give the address of a server that listens, and its process, until it is left."""
    command = [sys.executable, str(Path(__file__).with_name(script)), str(saved_model), "--name", name, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(f"Serving {name} "):
                break
        else:
            raise RuntimeError(f"{script} ended with status {process.wait(10)}")
        # What it writes from here on is read by no one, and must not fill the pipe.
        process.stdout.close()
        yield line.split()[-1], process
    finally:
        process.terminate()
        process.wait(timeout=60)
