"""The example on visual questions."""

import json
import os

import pytest

from tests.examples import script

ROWS = [
    *[f"always {side} px" for side in (64, 32, 16, 8)],
    *["all levels, weighed", "routed, value", "routed, softmax", "routed, gumbel"],
]
KINDS = ["which colour", "which shape", "is it this colour", "is it this shape"]


@pytest.mark.slow
def test_every_row_is_measured_and_the_served_model_answers_strings(tmp_path):
    ended = script.run("visual_questions", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert sorted(os.listdir(tmp_path / "out")) == ["metrics.json", "saved_model", "visual_questions.png"]
    width, height = script.size_of_png(tmp_path / "out/visual_questions.png")
    assert width >= 1000 and height >= 1000

    numbers = json.loads((tmp_path / "out/metrics.json").read_text())
    (run,) = numbers["runs"]
    assert list(run["accuracy"]) == list(numbers["summary"]["accuracy"]) == ROWS
    for row in run["accuracy"].values():
        assert list(row) == ["all", *KINDS, "pixels"]
        assert all(0 <= row[kind] <= 100 for kind in ["all", *KINDS]) and 0 < row["pixels"] < 1.4
    assert run["accuracy"]["always 64 px"]["pixels"] == 1
    # The share of pixels is that of the levels that the questions went to.
    counts = [sum(levels) for levels in zip(*run["levels"].values())]
    share = sum(count / 4**k for k, count in enumerate(counts)) / sum(counts)
    assert abs(share - run["accuracy"]["routed, value"]["pixels"]) < 1e-4
    assert sorted(run["milliseconds"]) == ["finest", "finest, exported", "routed", "routed, exported"]
    answers = ended.stdout.split("asked in strings:\n")[1].splitlines()[:6]
    assert all("shape" in line or "circle" in line or "rectangle" in line or "triangle" in line for line in answers)
    assert all(line.endswith("pixels") for line in answers)
