"""The example on optical flow: its pairs, and the whole of it."""

import json
import os
import sys

import numpy as np
import pytest

from tests.examples import script
from tfpyramid import ops

sys.path.append(str(script.ROOT / "examples"))

import optical_flow_data as made  # noqa: E402


@pytest.fixture(scope="module")
def pairs():
    return made.pairs(made.copies(("coins", "moon"), 64), 6, 64, np.random.default_rng(0))


def test_the_second_image_warped_by_the_flow_is_the_first_where_nothing_is_hidden(pairs):
    warped = ops.warp(pairs.second, pairs.flow, border="edge").numpy()
    before, after = (np.abs(image - pairs.first).mean(-1)[~pairs.hidden] for image in (pairs.second, warped))
    assert np.median(after) < 0.02 and after.mean() < 0.3 * before.mean()
    assert 0.02 < pairs.hidden.mean() < 0.5


def test_a_pair_that_is_turned_keeps_its_flow(pairs):
    turned = made.turned(pairs, 64, np.random.default_rng(1))
    warped = ops.warp(turned.second, turned.flow, border="edge").numpy()
    expected = ops.warp(pairs.second, pairs.flow, border="edge").numpy()
    errors, expected = (np.abs(x - y).mean((1, 2, 3)) for x, y in ((warped, turned.first), (expected, pairs.first)))
    np.testing.assert_allclose(errors, expected, rtol=0.05)
    np.testing.assert_array_equal(turned.hidden.sum((1, 2)), pairs.hidden.sum((1, 2)))
    crop = made.turned(pairs, 40, np.random.default_rng(1))
    y, x = np.mgrid[:40, :40]
    outside = ((np.stack([x, y], -1) + crop.flow < 0) | (np.stack([x, y], -1) + crop.flow > 39)).any(-1)
    assert crop.hidden[outside].all() and crop.hidden.mean() > pairs.hidden.mean()


def test_the_motorcycle_moves_to_the_left():
    first, second, flow = made.motorcycle(4)
    known = np.isfinite(flow[..., 0])
    assert 0.8 < known.mean() < 1 and flow[known].max() <= 0 and -15.5 < flow[known].min() < -14
    warped = ops.warp(second[None], np.nan_to_num(flow)[None], border="edge")[0].numpy()
    before, after = (np.abs(image - first).mean(-1)[known].mean() for image in (second, warped))
    assert after < 0.5 * before


@pytest.mark.slow
def test_every_contender_is_measured_and_drawn(tmp_path):
    ended = script.run("optical_flow", tmp_path, "--split", "validation")
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    written = ["metrics.json", "optical_flow.png", "saved_model", "weights_0_0.npz", "weights_0_1.npz"]
    assert sorted(os.listdir(tmp_path / "out")) == written
    width, height = script.size_of_png(tmp_path / "out/optical_flow.png")
    assert width >= 1000 and height >= 600
    numbers = json.loads((tmp_path / "out/metrics.json").read_text())
    assert numbers["split"] == "validation"
    assert list(numbers["table"]) == ["made pairs", "motorcycle, 1/4"]
    for scene, rows in numbers["table"].items():
        assert list(rows) == ["no flow", "DIS", "Farneback", "TV-L1", "pyramid_flow"]
        assert scene in ended.stdout and all(name in ended.stdout for name in rows)
        assert rows["DIS"]["error"][0] < rows["no flow"]["error"][0]
