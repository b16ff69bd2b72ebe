"""The benchmarks on garments: that they run, and what they do to images."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import garments

ROOT = Path(__file__).parents[2]
EVERY_DOWNSAMPLER = {
    "AntiAliasedDownsample2D",
    "BilinearDownsample2D",
    "BlurPool2D",
    "ChannelAdaptiveDownsample2D",
    "ContentAdaptiveDownsample2D",
    "LearnableDownsample2D",
    "LearnableStrideConv2D",
    "SpatialTransformerDownsample2D",
    "SpectralDownsample2D",
}


def call(script: str, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "benchmarks" / script), *options]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + array.tobytes()))


@pytest.fixture
def data_set(tmp_path):
    """A folder like Debian's dataset-fashion-mnist, but of noise."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "data"
    folder.mkdir()
    for split, count in (("train", 40), ("t10k", 20)):
        write_idx(folder / f"{split}-images-idx3-ubyte.gz", rng.integers(256, size=(count, 28, 28), dtype=np.uint8))
        write_idx(folder / f"{split}-labels-idx1-ubyte.gz", rng.integers(10, size=count, dtype=np.uint8))
    return folder


@pytest.mark.slow
def test_every_downsampler_has_a_row_and_an_interrupted_run_goes_on(tmp_path, data_set):
    path = tmp_path / "results/downsampling.json"

    def table(*options: str) -> dict[str, list[str]]:
        ended = call("bench_downsampling.py", "--quick", "--output", str(tmp_path), *options)
        assert ended.returncode == 0, ended.stderr
        lines = (tmp_path / "README.md").read_text().splitlines()[3:-1]
        rows = [line.strip("| ").split(" | ") for line in lines]
        return {name: cells for name, *cells in rows}

    rows = table()
    assert [name.replace("`", "") for name in rows] == [
        run["downsampler"] for run in json.loads(path.read_text())["runs"]
    ]
    assert EVERY_DOWNSAMPLER < {name.split("`")[1] for name in rows}
    assert all(float(cell.split(" ± ")[0]) >= 0 for cells in rows.values() for cell in cells)

    results = json.loads(path.read_text())
    results["runs"] = [run for run in results["runs"] if run["downsampler"] != "MaxPooling2D"]
    for run in results["runs"]:
        run["clean"] = 12.3  # Stays only where nothing is trained again.
    path.write_text(json.dumps(results))
    again = table("--data", str(data_set), "--only", "MaxPooling2D", "--only", "BlurPool2D")
    assert list(again) == list(rows)
    assert {name for name in again if again[name][0] != "12.3 ± 0.0"} == {"`MaxPooling2D`"}


@pytest.mark.slow
def test_strides_are_fixed_or_learned(tmp_path):
    ended = call("bench_strides.py", "--quick", "--output", str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    assert "| fixed at 2.2 |" in (tmp_path / "README.md").read_text()
    assert (tmp_path / "strides.png").read_bytes().startswith(b"\x89PNG")
    for run in json.loads((tmp_path / "results/strides.json").read_text())["runs"]:
        first, last = run["history"][0], run["history"][-1]
        assert (first == last) == run["strides"].startswith("fixed"), run["strides"]


def test_images_are_placed_where_it_says():
    images = np.random.default_rng(0).random((5, 28, 28)).astype(np.float32)
    corners = np.array([[0, 0], [8, 8], [3, 5], [3, 5], [8, 1]])
    placed = garments.place(images, 36, corners)
    assert placed.shape == (5, 36, 36, 1)
    for image, canvas, (y, x) in zip(images, placed[..., 0], corners):
        np.testing.assert_array_equal(canvas, np.pad(image, [(y, 8 - y), (x, 8 - x)]))


def test_shifts_reach_the_border_and_are_the_same_for_one_seed():
    dots = np.ones((400, 28, 28), np.float32)
    first = garments.shifted(dots, 36, seed=1)
    corners = {tuple(np.argwhere(canvas[..., 0])[0]) for canvas in first}
    assert {y for y, _ in corners} == {x for _, x in corners} == set(range(9))
    np.testing.assert_array_equal(first, garments.shifted(dots, 36, seed=1))
    assert (first != garments.shifted(dots, 36, seed=2)).any()


def test_an_idx_file_is_read_and_another_is_refused(tmp_path):
    array = np.random.default_rng(0).integers(256, size=(3, 28, 28), dtype=np.uint8)
    write_idx(tmp_path / "good.gz", array)
    np.testing.assert_array_equal(garments.read_idx(tmp_path / "good.gz"), array)
    (tmp_path / "bad.gz").write_bytes(gzip.compress(b"\0\0\x0d\1" + bytes(8)))
    with pytest.raises(ValueError, match="must be an idx file of unsigned bytes. Received: path="):
        garments.read_idx(tmp_path / "bad.gz")
