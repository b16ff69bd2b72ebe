"""A program that trains on one of several workers, or on two devices.

    python worker.py FOLDER KILL_AT

It trains the model of `model()` on the batches of `data` with checkpoints in FOLDER, and writes its weights there, in
weights_INDEX.npz; behind checkpoint number KILL_AT, if that is not 0, it kills itself. TF_CONFIG says which worker it
is; without it, it is the only one, and has two devices.
"""

import json
import os
import signal
import sys

import numpy as np
import tensorflow as tf

from tests.empty_batch import filled_memory
from tfpyramid import layers, training
from tfpyramid._compat import keras
from tfpyramid.training._checkpoints import Checkpoints


def model():
    """Return a compiled model whose gradients are clipped, with a loss of a layer."""
    images = keras.Input((12, 12, 3))
    levels = layers.LearnablePyramid(2)(images)
    features = layers.UpsampleConcat()(layers.PyramidConv2D(3, activation="relu")(levels))
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    logits = keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.01))(pooled)
    built = keras.Model(images, logits)
    rng = np.random.default_rng(0)
    built.set_weights([0.3 * rng.normal(size=w.shape) for w in built.get_weights()])
    groups = {"pyramid": keras.optimizers.Adam(1e-3, clipnorm=0.01), "task": keras.optimizers.SGD(0.1, clipnorm=0.1)}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    built.compile(training.discriminative_optimizer(built, **groups), loss)
    return built


def data(epoch):
    """Return batches of 8, 8, 8, 8, 3 and 1, with weights of the samples, in an order for each epoch.

    Two replicas get shares of different sizes of the batch of 3, and one of them gets nothing of the last batch.
    """
    count = 36
    rng = np.random.default_rng(1)
    images, labels = rng.normal(size=(count, 12, 12, 3)).astype(np.float32), rng.integers(0, 3, count)
    order = np.random.default_rng(epoch).permutation(count)
    arrays = (images[order], labels[order], rng.random(count).astype(np.float32)[order])
    samples = tf.data.Dataset.from_tensor_slices(arrays)
    return samples.take(35).batch(8).concatenate(samples.skip(35).batch(1))


def two_devices():
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def main(folder, kill_at):
    index = json.loads(os.environ.get("TF_CONFIG", '{"task": {"index": 0}}'))["task"]["index"]
    strategy = training.multi_worker_strategy(600) if "TF_CONFIG" in os.environ else two_devices()
    with strategy.scope():
        trained = model()

    save, saved = Checkpoints.save, []

    def save_and_die(checkpoints):
        saved.append(save(checkpoints))
        if len(saved) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    Checkpoints.save = save_and_die
    with filled_memory():
        training.fit_distributed(trained, data, 2, checkpoint_folder=folder, save_every=2, verbose=True)
    np.savez(os.path.join(folder, f"weights_{index}.npz"), *trained.get_weights())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
