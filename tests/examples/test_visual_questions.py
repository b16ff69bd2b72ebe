"""The example on visual questions."""

import json
import os

import pytest

from tests.examples import script

ROWS = [
    *[f"always {side} px" for side in (64, 32, 16, 8)],
    *["cascade", "routed, value", "routed, softmax", "routed, gumbel"],
]
KINDS = ["which colour", "which shape", "is it this colour", "is it this shape"]


@pytest.mark.slow
def test_every_row_is_measured_and_the_served_model_answers_strings(tmp_path):
    ended = script.run("visual_questions", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    pictures = ["cost_curve.png", "visual_questions.png"]
    assert sorted(os.listdir(tmp_path / "out")) == sorted([*pictures, "metrics.json", "saved_model"])
    for picture, least in zip(pictures, (500, 1000)):
        assert min(script.size_of_png(tmp_path / "out" / picture)) >= least

    numbers = json.loads((tmp_path / "out/metrics.json").read_text())
    (run,) = numbers["runs"]
    assert list(run["accuracy"]) == list(numbers["summary"]["accuracy"]) == ROWS
    for row in run["accuracy"].values():
        assert list(row) == ["all", *KINDS, "pixels"]
        assert all(0 <= row[kind] <= 100 for kind in ["all", *KINDS]) and 0 < row["pixels"] < 1.4
    assert run["accuracy"]["always 64 px"]["pixels"] == 1
    # The share of pixels is that of the levels that ran, from the coarsest to that where a question stopped.
    counts = [sum(levels) for levels in zip(*run["levels"].values())]
    share = sum(count * sum(1 / 4**j for j in range(k, 4)) for k, count in enumerate(counts)) / sum(counts)
    assert abs(share - run["accuracy"]["cascade"]["pixels"]) < 1e-4
    names = ["cascade", "finest", "routed"]
    assert sorted(run["milliseconds"]) == [each for name in names for each in (name, f"{name}, exported")]
    assert list(run["calibration error"]) == ["32 px", "16 px", "8 px"]
    assert list(run["curves"]) == ["cascade", "router", *ROWS[:4]]
    for accuracy, pixels in run["curves"].values():
        assert len(accuracy) == len(pixels) and sorted(pixels) == pixels
    answers = ended.stdout.split("asked in strings:\n")[1].splitlines()[:6]
    assert all("shape" in line or "circle" in line or "rectangle" in line or "triangle" in line for line in answers)
    assert all(line.endswith("pixels") for line in answers)
