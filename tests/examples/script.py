"""An example, run as a newcomer runs it: by its path, from some other folder."""

import os
import struct
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(name: str, folder: Path, *options: str) -> subprocess.CompletedProcess:
    """Run an example, quickly, into `folder`/out; modules in `folder` are found before the installed ones."""
    path = os.pathsep.join([str(folder), str(ROOT)])
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": path}
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py"), "--quick", "--output", "out", *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace")


def size_of_png(path: Path) -> tuple[int, int]:
    """Return (width, height) of a file that is a PNG."""
    header = path.read_bytes()[:24]
    assert header[:16] == b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
    return struct.unpack(">2I", header[16:])
