"""The benchmark of small work: that contenders compute the same, that nodes are counted, and that it writes a table."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import bench_small as bench  # noqa: E402
import small_process  # noqa: E402
import small_segmenters  # noqa: E402
import small_works  # noqa: E402


def both(pyramid, mode, shape):
    ours, plain = (small_works.call(pyramid, mode, shape, plain=plain)() for plain in (False, True))
    return tf.nest.flatten(ours), tf.nest.flatten(plain)


@pytest.mark.parametrize("mode", ["eager", "forward", "gradient"])
@pytest.mark.parametrize("pyramid", ["layer", "gaussian", "inverse"])
def test_contenders_compute_the_same(pyramid, mode):
    ours, plain = both(pyramid, mode, (2, 64, 49, 3))
    assert len(ours) == len(plain)
    for level, expected in zip(ours, plain):
        np.testing.assert_allclose(level, expected, atol=1e-4)


@pytest.mark.parametrize("size, known", [((48, 64), True), ((49, 33), False)])
def test_contenders_have_the_same_laplacian_pyramid(size, known):
    images = np.random.default_rng(0).random((2, *size, 3), np.float32)
    for function in small_works.PYRAMIDS["laplacian"]:
        spec = tf.TensorSpec(images.shape if known else [None, None, None, 3])
        levels = tf.function(function(3), [spec], autograph=False)(images)
        if function is small_works.our_laplacian:
            ours = levels
    for level, expected in zip(ours, levels):
        np.testing.assert_allclose(level, expected, atol=1e-5)


def test_pyramids_at_the_root_of_two_have_the_same_sides():
    ours, plain = (make(3)(tf.ones([1, 100, 71, 3])) for make in small_works.PYRAMIDS["root"])
    assert [level.shape for level in ours] == [level.shape for level in plain]


def test_nodes_of_a_function_count_once():
    @tf.function
    def inner(x):
        return tf.nn.relu(x)

    def outer(x):
        return inner(x) + inner(x)

    spec = tf.TensorSpec([None])
    graph = tf.function(outer).get_concrete_function(spec).graph.as_graph_def()
    assert [node.op for node in graph.node] == ["Placeholder", *2 * ["PartitionedCall"], "AddV2", "Identity"]
    assert small_process.nodes(graph) == 5 + 2  # A Relu and an Identity; arguments of functions are no nodes.


def test_the_plain_unet_has_twice_the_weights():
    segmenter, unet = small_segmenters.models.pyramid_segmenter(small_segmenters.CLASSES), small_segmenters.plain_unet()
    assert 2 * segmenter.count_params() <= unet.count_params() < 2.5 * segmenter.count_params()
    assert unet(tf.ones([1, 16, 24, 3])).shape == segmenter(tf.ones([1, 16, 24, 3])).shape


def test_what_misses_its_target_is_said():
    results = [
        {"row": row, "contender": contender, "median": median, "low": median, "high": median}
        for row, contender, median in (
            ("fit", bench.OURS, 3.0),
            ("fit", bench.PLAIN, 2.0),
            ("nodes-gaussian", bench.OURS, 400),
            ("forward-1x1080x1920x3", bench.OURS, 5.0),
            ("forward-1x1080x1920x3", bench.BEFORE, 4.0),
        )
    ]
    fit, count, large = bench.markdown(results).splitlines()[2:]
    assert "| 1.50 | **0.8: missed** |" in fit and "| 500 |" in count
    assert "| **1 of before: missed** | 4 | 1.25 |" in large


def test_a_process_that_fails_says_why():
    with pytest.raises(RuntimeError, match="(?s)ended without an answer.*No module named 'nowhere'"):
        small_process.ask(ROOT, measure="imported", module="nowhere")


@pytest.mark.slow
def test_it_writes_results_and_a_table(tmp_path, monkeypatch):
    rows = ["nodes-gaussian", "eager-1x32x32x3", "import-tfpyramid.ops", "fit"]
    options = [option for row in rows for option in ("--only", row)]
    monkeypatch.setattr(
        sys, "argv", ["bench_small.py", "--quick", *options, "--before", str(ROOT), "--output", str(tmp_path)]
    )
    bench.main()
    written = json.loads((tmp_path / "results/small.json").read_text())["results"]
    everyone, ours = {bench.OURS, bench.PLAIN, bench.BEFORE}, {bench.OURS, bench.BEFORE}
    for row in rows:
        assert {r["contender"] for r in written if r["row"] == row} == (ours if "import" in row else everyone)
    assert all(0 < r["low"] <= r["median"] <= r["high"] for r in written)
    assert len((tmp_path / "README.md").read_text().splitlines()) == 2 + 2 + len(rows)
