"""The benchmark of pyramids: that contenders compute the same, and that it writes what it measured."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import bench_pyramids as bench  # noqa: E402

IMAGES = np.random.default_rng(0).random([2, 33, 36, 3], dtype=np.float32)


def levels(name, result):
    """Return what a contender of "gaussian" made, as [batch, height, width, channels]."""
    if "OpenCV" in name:
        return [np.stack(images) for images in zip(*result)]
    return [level.numpy() if "torch" not in name else level.numpy().transpose(0, 2, 3, 1) for level in result]


def test_contenders_make_the_same_pyramid():
    made = {
        name: levels(name, ask()) for name, ask in bench.gaussian(IMAGES) if name.startswith(("tf", "Te", "Op", "to"))
    }
    assert {bench.OURS, bench.COMPILED, bench.PLAIN, "OpenCV `pyrDown`"} <= set(made)
    for name, result in made.items():
        assert len(result) == bench.LEVELS
        for level, expected in zip(result, made[bench.OURS]):
            np.testing.assert_allclose(level, expected, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("work", ["gaussian_and_gradient", "blur_pool"])
@pytest.mark.slow
def test_contenders_have_the_same_gradient(work):
    made = {name: ask()[-1] for name, ask in getattr(bench, work)(IMAGES)}
    ours = made.pop(bench.OURS)
    assert bench.PLAIN in made
    for name, gradient in made.items():
        gradient = gradient.numpy().transpose(0, 2, 3, 1) if "torch" in name else gradient
        np.testing.assert_allclose(gradient, ours, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_it_writes_results_and_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["bench_pyramids.py", "--quick", "--only", "laplacian", "--output", str(tmp_path)])
    bench.main()
    written = json.loads((tmp_path / "results/pyramids.json").read_text())
    assert {(r["work"], r["contender"]) for r in written["results"]} >= {("laplacian", bench.OURS)}
    assert all(r["low"] <= r["median"] <= r["high"] for r in written["results"])
    assert "Laplacian pyramid and inverse, ms" in (tmp_path / "README.md").read_text()
