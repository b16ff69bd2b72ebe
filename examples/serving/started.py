"""Start a server of this folder from another script, and stop it at the end."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def server(script: str, saved_model: Path, name: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """Start a server; yield its address and its process, and terminate it at the end of the context."""
    command = [sys.executable, str(Path(__file__).with_name(script)), str(saved_model), "--name", name, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(f"Serving {name} "):
                break
        else:
            raise RuntimeError(f"{script} ended with status {process.wait(10)}")
        # Nobody reads the later output of the server, which would block if the pipe were full.
        process.stdout.close()
        yield line.split()[-1], process
    finally:
        process.terminate()
        process.wait(timeout=60)
