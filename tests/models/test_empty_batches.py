"""Models take an empty batch, such as that of a replica without samples: empty outputs, and gradients of 0."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import models
from tfpyramid._compat import keras, raw

SIDES = (9, 7)


def network():
    stack = [keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization(), keras.layers.GlobalMaxPooling2D()]
    return keras.Sequential([*stack, keras.layers.Dense(3)])


def of_a_backbone(shape):
    stack = [keras.layers.Conv2D(3, 3, strides=2, padding="same") for _ in range(2)]
    backbone = keras.Sequential([keras.Input(shape), *stack, keras.layers.BatchNormalization()], name="backbone")
    return models.pyramid_segmenter(3, backbone=backbone, strides=(2, 4), filters=2)


def detector(shape):
    sizes = {"strides": (2, 4), "extra_levels": 0, "filters": 2, "num_convolutions": 1, "max_detections": 4}
    return models.pyramid_detector(2, input_shape=shape, score_threshold=0.01, **sizes)


def flow(shape):
    model = models.pyramid_flow(2, filters=2, decoder_filters=(2,), max_displacement=1, input_shape=shape)
    image = keras.Input(shape)
    return keras.Model(image, model({"first": image, "second": image})["flow"])


MODELS = {
    "classifier": lambda shape: models.pyramid_classifier(3, filters=(2, 3), input_shape=shape),
    "classifier of a network": lambda shape: models.pyramid_classifier(
        network=network(), input_shape=shape, num_levels=2, upsampled_levels=1
    ),
    "classifier with early exit": lambda shape: models.pyramid_classifier(
        3, filters=(2, 3), input_shape=shape, num_levels=2, upsampled_levels=1, early_exit=True
    ),
    "segmenter": lambda shape: models.pyramid_segmenter(3, num_levels=2, filters=2, input_shape=shape),
    "segmenter of a backbone": of_a_backbone,
    "super-resolution": lambda shape: models.pyramid_super_resolution(4, filters=2, input_shape=shape),
    "detector": detector,
    "flow": flow,
}


def test_only_the_model_handles_an_empty_batch():
    """Its layers would each add a padding and a slice to the graph; called on their own they do handle it."""
    model = MODELS["segmenter"]((*SIDES, 3))
    graph = tf.function(model, autograph=False).get_concrete_function(tf.TensorSpec([None, *SIDES, 3])).graph
    assert [op.type for op in graph.get_operations()].count("Pad") == 1
    levels = [tf.zeros([0, *SIDES, 3]), tf.zeros([0, 5, 4, 3])]
    assert [y.shape[0] for y in model.get_layer("features_0")(levels)] == [0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_an_empty_batch_has_empty_outputs_and_moves_no_weight(name, training):
    sides = SIDES if training else (None, None)
    model = MODELS[name]((*sides, 3))

    def run(images):
        with tf.GradientTape() as tape:
            outputs = tf.nest.flatten(model(images, training=training))
            objective = tf.add_n([tf.reduce_sum(y) for y in outputs if y.dtype.is_floating])
        return outputs, tape.gradient(objective, [raw(w) for w in model.trainable_weights])

    traced = tf.function(run, input_signature=[tf.TensorSpec([None, *sides, 3])], autograph=False)
    expected = [(0, *y.shape[1:]) for y in tf.nest.flatten(model(tf.zeros([1, *SIDES, 3]), training=training))]
    for function in (run, traced):
        outputs, gradients = function(tf.zeros([0, *SIDES, 3]))
        assert [tuple(y.shape) for y in outputs] == expected
        for w, gradient in zip(model.trainable_weights, gradients):
            np.testing.assert_array_equal(0 if gradient is None else gradient, np.zeros(w.shape), w.name)
    assert all(np.isfinite(w).all() for w in model.get_weights())


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_that_is_not_empty_is_answered_as_its_images_alone(name):
    model = MODELS[name]((None, None, 3))
    images = np.random.default_rng(0).random([3, *SIDES, 3], np.float32)
    together = tf.nest.flatten(model(images))
    for k in range(3):
        for y, alone in zip(together, tf.nest.flatten(model(images[k : k + 1])), strict=True):
            assert y.shape[0] == 3
            np.testing.assert_allclose(y[k], alone[0], atol=1e-5)
