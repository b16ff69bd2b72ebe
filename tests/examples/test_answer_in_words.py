"""The example that answers in words."""

import json
import os

import pytest

from tests.examples import script

KINDS = ["which colour", "which shape", "is it this colour", "is it this shape"]


@pytest.mark.slow
def test_both_models_are_measured_and_the_export_answers_in_sentences(tmp_path):
    ended = script.run("answer_in_words", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert sorted(os.listdir(tmp_path / "out")) == ["answer_in_words.png", "metrics.json", "saved_model"]
    numbers = json.loads((tmp_path / "out/metrics.json").read_text())
    assert list(numbers["accuracy"]) == ["in words", "one of 13 words"]
    for row in numbers["accuracy"].values():
        assert list(row) == ["all", *KINDS, "pixels", "training_seconds"]
        assert all(0 <= row[kind] <= 100 for kind in ["all", *KINDS]) and 0 < row["pixels"] <= 1
    # The exported graph decodes as the model does.
    assert numbers["export_accuracy"] == numbers["accuracy"]["in words"]["all"]
    answers = ended.stdout.split("asked in strings: ")[1].splitlines()[1:7]
    assert all(line.endswith("pixels") for line in answers)
