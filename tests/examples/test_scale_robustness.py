"""The example on scale robustness, run as a newcomer runs it: by its path, from some other folder."""

import gzip
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
CONTENDERS = ["network alone", "pyramid, logsumexp", "max", "mean"]


def run(folder: Path, *options: str) -> subprocess.CompletedProcess:
    """Run the example, quickly, into `folder`/out; modules in `folder` are found before the installed ones."""
    path = os.pathsep.join([str(folder), str(ROOT)])
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": path}
    command = [sys.executable, str(ROOT / "examples/scale_robustness.py"), "--quick", "--output", "out", *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace")


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + array.tobytes()))


def test_every_size_is_measured_and_drawn(tmp_path):
    """On a folder like Debian's dataset-fashion-mnist, but of noise."""
    data = tmp_path / "data"
    data.mkdir()
    rng = np.random.default_rng(0)
    for part, count in (("train", 60), ("t10k", 20)):
        write_idx(data / f"{part}-images-idx3-ubyte.gz", rng.integers(256, size=(count, 28, 28), dtype=np.uint8))
        write_idx(data / f"{part}-labels-idx1-ubyte.gz", rng.integers(10, size=count, dtype=np.uint8))
    ended = run(tmp_path, "--data", "data", "--split", "validation")
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert sorted(os.listdir(tmp_path / "out")) == ["metrics.json", "scale_robustness.png"]

    header = (tmp_path / "out/scale_robustness.png").read_bytes()[:24]
    assert header[:16] == b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
    width, height = struct.unpack(">2I", header[16:])
    assert width >= 1000 and height >= 600

    numbers = json.loads((tmp_path / "out/metrics.json").read_text())
    assert numbers["split"] == "validation"
    (measured,) = numbers["runs"]
    assert list(measured["sizes"]) == list(numbers["bands"]) == CONTENDERS
    assert len(set(measured["parameters"].values())) == 1
    for name in CONTENDERS:
        sizes = measured["sizes"][name]
        assert list(map(int, sizes)) == list(range(14, 57, 2))
        for band, each in numbers["bands"][name].items():
            first, last = map(int, band.split("-"))
            mean = np.mean([sizes[str(size)] for size in range(first, last + 1, 2)])
            assert each["mean"] == pytest.approx(mean, abs=0.01) and len(each["seeds"]) == 1
        assert name in ended.stdout


def test_what_is_no_data_set_is_named(tmp_path):
    ended = run(tmp_path, "--data", "nowhere")
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "nowhere" in ended.stderr and "`--data` names a folder" in ended.stderr
    assert not (tmp_path / "out").exists()


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
    assert ended.stderr.splitlines() == ["scale_robustness: interrupted"]
