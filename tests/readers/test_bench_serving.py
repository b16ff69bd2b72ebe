"""The benchmark runs, and measures both servers."""

import json
import subprocess
import sys

from tests.readers import runtimes


def test_both_servers_are_measured(tmp_path):
    program = runtimes.ROOT / "benchmarks" / "bench_serving.py"
    command = [sys.executable, str(program), "--quick", "--output", str(tmp_path)]
    ended = subprocess.run(command, env=runtimes.QUIET, capture_output=True, text=True, timeout=1800)
    assert ended.returncode == 0, ended.stderr[-2000:]
    results = json.loads((tmp_path / "results/serving.json").read_text())["results"]
    assert [row["server"] for row in results] == ["gRPC", "REST"]
    assert all(row["requests"] > 0 and row["errors"] == [] for row in results)
    assert (tmp_path / "serving.png").read_bytes().startswith(b"\x89PNG")
    assert "| gRPC |" in (tmp_path / "README.md").read_text()
