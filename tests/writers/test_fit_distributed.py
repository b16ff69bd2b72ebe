"""Trainings that are killed at random moments, or that share a folder of checkpoints."""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.writers import processes
from tfpyramid import training
from tfpyramid._compat import keras

EPOCHS, STEPS = 5, 5
RNG = np.random.default_rng(0)
X, Y = (RNG.standard_normal([2 * STEPS - 1, n]).astype(np.float32) for n in (8, 3))
TOLD = "ValueError: `checkpoint_folder` must be used by one training at a time, and another process is writing there."


def make_model():
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
    model.compile(keras.optimizers.Adam(0.01), "mse")
    model.set_weights([np.full([8, 3], 0.1), np.zeros(3)])
    return model


def batches(epoch):
    order = np.random.default_rng(epoch).permutation(len(X))
    return tf.data.Dataset.from_tensor_slices((X[order], Y[order])).batch(2)


def train(folder, temporary, weights=None):
    tempfile.tempdir = str(temporary)
    model = make_model()
    training.fit_distributed(model, batches, EPOCHS, checkpoint_folder=folder, save_every=1)
    if weights:
        np.savez(weights, *model.get_weights())


@pytest.fixture(scope="module")
def expected():
    """The weights of an uninterrupted training by Keras."""
    model = make_model()
    for epoch in range(EPOCHS):
        model.fit(batches(epoch), verbose=0, shuffle=False)
    return model.get_weights()


@pytest.fixture
def temporary(tmp_path):
    """The temporary folder of all processes of these tests."""
    path = tmp_path / "temporary"
    path.mkdir()
    return path


def checkpoints(folder):
    """Return the numbers of the checkpoints in a folder, which must be complete."""
    numbers = sorted(int(path.stem.split("-")[1]) for path in folder.glob("ckpt-*.index"))
    for number in numbers:
        reader = tf.train.load_checkpoint(str(folder / f"ckpt-{number}"))
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    return numbers


def arrays(path):
    with np.load(path, allow_pickle=False) as archive:
        return [archive[name] for name in archive.files]


def assert_finished(folder, expected):
    """Assert that a folder holds only the last two checkpoints, and that the weights are correct."""
    last = EPOCHS * (STEPS + 1)
    assert checkpoints(folder) == [last - 1, last]
    kinds = ("index", "data-00000-of-00001")
    names = [f"ckpt-{number}.{kind}" for number in (last - 1, last) for kind in kinds]
    assert sorted(os.listdir(folder)) == sorted(["checkpoint", *names])
    for k, weight in enumerate(expected):
        held = tf.train.load_variable(str(folder / f"ckpt-{last}"), f"weights/{k}/.ATTRIBUTES/VARIABLE_VALUE")
        np.testing.assert_allclose(held, weight, atol=1e-6)


def test_a_killed_training_ends_with_the_weights_of_an_uninterrupted_one(expected, temporary, tmp_path):
    unbroken = tmp_path / "unbroken"
    # The first process waits for the server to start.
    longest = [processes.seconds(train, tmp_path / name, temporary) for name in ("first", "second")][1]
    processes.seconds(train, unbroken, temporary, tmp_path / "unbroken.npz")
    assert_finished(unbroken, expected)
    for k, delay in enumerate(processes.moments(30, longest)):
        folder, weights = tmp_path / f"folder {k}", tmp_path / f"{k}.npz"
        while not processes.kill_after(delay, train, folder, temporary):
            shutil.rmtree(folder)  # The process ended before it was killed.
            delay *= 0.8
        if folder.exists():
            checkpoints(folder)
        processes.seconds(train, folder, temporary, weights)
        assert_finished(folder, expected)
        # Bit for bit: steps in another process, and repeated steps, give the same weights.
        for held, wanted in zip(arrays(weights), arrays(tmp_path / "unbroken.npz"), strict=True):
            np.testing.assert_array_equal(held, wanted)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == sorted(
        ["temporary", "first", "second", "unbroken", *(f"folder {k}" for k in range(30))]
    )
    assert not any(temporary.iterdir())


def test_one_of_two_trainings_in_a_folder_raises_an_error(expected, temporary, tmp_path):
    told = 0
    for k in range(20):
        folder = tmp_path / f"folder {k}"
        errors = processes.race(*[(train, folder, temporary)] * 2)
        losers = [error for error in errors if error is not None]
        assert len(losers) < 2 and all(error.startswith(TOLD) for error in losers), errors
        told += len(losers)
        assert_finished(Path(folder), expected)
    assert told > 10
    assert not any(temporary.iterdir())
