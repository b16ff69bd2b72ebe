"""The example on scale robustness."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.examples import script

CONTENDERS = ["network alone", "pyramid, logsumexp", "early exit", "max", "mean"]


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + array.tobytes()))


@pytest.mark.slow
def test_every_size_is_measured_and_drawn(tmp_path):
    """On a folder like Debian's dataset-fashion-mnist, but of noise."""
    data = tmp_path / "data"
    data.mkdir()
    rng = np.random.default_rng(0)
    for part, count in (("train", 60), ("t10k", 20)):
        write_idx(data / f"{part}-images-idx3-ubyte.gz", rng.integers(256, size=(count, 28, 28), dtype=np.uint8))
        write_idx(data / f"{part}-labels-idx1-ubyte.gz", rng.integers(10, size=count, dtype=np.uint8))
    ended = script.run("scale_robustness", tmp_path, "--data", "data", "--split", "validation")
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert sorted(os.listdir(tmp_path / "out")) == ["metrics.json", "scale_robustness.png"]

    width, height = script.size_of_png(tmp_path / "out/scale_robustness.png")
    assert width >= 1000 and height >= 600

    numbers = json.loads((tmp_path / "out/metrics.json").read_text())
    assert numbers["split"] == "validation"
    (measured,) = numbers["runs"]
    assert list(measured["sizes"]) == CONTENDERS and list(numbers["bands"]) == [*CONTENDERS, "pixels"]
    alone, pyramid, early = (measured["parameters"][name] for name in CONTENDERS[:3])
    assert alone == pyramid < early
    assert len(measured["calibration_errors"]) == 6 and list(measured["milliseconds"]) == CONTENDERS[:3]
    assert all(0.25 <= each <= 7.75 for each in measured["pixels"].values())
    for name in CONTENDERS:
        sizes = measured["sizes"][name]
        assert list(map(int, sizes)) == list(range(14, 57, 2))
        for band, each in numbers["bands"][name].items():
            first, last = map(int, band.split("-"))
            mean = np.mean([sizes[str(size)] for size in range(first, last + 1, 2)])
            assert each["mean"] == pytest.approx(mean, abs=0.01) and len(each["seeds"]) == 1
        assert name in ended.stdout


@pytest.mark.slow
def test_what_is_no_data_set_is_named(tmp_path):
    ended = script.run("scale_robustness", tmp_path, "--data", "nowhere")
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "nowhere" in ended.stderr and "name their folder with `--data`" in ended.stderr
    assert not (tmp_path / "out").exists()
