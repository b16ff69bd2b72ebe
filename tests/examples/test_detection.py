"""The example on detection, and its measure."""

import json
import os
import sys

import numpy as np
import pytest

from tests.examples import script

sys.path += [str(script.ROOT / "examples")]

MODELS = ["pyramid", "one level, stride 16", "one level, stride 8"]
BANDS = ["all", "up to 16 px", "16 to 26 px", "over 26 px"]


def detections(boxes, classes, scores):
    return {"boxes": np.float32([boxes]), "classes": np.int32([classes]), "scores": np.float32([scores])}


TRUTH = {
    "boxes": np.float32([[[0, 0, 10, 12], [20, 30, 60, 90], [0, 0, 0, 0]]]),
    "classes": np.int32([[1, 0, -1]]),
}


def test_right_boxes_have_a_precision_of_100():
    from average_precision import average_precision

    found = average_precision(TRUTH, detections(TRUTH["boxes"][0], TRUTH["classes"][0], [0.9, 0.8, 0]), 2)
    assert list(found) == BANDS
    for band in ("all", "up to 16 px", "over 26 px"):
        assert found[band] == {"AP50": 100.0, "AP": 100.0}
    assert np.isnan(found["16 to 26 px"]["AP"])  # There is none.


def test_wrong_and_missed_boxes_lower_it():
    from average_precision import average_precision

    # Class 1: right, with an IoU of 10 / 12. Class 0: a wrong box comes first.
    boxes = [[0, 0, 10, 10], [0, 40, 9, 50], [20, 30, 60, 90]]
    found = average_precision(TRUTH, detections(boxes, [1, 0, 0], [0.5, 0.9, 0.8]), 2)
    assert found["all"]["AP50"] == pytest.approx((100 + 50) / 2, abs=0.1)
    assert found["all"]["AP"] == pytest.approx((70 + 50) / 2, abs=0.1)  # 0.5 to 0.8 of 0.95: 7 of 10 thresholds.
    nothing = average_precision(TRUTH, detections(np.zeros([1, 4]), [-1], [0]), 2)
    assert nothing["all"] == {"AP50": 0.0, "AP": 0.0}


@pytest.mark.slow
def test_every_model_is_measured_and_drawn(tmp_path):
    ended = script.run("detection", tmp_path, "--split", "validation")
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert sorted(os.listdir(tmp_path / "out")) == ["detection.png", "metrics.json"]
    width, height = script.size_of_png(tmp_path / "out/detection.png")
    assert width >= 800 and height >= 600
    numbers = json.loads((tmp_path / "out/metrics.json").read_text())
    assert numbers["split"] == "validation"
    (measured,) = numbers["runs"]
    assert list(measured["models"]) == list(numbers["bands"]) == MODELS
    for name in MODELS:
        assert list(measured["models"][name]["precision"]) == BANDS
        assert {"loss", "class_loss", "box_loss"} <= set(measured["models"][name]["losses"])
        assert name in ended.stdout
