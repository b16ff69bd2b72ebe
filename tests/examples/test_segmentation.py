"""The example on segmentation."""

import json
import os
import sys

import numpy as np
import pytest

from tests.examples import script

ONE = [f"one level, stride {stride}" for stride in (2, 4, 8, 16)]
BANDS = ["14-18", "19-26", "27-35", "36-48"]


@pytest.mark.slow
def test_every_decoder_is_measured_at_every_size_and_drawn(tmp_path):
    ended = script.run("segmentation", tmp_path, "--split", "validation")
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert sorted(os.listdir(tmp_path / "out")) == ["metrics.json", "segmentation.png"]
    width, height = script.size_of_png(tmp_path / "out/segmentation.png")
    assert width >= 800 and height >= 1000

    numbers = json.loads((tmp_path / "out/metrics.json").read_text())
    assert numbers["split"] == "validation" and numbers["quick"]
    (run,) = numbers["runs"]
    assert list(numbers["table"]) == [*ONE, "upsample and concat", "FPN"]
    for name, bands in numbers["table"].items():
        assert list(bands) == BANDS and name in ended.stdout
        for band, each in bands.items():
            assert each["seeds"] == [run[name]["iou"]["validation"][band]] and 0 <= each["mean"] <= 1
        assert len(run[name]["losses"]) == numbers["settings"]["epochs"]

    best = numbers["best single level"]
    sums = {name: sum(run[name]["iou"]["validation"].values()) for name in ONE}
    assert sums[best] == max(sums.values())
    parameters = [run[name]["parameters"] for name in ONE]
    assert parameters == sorted(parameters)  # Coarser levels have more of the backbone's weights.
    for name, bands in numbers["margins"].items():
        for band, each in bands.items():
            difference = run["FPN"]["iou"]["validation"][band] - run[name]["iou"]["validation"][band]
            assert each["mean"] == pytest.approx(difference, abs=1e-3)


def test_iou_is_the_mean_over_the_kinds():
    sys.path.append(str(script.ROOT / "examples"))
    import segmentation

    truth = np.array([[0, 1, 1, 2], [3, 4, 5, 5]])
    found = np.array([[1, 1, 1, 0], [3, 4, 5, 0]])
    # Intersection over union: 2 / 3, 0 / 1, 1 / 1, 1 / 1 and 1 / 2.
    assert segmentation.mean_iou(truth, found) == round((2 / 3 + 0 + 1 + 1 + 1 / 2) / 5, 4)
    assert segmentation.mean_iou(truth, truth) == 1
