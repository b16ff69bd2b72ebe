"""The benchmark for GPUs, on a CPU: that contenders compute the same, and that it says what it measured."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import bench_device as bench  # noqa: E402

IMAGES = np.random.default_rng(0).random([2, 33, 36, 3], dtype=np.float32)
TOLERANCES = {"float32": 1e-5, "mixed_float16": 2e-2}


@pytest.mark.parametrize("policy", TOLERANCES)
@pytest.mark.parametrize("task", ["gradient", "blur", "warp"])
@pytest.mark.slow
def test_contenders_in_plain_tensorflow_have_the_same_outputs_and_gradients(task: str, policy: str):
    made = {name: call() for name, call in bench.contenders(bench.TASKS[task], policy, IMAGES)}
    assert {bench.OURS, f"{bench.OURS}, XLA", bench.PLAIN} <= set(made)
    for name in (f"{bench.OURS}, XLA", bench.PLAIN):
        assert len(made[name]) == len(made[bench.OURS]) > 1
        for value, expected in zip(made[name], made[bench.OURS]):
            assert value.dtype == expected.dtype
            scale = float(tf.reduce_max(tf.abs(expected)))
            np.testing.assert_allclose(value, expected, atol=TOLERANCES[policy] * scale, err_msg=name)


@pytest.mark.parametrize("task", ["pyramid", "concat"])
def test_contenders_in_keras_have_outputs_of_the_same_shape(task: str):
    made = {name: call() for name, call in bench.contenders(bench.TASKS[task], "mixed_float16", IMAGES)}
    (name,) = [name for name in made if name.startswith(bench.KERAS)]
    assert [y.shape for y in made[name]] == [y.shape for y in made[bench.OURS]]


@pytest.mark.slow
def test_it_says_that_there_is_no_gpu(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["bench_device.py", "--quick", "--only", "blur-mixed_float16", "--output", str(tmp_path)]
    )
    bench.main()
    assert "TensorFlow found no GPU, so this run measures the CPU" in capsys.readouterr().err
    written = json.loads((tmp_path / "results/device.json").read_text())
    assert "gpus" not in written["environment"]
    assert {r["contender"] for r in written["results"]} >= {bench.OURS, bench.PLAIN, "Keras, `AveragePooling2D`"}
    assert "Blur by 2 and gradients, mixed_float16, CPU, no GPU found, ms" in (tmp_path / "README.md").read_text()


def test_the_tables_name_the_gpu(monkeypatch):
    monkeypatch.setattr(bench.common, "gpus", lambda: ["Some GPU"])
    assert bench.works()["warp-float32"].title == "Smooth warp and gradients, float32, Some GPU"
    names = [name for name, _ in bench.contenders(bench.TASKS["concat"], "float32", IMAGES)]
    assert names == [bench.OURS, f"{bench.OURS}, XLA", bench.KERAS, f"{bench.KERAS}, XLA"]
