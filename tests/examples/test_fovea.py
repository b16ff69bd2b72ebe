"""The example of a fovea: its scenes, its networks, and the whole of it."""

import json
import os
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.examples import script

sys.path.append(str(script.ROOT / "examples"))

import fovea_data as made  # noqa: E402
import fovea_models  # noqa: E402


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(0)
    return made.Scenes((rng.random((20, 28, 28), np.float32), np.arange(20) % 10), "validation")


def is_green(images: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(images.astype(int), -1, 0)
    return (green > 180) & (red < 40) & (blue < 70)


@pytest.mark.parametrize("side", [64, 200])
def test_one_green_frame_surrounds_the_center(scenes, side):
    images, labels, centers = scenes.several(8, side, seed=0)
    assert images.shape == (8, side, side, 3) and images.dtype == np.uint8
    assert set(labels) <= set(range(10))
    for image, center in zip(images, centers):
        rows, columns = np.nonzero(is_green(image))
        extents = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert extents[0] == extents[1] and 28 <= extents[0] <= 48
        middle = np.array([rows.min() + rows.max() + 1, columns.min() + columns.max() + 1]) / 2 / side
        np.testing.assert_allclose(center, middle, atol=1e-6)
        ring = 2 * made.FRAME * (extents[0] + extents[1]) - 4 * made.FRAME**2
        assert len(rows) == ring


def test_scenes_depend_on_the_seed_alone(scenes):
    first, again, other = (scenes.several(3, 96, seed=seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_indices_continue_mirrored_at_the_ends():
    rng = np.random.default_rng(0)
    for length, side in ((5, 5), (3, 8), (10, 4)):
        indices = made.mirrored(length, side, rng)
        assert len(indices) == side and indices.min() >= 0 and indices.max() < length
        assert (np.abs(np.diff(indices)) <= 1).all()


def test_a_network_that_reads_every_place_agrees_with_the_reader_of_one_garment():
    """Where the features of an image fit into one window, both see the same."""
    trunk, classify = fovea_models.convolutions(), fovea_models.head()
    images = tf.random.uniform([2, 24, 24, 3], seed=0)  # 3 by 3 features.
    alone, everywhere = fovea_models.one_garment(trunk, classify), fovea_models.every_place(trunk, classify)
    middle = trunk(images)
    np.testing.assert_allclose(
        classify(tf.reduce_max(middle, [1, 2], keepdims=True))[:, 0, 0], alone(images), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(everywhere(images), tf.nn.log_softmax(alone(images)), rtol=1e-4, atol=1e-5)


def test_foveas_share_their_weights_and_read_the_places_they_report():
    fovea = fovea_models.Fovea(fovea_models.convolutions(), fovea_models.head(), seed=0)
    images = tf.random.uniform([2, 128, 128, 3], seed=0)
    networks = [fovea.model(count) for count in (1, 3)]
    assert [id(w) for w in networks[0].weights] == [id(w) for w in networks[1].weights]
    fixations, scores = fovea.places(3)(images)
    np.testing.assert_allclose(fovea.reading()([images, fixations, scores]), networks[1](images), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_example_runs_from_training_to_the_export(tmp_path):
    ended = script.run("fovea", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert sorted(os.listdir(tmp_path / "out")) == ["fovea.png", "metrics.json", "saved_model"]
    width, height = script.size_of_png(tmp_path / "out/fovea.png")
    assert width >= 1000 and height >= 600
    numbers = json.loads((tmp_path / "out/metrics.json").read_text())
    names = ["full", "coarse, 1/6", "coarse, 1/5", "fovea, 1 fixation", "fovea, 2 fixations", "fovea, 3 fixations"]
    assert list(numbers["pixels"]) == list(numbers["summary"]["accuracy"]) == names
    (run,) = numbers["runs"]
    assert run["found"] == sorted(run["found"]) and len(run["found"]) == 3
    assert numbers["pixels"]["fovea, 2 fixations"] == pytest.approx((16**2 + 2 * 72**2) / 128**2, abs=1e-4)
    assert all(name in ended.stdout for name in names)
