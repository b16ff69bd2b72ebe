"""The benchmark of sampling: that contenders compute the same, and that it writes what it measured."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import bench_sampling as bench  # noqa: E402

IMAGES = np.random.default_rng(0).random([2, 33, 36, 3], dtype=np.float32)
POINTS = [bench.random_points, bench.smooth_points]


def channels_last(made, name):
    return made.detach().numpy().transpose(0, 2, 3, 1) if name == bench.TORCH else made


@pytest.mark.parametrize("points_of", POINTS)
def test_contenders_have_the_same_samples(points_of):
    made = {name: ask() for name, ask in bench.forward(IMAGES, points_of)}
    assert {bench.OURS, bench.COMPILED, bench.PLAIN, bench.OPENCV} <= set(made)
    for name, samples in made.items():
        # OpenCV may read at multiples of 1/32 of a pixel.
        tolerance = 0.05 if name == bench.OPENCV else 1e-4
        np.testing.assert_allclose(channels_last(samples, name), made[bench.OURS], atol=tolerance, err_msg=name)


@pytest.mark.parametrize("points_of", POINTS)
def test_contenders_have_the_same_gradients(points_of):
    made = {name: ask() for name, ask in bench.and_gradients(IMAGES, points_of)}
    ours = made.pop(bench.OURS)
    assert {bench.COMPILED, bench.PLAIN} <= set(made)
    for name, (samples, to_images, to_points) in made.items():
        if name == bench.TORCH:
            to_points = to_points.numpy()[..., ::-1] * 2 / (np.float32(IMAGES.shape[1:3]) - 1)
        for part, expected in zip((samples, to_images), ours):
            np.testing.assert_allclose(channels_last(part, name), expected, atol=1e-3, err_msg=name)
        np.testing.assert_allclose(to_points, ours[2], atol=1e-3, err_msg=name)


@pytest.mark.parametrize("gradients", [False, True])
def test_contenders_look_up_the_same_costs(gradients):
    maps = np.random.default_rng(0).random([1, 6, 8, 3], dtype=np.float32)
    made = {name: ask() for name, ask in bench.looking_up(maps, gradients=gradients)}
    assert set(made) >= {bench.LOOKUP, bench.COMPILED, bench.WARP, bench.PLAIN}
    made = {name: y if isinstance(y, list) else [y] for name, y in made.items() if name != bench.WARP}
    if bench.TORCH in made:
        made[bench.TORCH] = [*(channels_last(part, bench.TORCH) for part in made[bench.TORCH][:3])]
    ours = made.pop(bench.LOOKUP)
    for name, parts in made.items():
        for part, expected in zip(parts[:3], ours):  # The third argument is a flow, points or windows of points.
            np.testing.assert_allclose(part, expected, atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_it_writes_results_and_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["bench_sampling.py", "--quick", "--only", "random", "--output", str(tmp_path)])
    bench.main()
    written = json.loads((tmp_path / "results/sampling.json").read_text())
    assert {(r["work"], r["contender"]) for r in written["results"]} >= {("random", bench.OURS)}
    assert all(r["low"] <= r["median"] <= r["high"] for r in written["results"])
    assert "Points at random, ms" in (tmp_path / "README.md").read_text()
