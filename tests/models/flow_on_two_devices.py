"""Train `pyramid_flow` on two CPUs, which must take the steps of one: python -m tests.models.flow_on_two_devices.

It needs a process of its own, because TensorFlow divides the CPU before it is used.
"""

import numpy as np
import tensorflow as tf

from tfpyramid import losses, models
from tfpyramid._compat import keras

SIDES = (12, 10)


def trainable_model() -> keras.Model:
    model = models.pyramid_flow(2, filters=4, decoder_filters=(6,), max_displacement=1, input_shape=(*SIDES, 3))
    model.compile(keras.optimizers.SGD(0.1), losses.MultiScaleLoss(losses.EndPointError(), decay=1.0))
    return model


def main() -> None:
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)
    rng = np.random.default_rng(0)
    images = {key: rng.random((8, *SIDES, 3), np.float32) for key in ("first", "second")}
    truth, mask = rng.normal(size=(8, *SIDES, 2)).astype(np.float32), np.float32(rng.random((8, *SIDES)) > 0.3)
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        both = trainable_model()
    one = trainable_model()
    start = both.get_weights()
    one.set_weights(start)
    samples = images, dict.fromkeys(both.output, truth), dict.fromkeys(both.output, mask)
    for model in (both, one):
        model.fit(tf.data.Dataset.from_tensor_slices(samples).batch(4), epochs=2, verbose=0, shuffle=False)
    moved = 0.0
    for weight, before, found, expected in zip(one.weights, start, both.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4, err_msg=weight.name)
        moved = max(moved, np.abs(expected - before).max())
    assert moved > 1e-2, moved


if __name__ == "__main__":
    main()
