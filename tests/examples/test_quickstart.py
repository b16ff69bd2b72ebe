"""The quickstart, run as a newcomer runs it: by its path, from some other folder."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(folder: Path) -> subprocess.CompletedProcess:
    """Run the quickstart into `folder`/out; modules in `folder` are found before the installed ones."""
    path = os.pathsep.join([str(folder), str(ROOT)])
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": path}
    command = [sys.executable, str(ROOT / "examples/quickstart.py"), "--quick", "--output", str(folder / "out")]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace")


def test_everything_is_written_and_agrees(tmp_path):
    ended = run(tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    out = tmp_path / "out"
    assert sorted(os.listdir(tmp_path)) == ["out"]
    assert sorted(os.listdir(out)) == ["metrics.json", "model.keras", "quickstart.png", "saved_model"]
    assert (out / "saved_model/saved_model.pb").is_file()
    assert (out / "saved_model/variables/variables.index").is_file()

    header = (out / "quickstart.png").read_bytes()[:24]
    assert header[:16] == b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
    width, height = struct.unpack(">2I", header[16:])
    assert width >= 1500 and height >= 1000

    numbers = json.loads((out / "metrics.json").read_text())
    assert sorted(numbers["reconstruction_error"]) == ["astronaut", "retina"]
    assert max(numbers["reconstruction_error"].values()) < 1e-5
    for name in ("reload_difference", "answer_difference", "gradient_difference"):
        assert numbers[name] <= 1e-5, name
    assert numbers["kernel_change"] > 0


@pytest.mark.parametrize("package", ["tqdm", "matplotlib"])  # Of the script itself, and of what draws its figure.
def test_a_missing_package_is_named(package, tmp_path):
    (tmp_path / f"{package}.py").write_text(f"raise ImportError(\"No module named '{package}'\")\n")
    ended = run(tmp_path)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    (line,) = ended.stderr.splitlines()
    assert f"No module named '{package}'" in line and "pip install 'tfpyramid[examples]'" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("tqdm", ["raise KeyboardInterrupt", "def tqdm(**_): raise KeyboardInterrupt"])
def test_an_interrupt_is_no_traceback(tqdm, tmp_path):
    """While the script imports, and while it runs."""
    (tmp_path / "tqdm.py").write_text(tqdm)
    ended = run(tmp_path)
    assert ended.returncode == 130
    assert ended.stderr.splitlines() == ["quickstart: interrupted"]
