"""pyramid_detector: bad arguments and bad targets."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.detections import photograph, small, targets, tiny_backbone
from tfpyramid import models
from tfpyramid._compat import keras


@pytest.fixture(scope="module")
def model():
    """One for all tests that do not train it."""
    return small()


@pytest.mark.parametrize(
    "arguments, rule",
    [
        ({"num_classes": 0}, "`num_classes` must be an integer of at least 1, the number of classes"),
        ({"filters": 0}, "`filters` must be an integer of at least 1"),
        ({"num_convolutions": 0}, "`num_convolutions` must be an integer of at least 1"),
        ({"extra_levels": -1}, "`extra_levels` must be an integer of at least 0"),
        ({"strides": (8, 32)}, "`strides` must be powers of 2 from 2 to 1024, finest first"),
        ({"strides": (16, 8)}, "`strides` must be powers of 2 from 2 to 1024, finest first"),
        ({"strides": ()}, "`strides` must be powers of 2 from 2 to 1024, finest first"),
        ({"strides": 8}, "`strides` must be powers of 2 from 2 to 1024, finest first"),
        ({"reach": 0}, "`reach` must be a finite number greater than 0"),
        ({"center_radius": 0}, "`center_radius` must be a finite number greater than 0"),
        ({"score_threshold": 2}, "`score_threshold` must be at most 1"),
        ({"iou_threshold": -0.1}, "`iou_threshold` must be a finite number of at least 0"),
        ({"max_detections": 0}, "`max_detections` must be an integer of at least 1"),
        ({"max_candidates": 0}, "`max_candidates` must be an integer of at least 1"),
        ({"backbone": "resnet"}, "`backbone` must be a functional or sequential keras.Model."),
        ({"input_shape": (32, 32)}, "`input_shape` must be .height, width, channels."),
    ],
)
def test_bad_arguments_are_errors(arguments, rule):
    with pytest.raises(ValueError, match=f"{rule}.* Received: {next(iter(arguments))}="):
        models.pyramid_detector(**{"num_classes": 2, **arguments})


class Subclassed(keras.Model):
    def call(self, x):
        return x


def test_a_backbone_without_a_graph_or_a_stride_is_an_error():
    with pytest.raises(ValueError, match="`backbone` must .* Received: backbone 'mine', a subclassed model"):
        small(backbone=Subclassed(name="mine"))
    with pytest.raises(
        ValueError, match=r"`strides` must be strides of the feature maps .* Received: strides=\[8, 16\]"
    ):
        small(backbone=tiny_backbone(), strides=(8, 16))


@pytest.mark.parametrize(
    "y, received",
    [
        (np.zeros([1, 2, 4]), "y=array"),
        ({"boxes": np.zeros([1, 2, 4])}, r"y=\['boxes'\]"),
        ({"boxes": np.zeros([1, 2, 5]), "classes": np.zeros([1, 2])}, r"boxes of shape \(1, 2, 5\), classes of shape"),
        ({"boxes": np.zeros([2, 4]), "classes": np.zeros([2])}, r"boxes of shape \(2, 4\), classes of shape \(2,\)"),
    ],
)
def test_other_targets_are_errors(model, y, received):
    images = photograph(1, 9, 9, 3)
    with pytest.raises(ValueError, match=f"`y` must be a dict of .* Received: {received}"):
        model.compute_loss(images, y, model(images))


@pytest.mark.parametrize("boxes, classes", [((1, 2, 4), (1, 2)), ((3, 2, 4), (3, 2)), ((2, 2, 4), (2, 3))], ids=str)
def test_targets_of_another_batch_or_count_are_errors(model, boxes, classes):
    images, y = photograph(2, 9, 9, 3), {"boxes": np.zeros(boxes, np.float32), "classes": np.zeros(classes, np.int32)}
    rule = "`y` must hold as many boxes as classes for each image, and one row of them for each image of the batch."
    with pytest.raises(ValueError, match=f"{rule} Received: boxes of shape"):
        model.compute_loss(images, y, model(images))
    specs = {"boxes": tf.TensorSpec([None, None, 4]), "classes": tf.TensorSpec([None, None], tf.int32)}
    graph = tf.function(lambda y: model.compute_loss(images, y, model.network(images)), input_signature=[specs])
    with pytest.raises(tf.errors.InvalidArgumentError, match=rule):
        graph(y)


def test_sample_weights_of_another_batch_are_an_error(model):
    images = photograph(2, 9, 9, 3)
    with pytest.raises(ValueError, match="`x` and `sample_weight` must have the same batch size"):
        model.compute_loss(images, targets(2), model(images), np.ones(3, np.float32))


@pytest.mark.parametrize("name, value", [("loss", "mse"), ("metrics", ["accuracy"])])
@pytest.mark.slow
def test_compile_takes_neither_loss_nor_metrics(name, value):
    detector = small()
    detector.compile("adam", **{name: value})
    with pytest.raises(ValueError, match=f"`{name}` must not be given to `compile`.* Received: compile with {name}"):
        detector.fit(photograph(1, 9, 9, 3), targets(1), verbose=0)


def test_a_class_that_the_model_lacks_is_an_error(model):
    images = photograph(1, 9, 9, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`classes` must be below 3, the number of classes"):
        model.compute_loss(images, targets(1, classes=(3, -1)), model(images))
