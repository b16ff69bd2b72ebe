"""The benchmark of the remedies for gradients between levels runs."""

import json
import os

import pytest

from tests.benchmarks.test_benchmarks import call


@pytest.mark.slow
def test_every_remedy_has_a_row(tmp_path):
    ended = call("bench_flow.py", "--quick", "--output", str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    runs = json.loads((tmp_path / "results/flow.json").read_text())["runs"]
    table = (tmp_path / "README.md").read_text()
    assert len(runs) == 6 and all(f"| {run['remedy']} |" in table for run in runs)
    assert all(run["ratio"] >= 1 and len(run["log10_norms"][0]) == 3 for run in runs)
    assert "flow_gradients.png" in os.listdir(tmp_path)
