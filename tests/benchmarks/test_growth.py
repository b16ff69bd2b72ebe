"""The benchmark of growth: that the exponent and the memory are right where they are known, and that it runs."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import bench_growth as bench  # noqa: E402
import growth_report as report  # noqa: E402
import memory  # noqa: E402

SHAPE = (1, 1024, 1280, 3)
SIZE = 4 * int(np.prod(SHAPE))


def turned_and_the_images(images):
    """Needs its output and something in between; the images are there already."""
    return [images, tf.reverse(tf.reverse(images, [1]), [2])]


@pytest.mark.skipif(not memory.measured_here(), reason="only the kernel of Linux tells the peak of a process")
@pytest.mark.slow
def test_memory_is_what_is_known_to_be_needed():
    (found,) = memory.peaks([memory.Call(turned_and_the_images, [SHAPE], [bench.TINY])])
    assert (found.images, found.outputs) == (SIZE, SIZE)
    assert found.taken == pytest.approx(2 * SIZE, rel=0.1)
    assert found.above == pytest.approx(1, abs=0.2)


def rows(measure, power, sides=(8, 16, 32, 64), **sizes):
    return [
        {"measure": measure, "work": work, "by": report.OURS, "shape": [1, side, side, 3], "median": 3 * side**power}
        | sizes
        for work in report.TITLES
        for side in sides
    ]


def test_exponent_is_that_of_a_power_without_error():
    pixels = [2.0**k for k in range(20, 27, 2)]
    exponent, error = report.fit(pixels, [7e-6 * p**1.25 for p in pixels])
    assert exponent == pytest.approx(1.25) and error == pytest.approx(0, abs=1e-6)


def test_error_of_the_exponent_is_that_of_a_regression():
    x, noise = np.arange(6.0), np.array([0.1, -0.2, 0.1, 0.0, 0.15, -0.1])
    y = 2 + 0.9 * x + noise
    design = np.stack([x, np.ones(6)], axis=1)
    solution = np.linalg.inv(design.T @ design) @ design.T @ y
    variance = ((y - design @ solution) ** 2).sum() / 4 * np.linalg.inv(design.T @ design)[0, 0]
    assert report.fit(np.exp(x), np.exp(y)) == pytest.approx((solution[0], variance**0.5))


@pytest.mark.parametrize("pixels, values", [([1, 4], [1, 4]), ([1, 4, 16], [1, 4])])
def test_what_no_error_can_be_told_of_is_refused(pixels, values):
    with pytest.raises(
        ValueError, match=r"`pixels` and `values` must have the same length.* Received: \d pixels and 2"
    ):
        report.fit(pixels, values)


def test_small_squares_and_batches_are_not_fitted():
    found = rows("time", 2) + rows("time", 7, sides=(4,))
    found += [{**row, "shape": [9, 16, 16, 3]} for row in rows("time", 5)]
    for each in report.exponents(found, 8):
        assert (each["from"], each["to"], each["exponent"], each["error"]) == (8, 64, 1, 0)
    assert report.exponents(rows("time", 2), 32) == []


def test_what_is_not_measured_has_a_line():
    found = rows("time", 2)
    skipped = [{"measure": "memory", "work": "gaussian", "shape": [1, 9, 9, 3], "why": "too large"}]
    results = {"results": found, "exponents": report.exponents(found, 8), "skipped": skipped}
    text = report.markdown(results)
    assert "| Gaussian pyramid | 192 | 768 | 3072 | 12288 | 1.000 ± 0.000 |" in text.replace(".0 |", " |")
    assert text.endswith("Not measured: memory of Gaussian pyramid, 1 × 9 × 9 × 3: too large.")
    assert "not measured" in [text.get_text() for text in report.figure(results).axes[1].texts]


def test_what_does_not_fit_is_skipped(monkeypatch):
    task = bench.Task("time", (1, 1024, 1024, 3))
    monkeypatch.setattr(memory, "available", lambda: 2**27)
    assert bench.reason_to_skip(task) == "needs up to 0.1 GiB, and 0.1 are free"
    monkeypatch.setattr(memory, "available", lambda: None)
    assert not bench.reason_to_skip(task)
    monkeypatch.setattr(memory, "measured_here", lambda: False)
    assert "Linux" in bench.reason_to_skip(task._replace(measure="memory"))


@pytest.mark.slow
def test_it_writes_results_tables_and_a_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["bench_growth.py", "--quick", "--output", str(tmp_path)])
    bench.main()
    found = json.loads((tmp_path / "results/growth.json").read_text())["results"]
    assert {row["work"] for row in found if row["measure"] == "time"} == set(report.TITLES)
    assert all(row["low"] <= row["median"] <= row["high"] for row in found)
    if memory.measured_here():
        assert {row["by"] for row in found if row["measure"] == "memory"} == {bench.OURS, bench.PLAIN}
    assert "| Time of one square, ms | 32² |" in (tmp_path / "README.md").read_text()
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
