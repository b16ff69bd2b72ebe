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


def test_an_interrupted_run_goes_on_and_every_case_gets_its_row(tmp_path):
    path = tmp_path / "results/training.json"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "benchmarks/bench_training.py"), "--quick", "--output", str(tmp_path)]

    def rows(*names: str) -> list[list[str]]:
        options = [option for name in names for option in ("--only", name)]
        ended = subprocess.run(command + options, env=environment, capture_output=True, text=True, errors="replace")
        assert ended.returncode == 0, ended.stderr
        lines = (tmp_path / "README.md").read_text().splitlines()[3:-1]
        return [line.strip("| ").split(" | ") for line in lines]

    ((name, accuracy, pixels, moved, alike),) = rows("none of the three")
    assert name == "none of the three"
    assert 0 <= float(accuracy.split()[0]) <= 100
    assert 1 / 16 <= float(pixels.split()[0]) <= 1
    assert float(moved.split()[0]) > 0
    assert 0 < float(alike.split()[0]) <= 1
    results = json.loads(path.read_text())
    results["runs"][0]["test"]["accuracy"] = 12.3  # Stays only where nothing is trained again.
    path.write_text(json.dumps(results))
    again = rows("none of the three", "all three")
    assert [name for name, *_ in again] == ["all three", "none of the three"]
    assert again[1][1] == "12.30 ± 0.00"


@pytest.mark.parametrize("name", bench.CASES)
def test_a_case_switches_off_what_it_says(name):
    network = bench.Network(bench.CASES[name], bench.QUICK)
    assert any(isinstance(x, layers.GradientNormalization) for x in network.model.layers) == (
        name not in ("without gradient normalisation", "none of the three")
    )
    (diversity,) = [x for x in network.model.layers if isinstance(x, losses.PyramidDiversity)]
    assert (diversity.weight > 0) == (name not in ("without diversity loss", "none of the three"))
    optimizer = network.optimizer(steps=10)
    rates = {group: float(np.asarray(each.learning_rate)) for group, each in optimizer.groups.items()}
    times = 1 if name == "all three, pyramid as fast as the rest" else 10
    assert rates["task"] == pytest.approx(times * rates["pyramid"])


@pytest.mark.parametrize("name, end", [("all three", bench.QUICK.last_temperature), ("without annealing", 1.0)])
def test_the_temperature_is_annealed_to_the_end_of_training_or_stays(name, end):
    network = bench.Network(bench.CASES[name], bench.QUICK._replace(epochs=2))
    network.fit(questions.Questions(*(part[:20] for part in questions.read("train", 0, 3))))
    assert float(np.asarray(network.selector.temperature)) == pytest.approx(end)


def test_an_untrained_pyramid_has_not_moved_and_its_levels_are_alike():
    network = bench.Network(bench.CASES["all three"], bench.QUICK)
    found = network.measured(questions.read("test", 0, 1))
    assert network.moved() == 0
    assert found["alike"] == pytest.approx(1, abs=1e-4)
    assert sum(found["levels"]) == pytest.approx(1)
    assert found["pixels"] == pytest.approx(np.dot(found["levels"], [1, 1 / 4, 1 / 16]), abs=1e-4)


def test_questions_are_those_of_the_images_that_are_asked_for():
    asked = questions.read("train", 2, 4)
    texts, answers, images = easy_vqa.get_train_questions()
    own = [k for k, image in enumerate(images) if image in sorted(easy_vqa.get_train_image_paths())[2:4]]
    assert [questions.ANSWERS[answer] for answer in asked.answers] == [answers[k] for k in own]
    for k, words in zip(own, asked.words):
        found = {word for word, has in zip(questions.VOCABULARY, words) if has}
        assert found == set(texts[k].rstrip("?").split())
    picture = io.imread(easy_vqa.get_train_image_paths()[images[own[0]]])[..., :3].astype(float)
    means = (picture[::2, ::2] + picture[1::2, ::2] + picture[::2, 1::2] + picture[1::2, 1::2]) / 4
    np.testing.assert_allclose(asked.images[0], means, atol=0.51)
