"""Exports that are killed at random moments, and that race for one path and for the next version."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.writers import processes

SIDE = 256  # Side of the model's matrix, a quarter of a megabyte.
KILLS, ROUNDS = 30, 20
FRESH = 2  # Rounds with fresh interpreters, which take seconds each.


def export(path, value, version=None, fresh=False):
    """Export a model that returns `value` for ones; if `fresh`, check it in a fresh interpreter."""
    from tfpyramid._compat import keras
    from tfpyramid.export import _verify, export_saved_model

    if fresh:
        _verify.found_in_process = lambda path: {"an operation of another library"}
    row = keras.Input((SIDE,), name="row")
    weights = keras.initializers.Constant(value / SIDE)
    model = keras.Model(row, keras.layers.Dense(SIDE, kernel_initializer=weights, name="scaled")(row))
    export_saved_model(model, path, version=version, overwrite=True, uint8=False)


def answer(path):
    """Return the value of the model at a path, which must be complete, as read by TensorFlow alone."""
    scaled = tf.saved_model.load(str(path)).signatures["serving_default"](row=tf.ones([2, SIDE]))["scaled"].numpy()
    assert scaled.shape == (2, SIDE)
    np.testing.assert_allclose(scaled, np.full_like(scaled, scaled[0, 0]), rtol=1e-5)
    return round(float(scaled[0, 0]), 3)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A temporary folder for these processes, to check what they leave in it."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def in_temporary(folder, *args, **kwargs):
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    export(*args, **kwargs)


def left_in(folder):
    """List a temporary folder without the code that TensorFlow leaves there when it is killed."""
    return [name for name in os.listdir(folder) if not name.startswith("__autograph_generated_file")]


@pytest.mark.parametrize("version", [None, "next"])
def test_a_killed_export_loses_nothing_and_the_next_one_cleans_up(version, tmp_path, temporary):
    folder = tmp_path / "served"
    path = folder / "model" if version is None else folder
    processes.seconds(in_temporary, temporary, path, 1, version)
    duration = processes.seconds(in_temporary, temporary, path, 2, version)
    models = {"model": 2} if version is None else {"1": 1, "2": 2}
    killed = absent = 0
    for value, moment in enumerate(processes.moments(KILLS // 2, 1.0), 3):
        delay = moment * duration
        killed += processes.kill_after(delay, in_temporary, temporary, path, value, version)
        for name in [each for each in os.listdir(folder) if not each.startswith(".")]:
            assert answer(folder / name) in (models.get(name, value), value)
            models.setdefault(name, value)
        if version is None and not path.exists():
            absent += 1
            (replaced,) = folder.glob(".model.exporting-*/replaced")
            assert answer(replaced) == models["model"]
        before = set(models)
        # Use the shortest duration, so that most are killed before their end on a busy machine, too.
        duration = min(duration, processes.seconds(in_temporary, temporary, path, value, version))
        assert not [each for each in os.listdir(folder) if each.startswith(".")], (delay, os.listdir(folder))
        models.update(dict.fromkeys(set(os.listdir(folder)) - before or {"model"}, value))
        assert {name: answer(folder / name) for name in os.listdir(folder)} == models
        assert left_in(temporary) == []
    assert killed >= KILLS // 4, f"{killed} of {KILLS // 2} were running when they were killed"


def test_one_of_two_exports_to_a_path_fails_and_each_next_version_gets_a_number(tmp_path, temporary):
    refused, versions = 0, {}
    for turn in range(ROUNDS):
        path, fresh = tmp_path / "served" / "model", turn < FRESH
        mine, other, *next_ones = (4 * turn + k for k in range(1, 5))
        told = processes.race(
            (in_temporary, temporary, path, mine, None, fresh),
            (in_temporary, temporary, path, other, None, fresh),
            *((in_temporary, temporary, tmp_path / "versions", value, "next", fresh) for value in next_ones),
        )
        assert told[2:] == [None, None]
        losers = [text for text in told[:2] if text is not None]
        assert len(losers) < 2
        assert all("`path` must be" in text and "another process is writing" in text for text in losers), losers
        refused += len(losers)
        winners = [value for value, text in zip((mine, other), told) if text is None]
        assert answer(path) in winners
        new = {name: answer(tmp_path / "versions" / name) for name in os.listdir(tmp_path / "versions")}
        assert sorted(new[name] for name in set(new) - set(versions)) == next_ones
        assert {name: new[name] for name in versions} == versions
        versions = new
        assert os.listdir(path.parent) == ["model"] and left_in(temporary) == []
    assert sorted(map(int, versions)) == list(range(1, 2 * ROUNDS + 1))
    assert refused, "No two exports were writing at once"


def test_the_program_of_the_check_ends_with_the_process_that_started_it(tmp_path, temporary):
    # Killed in the check without its children: the next export removes the folder, and nothing recreates it.
    path = tmp_path / "served" / "model"
    process = processes.start(in_temporary, temporary, path, 1, None, True)
    while not list(Path(path.parent).glob(".model.exporting-*/*/inputs.npz")):
        assert process.is_alive()
    process.kill()
    process.join()
    processes.seconds(in_temporary, temporary, path, 2)
    assert answer(path) == 2 and os.listdir(path.parent) == ["model"] and left_in(temporary) == []
