"""The benchmark of trainings: every step of it at a tiny size, what each case switches off, and what is asked."""

import json
import os
import subprocess
import sys
from pathlib import Path

import easy_vqa
import numpy as np
import pytest
from skimage import io

from tfpyramid import layers, losses

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))  # As for a script that is run by its path.

import bench_training as bench  # noqa: E402
import questions  # noqa: E402


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a quick run in it of one case, of which another was there before, from an earlier run."""
    folder = tmp_path_factory.mktemp("training")
    measured = {"accuracy": 12.3, "pixels": 0.25, "levels": [0, 1, 0], "alike": 0.5}
    run = {"trained": "none of the three", "seed": 0, "kernels_moved": 0.1, "held_out": measured, "test": measured}
    (folder / "results").mkdir()
    (folder / "results/training.json").write_text(json.dumps({"protocol": bench.QUICK._asdict(), "runs": [run]}))
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "benchmarks/bench_training.py"), "--quick", "--output", str(folder)]
    command += ["--only", "none of the three", "--only", "all three"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_ended(finished):
    runs = json.loads((finished / "results/training.json").read_text())["runs"]
    assert [run["trained"] for run in runs] == ["none of the three", "all three"]
    assert runs[0]["test"]["accuracy"] == 12.3  # Was not trained again.
    for part in ("held_out", "test"):
        found = runs[1][part]
        assert sum(found["levels"]) == pytest.approx(1, abs=1e-3)
        assert found["pixels"] == pytest.approx(np.dot(found["levels"], [1, 1 / 4, 1 / 16]), abs=1e-3)
    assert runs[1]["kernels_moved"] > 0


@pytest.mark.slow
def test_every_case_that_was_trained_has_a_row(finished):
    rows = (finished / "README.md").read_text().splitlines()[3:-3]
    assert [row.split(" | ")[0].strip("| ") for row in rows] == ["all three", "none of the three"]
    gain = 12.3 - json.loads((finished / "results/training.json").read_text())["runs"][1]["test"]["accuracy"]
    expected = f"| none of the three | 12.3 ± 0.0 | {gain:.1f} ± 0.0 | 0.25 ± 0.00 | 0.10 ± 0.00 | 0.50 ± 0.00 |"
    assert rows[1] == expected


@pytest.mark.slow
def test_the_gradient_behind_the_normalisation_is_as_long_as_it_makes_it(finished):
    lengths = json.loads((finished / "results/training.json").read_text())["gradients"]
    assert lengths["answers, normalised"] > lengths["answers"] > 0
    assert lengths["diversity"] > 0
    assert f"{lengths['diversity']:g}." in (finished / "README.md").read_text()


@pytest.mark.parametrize(
    "name, normalized, diverse, end, times",
    [("all three", True, True, 0.1, 10), ("none of the three", False, False, None, 10)],
)
def test_a_case_switches_off_what_it_says(name, normalized, diverse, end, times):
    network = bench.Network(bench.CASES[name], bench.QUICK)
    kinds = [type(layer) for layer in network.model.layers]
    assert (layers.GradientNormalization in kinds) == normalized
    assert (network.model.layers[kinds.index(losses.PyramidDiversity)].weight > 0) == diverse
    callbacks = network.callbacks(steps=10)
    assert [callback.temperature_at(10) for callback in callbacks] == ([] if end is None else [pytest.approx(end)])
    rates = {group: float(np.asarray(each.learning_rate)) for group, each in network.optimizer(10).groups.items()}
    assert rates["task"] == pytest.approx(times * rates["pyramid"])
    assert network.moved() == 0


def test_each_row_differs_from_the_first_by_what_it_names():
    first, *others = bench.CASES.values()
    differing = [[field for field, a, b in zip(bench.Case._fields, first, case) if a != b] for case in others]
    parts = ["normalized", "diverse", "annealed"]
    assert differing == [*([part] for part in parts), parts[:2], parts, ["slower"]]


def test_questions_are_those_of_the_images_that_are_asked_for():
    asked = questions.read("train", 2, 4)
    texts, answers, images = easy_vqa.get_train_questions()
    paths = easy_vqa.get_train_image_paths()
    chosen = sorted(paths)[2:4]
    own = [k for k, image in enumerate(images) if image in chosen]
    assert [questions.ANSWERS[answer] for answer in asked.answers] == [answers[k] for k in own]
    for k, words in zip(own, asked.words):
        found = {word for word, has in zip(questions.VOCABULARY, words) if has}
        assert found == set(texts[k].rstrip("?").split())
    picture = io.imread(paths[images[own[0]]])[..., :3].astype(float)
    means = (picture[::2, ::2] + picture[1::2, ::2] + picture[::2, 1::2] + picture[1::2, 1::2]) / 4
    np.testing.assert_allclose(asked.images[0], means, atol=0.51)
