"""The benchmark of many images and of a large one: that its numbers are of what they say, and that it runs."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import bench_scale as bench  # noqa: E402


@pytest.mark.slow
def test_pixels_are_those_of_the_files(tmp_path):
    plan = bench.Plan(few=3, many=9, shared=2, mask=(70, 50), rounds=1)
    bench.make_files(tmp_path, plan)
    seconds, pixels = bench.train(bench.Task("training", 9), tmp_path, tmp_path / "output")
    assert seconds > 0 and pixels == 9 * 96 * 96
    files = bench.files(bench.Task("inference", 7), tmp_path)
    read = [tuple(tf.io.decode_png(path.read_bytes()).shape[:2]) for path in files]
    assert read == [bench.SIDES[k % 4] for k in range(7)]
    mask = np.load(tmp_path / "mask.npy")
    # Neither all land nor all sea.
    assert mask.shape == (70, 50) and 0.05 < mask.mean() < 0.95
    for work in (bench.copy, bench.write_pyramid):
        seconds, pixels = work(bench.Task("mask"), tmp_path, tmp_path / work.__name__)
        assert seconds > 0 and pixels == 70 * 50
    assert (bench.zarr.open_array(str(tmp_path / "copy"))[:] == mask).all()
    assert (bench.zarr.open_array(str(tmp_path / "write_pyramid" / "0"))[:] == mask).all()


def cost(work, seconds, images=0, workers=1, threads=0, pixels=10**9, peak=700.0):
    values = {"low": seconds - 1, "median": seconds, "high": seconds + 1}
    peaks = {"low": peak, "median": peak, "high": peak}
    task = bench.Task(work, images, workers, threads)
    return {**task._asdict(), "pixels": pixels, "seconds": values, "peak": peaks}


def test_tables_have_nanoseconds_and_ratios():
    rows = [cost("training", 5, 100), cost("training", 60, 1000, pixels=10**10), cost("inference", 2, 100)]
    rows += [cost("inference", 20, 1000, pixels=10**10), cost("workers", 9, 50), cost("workers", 6, 50, workers=2)]
    rows += [cost("workers", 8, 50, workers=count, threads=1) for count in (1, 2)]
    rows += [cost("bytes", 4), cost("pyramid", 10, peak=800.0)]
    text = bench.markdown({"mask": [70, 50], "results": rows})
    assert "| training, from files | 5.0 (4.0 to 6.0) | 6.0 (5.9 to 6.1) | 1.20 | 700 (700 to 700) |" in text
    assert "| inference, `PredictImages` | 2.0 (1.0 to 3.0) | 2.0 (1.9 to 2.1) | 1.00 |" in text
    assert "| 2 | all | 6.0 (5.0 to 7.0) | 1.50 |" in text and "| 2 | 1 | 8.0 (7.0 to 9.0) | 1.00 |" in text
    assert "| its pyramid, `write_ome_zarr` | 10.0 (9.0 to 11.0) | 2.50 | 800 (800 to 800) |" in text
