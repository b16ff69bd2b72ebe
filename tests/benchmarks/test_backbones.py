"""The benchmark of backbones runs."""

import json

import pytest

from tests.benchmarks.test_benchmarks import call


@pytest.mark.slow
def test_a_backbone_has_a_row(tmp_path):
    ended = call("bench_backbones.py", "--quick", "--output", str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    (run,) = json.loads((tmp_path / "results/backbones.json").read_text())["families"]
    assert run["sizes"] == {"64 × 64": [[16, 16], [8, 8], [4, 4], [2, 2]]}
    assert "| `MobileNet` | unknown | 128, 256, 512, 1024 | 16, 8, 4, 2 |" in (tmp_path / "README.md").read_text()
