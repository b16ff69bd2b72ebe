"""A small training with checkpoints, and what its folder must hold."""

import os

import numpy as np
import tensorflow as tf

from tfpyramid import training
from tfpyramid._compat import keras
from tfpyramid.training import _checkpoints

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal([6, 3]).astype(np.float32), RNG.standard_normal([6, 1]).astype(np.float32)
EPOCHS = 2


def make_model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    model.set_weights([np.ones([3, 1]), np.zeros(1)])
    return model


def batches(stop=None):
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(2).take(3 if stop is None else stop)


def train(folder, data=None):
    model = make_model()
    training.fit_distributed(model, data or batches(), EPOCHS, checkpoint_folder=folder, save_every=1)
    return model.get_weights()


def files_of(*names):
    return ["checkpoint", *(f"{name}.{kind}" for name in names for kind in ("index", "data-00000-of-00001"))]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def assert_same(weights, expected):
    for actual, wanted in zip(weights, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, atol=1e-6)


def assert_whole(folder, *names):
    """Assert that a folder holds these checkpoints and nothing else, and that TensorFlow can read them."""
    assert sorted(os.listdir(folder)) == sorted(files_of(*names))
    for name in names:
        reader = tf.train.load_checkpoint(str(folder / name))
        assert [reader.get_tensor(key) for key in reader.get_variable_to_shape_map()]
    assert tf.train.latest_checkpoint(str(folder)) == str(folder / names[-1])


def variables(value):
    return {"weights": [tf.Variable([float(value)] * 5)]}


def saved(folder, *values):
    """Save each value; return the checkpoints, still open."""
    held = variables(0)
    checkpoints = _checkpoints.FirstWorkersCheckpoints(folder, held)
    checkpoints.open()
    for value in values:
        held["weights"][0].assign([float(value)] * 5)
        checkpoints.save()
    return checkpoints, held["weights"][0]
