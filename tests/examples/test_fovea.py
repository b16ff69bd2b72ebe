"""The example on a fovea: its scenes, and the whole of it."""

import json
import os
import sys

import numpy as np
import pytest

from tests.examples import script

sys.path.append(str(script.ROOT / "examples"))

import fovea_data as made  # noqa: E402

ROWS = ["full resolution", "coarse image alone", "fovea, 3 fixations"]


@pytest.fixture(scope="module")
def scenes():
    """Return black scenes with white garments, so that everything else is a texture or the frame."""
    garments = np.ones([7, 28, 28], np.float32), np.arange(7)
    return made.scenes(garments, [np.zeros([300, 300, 3], np.uint8)], 12, 256, 9, np.random.default_rng(0))


def test_each_scene_has_one_frame_around_its_center(scenes):
    for image, (y, x) in zip(scenes.images, scenes.centers * 256):
        rows, columns = np.nonzero((image == made.FRAME).all(-1))
        assert (rows.min() + rows.max() + 1) / 2 == y and (columns.min() + columns.max() + 1) / 2 == x
        side = np.ptp(rows) + 1
        assert side == np.ptp(columns) + 1 and 26 <= side <= 46
        inside = image[rows.min() + 3 : rows.max() - 2, columns.min() + 3 : columns.max() - 2]
        assert inside.min() >= 127  # The garment, which is white but for its tint.


def test_scenes_depend_on_the_generator_alone(scenes):
    garments = np.ones([7, 28, 28], np.float32), np.arange(7)
    again = made.scenes(garments, [np.zeros([300, 300, 3], np.uint8)], 12, 256, 9, np.random.default_rng(0))
    assert all(np.array_equal(*pair) for pair in zip(scenes, again))


def test_no_photograph_is_in_two_splits():
    names = [name for split in made.PHOTOGRAPHS.values() for name in split]
    assert len(set(names)) == len(names)


def test_a_run_with_other_settings_does_not_resume(tmp_path):
    import fovea

    path = tmp_path / "weights.npz"
    assert not fovea.is_trained(path, "settings")
    np.savez(path, np.zeros(2), description="settings", seconds=1.0)
    assert fovea.is_trained(path, "settings") and not fovea.is_trained(path, "other settings")


@pytest.mark.slow
def test_every_network_is_measured_and_drawn(tmp_path):
    ended = script.run("fovea", tmp_path, "--split", "validation")
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    written = [name for name in os.listdir(tmp_path / "out") if not name.startswith("weights_0_")]
    assert sorted(written) == ["fovea.png", "metrics.json", "saved_model"]
    width, height = script.size_of_png(tmp_path / "out/fovea.png")
    assert width >= 800 and height >= 600
    numbers = json.loads((tmp_path / "out/metrics.json").read_text())
    assert numbers["split"] == "validation"
    assert list(numbers["table"]) == list(numbers["times"]["seconds"]) == ROWS
    assert all(row in ended.stdout for row in ROWS)
    # The view and three fixations of two crops, as a fraction of the scenes of a quick run.
    assert numbers["table"][ROWS[2]]["pixels"] == round((16**2 + 6 * 48**2) / 128**2, 4)
    assert numbers["table"][ROWS[0]]["pixels"] == 1
