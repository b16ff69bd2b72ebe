"""The benchmark of routing: that contenders compute the same, and that it writes a table."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import bench_routing as bench  # noqa: E402
import routing_works as works  # noqa: E402


@pytest.mark.slow
@pytest.mark.parametrize("mode", bench.MODES)
def test_the_router_and_the_cascade_compute_what_the_encoders_alone_compute(mode):
    for work in bench.WORKS:
        alone = [y for part in works.call(work, mode, 8, works.ALONE)() for y in np.asarray(part)]
        ours = works.call(work, mode, 8)()
        features, chosen = (ours[0], np.argmax(ours[1], axis=1)) if work == "cascade" else (ours, works.LEVELS)
        np.testing.assert_array_equal(chosen, works.LEVELS)
        distances = np.abs(np.asarray(features)[:, None] - np.array(alone)[None]).max(axis=2)
        assert np.all(distances.min(axis=1) < 1e-5)
    finest = works.call("router", mode, 8, works.FINEST)()
    np.testing.assert_allclose(features[-1], finest[-1], atol=1e-5)


@pytest.mark.slow
def test_it_writes_results_and_a_table(tmp_path, monkeypatch):
    options = ["--quick", "--only", "cascade-graph-2", "--before", str(ROOT), "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["bench_routing.py", *options])
    bench.main()
    written = json.loads((tmp_path / "results/routing.json").read_text())["results"]
    assert {r["contender"] for r in written} == {works.OURS, works.ALONE, works.FINEST, bench.BEFORE}
    assert all(0 < r["low"] <= r["median"] <= r["high"] for r in written)
    assert len((tmp_path / "README.md").read_text().splitlines()) == 2 + 2 + 1
