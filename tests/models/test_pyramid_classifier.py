"""The classifier of one network on every level."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tests import references
from tfpyramid import models
from tfpyramid._compat import keras
from tfpyramid.export import export_saved_model

ROOT2 = 2**0.5
FUSIONS = {
    "logsumexp": scipy.special.logsumexp,
    "max": np.max,
    "mean": np.mean,
    "attention": np.mean,  # With a query that has learned nothing.
}


def photographs(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def small_network(classes=3, sides=(None, None)):
    image = keras.Input((*sides, 2))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    return keras.Model(image, keras.layers.Dense(classes)(keras.layers.GlobalMaxPooling2D()(x)), name="small")


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_answer_is_the_fusion_of_what_the_network_says_of_each_level(fusion):
    network = small_network()
    model = models.pyramid_classifier(
        network=network, num_levels=4, scale_factor=1.5, upsampled_levels=1, fusion=fusion, name="mine"
    )
    images = photographs(2, 9, 12, 2)
    levels = references.gaussian_pyramid(np.float64(images), 4, upsampled_levels=1, scale_factor=1.5)
    assert [level.shape[1:3] for level in levels] == [(13, 18), (9, 12), (6, 8), (4, 6)]
    logits = [network(np.float32(level)).numpy() for level in levels]
    np.testing.assert_allclose(model(images), FUSIONS[fusion](np.stack(logits), axis=0), atol=1e-5)
    assert model.name == "mine"


def test_the_network_alone_is_the_level_of_the_images():
    model = models.pyramid_classifier(5, filters=(4, 6), input_shape=(8, 8, 2), num_levels=1, upsampled_levels=0)
    images = photographs(3, 8, 8, 2)
    np.testing.assert_allclose(model(images), model.get_layer("network")(images), atol=1e-6)


def test_training_the_network_trains_the_model():
    model = models.pyramid_classifier(3, filters=(4,), input_shape=(8, 8, 1))
    network = model.get_layer("network")
    images, labels = photographs(16, 8, 8, 1), np.arange(16) % 3
    before = model.predict(images, verbose=0)
    network.compile(keras.optimizers.SGD(0.5), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    network.fit(images, labels, verbose=0)
    assert np.abs(model.predict(images, verbose=0) - before).max() > 1e-2
    assert len(model.trainable_weights) == len(network.trainable_weights)
    assert model.count_params() == network.count_params()


def test_the_whole_can_be_trained_too():
    model = models.pyramid_classifier(3, filters=(4,), input_shape=(8, 8, 1), fusion="attention")
    images, labels = photographs(16, 8, 8, 1), np.arange(16) % 3
    before = [w.numpy() for w in model.trainable_weights]
    model.compile(keras.optimizers.SGD(0.5), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images, labels, verbose=0)
    assert len(before) == 6  # A kernel, the two of batch norm, the two of the dense layer, the query.
    for old, new in zip(before, model.trainable_weights):
        assert np.any(old != new.numpy()), new.name


def test_an_object_is_known_at_twice_and_at_half_the_size():
    """The network holds a square and a disk of one size against the image: alone it takes a small disk for a square."""

    def drawn(radius):
        y, x = np.mgrid[:48, :48] - 23.5
        square = np.maximum(abs(y), abs(x)) <= 0.9 * radius
        return np.float32([square, y**2 + x**2 <= radius**2])[..., None]

    known = drawn(8)[:, 14:34, 14:34]
    templates = known - known.mean(axis=(1, 2), keepdims=True)
    templates /= np.sqrt(np.sum(templates**2, axis=(1, 2), keepdims=True))
    image = keras.Input((None, None, 1))
    match = keras.layers.Conv2D(2, 20, padding="same", use_bias=False)
    network = keras.Model(image, keras.layers.GlobalMaxPooling2D()(match(image)))
    match.set_weights([np.moveaxis(templates, 0, -1)])
    model = models.pyramid_classifier(network=network, fusion="max")
    for radius in (4, 8, 16):
        answers = model(drawn(radius)).numpy()
        assert answers.argmax(axis=1).tolist() == [0, 1], (radius, answers)
    assert network(drawn(4)).numpy().argmax(axis=1).tolist() == [0, 0]


@pytest.mark.parametrize("sides", [(9, 14), (1, 1), (64, 33)])
def test_one_model_answers_images_of_many_sizes(sides):
    model = models.pyramid_classifier(4, filters=(3, 3, 3))
    assert model.input_shape == (None, None, None, 3) and model.output_shape == (None, 4)
    answers = model(photographs(2, *sides, 3)).numpy()
    assert answers.shape == (2, 4) and np.isfinite(answers).all()


def test_the_network_is_that_of_the_filters():
    network = models.pyramid_classifier(7, filters=(5, 6), input_shape=(None, None, 1)).get_layer("network")
    shapes = [tuple(w.shape) for w in network.trainable_weights if len(w.shape) > 1]
    assert shapes == [(3, 3, 1, 5), (3, 3, 5, 6), (6, 7)]


def test_a_layer_can_be_the_network():
    network = keras.Sequential([keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(2)])
    model = models.pyramid_classifier(2, network=network, input_shape=(8, 8, 3))
    assert model(photographs(1, 8, 8, 3)).shape == (1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["logsumexp", "attention"])
def test_a_saved_model_answers_as_before(fusion, tmp_path, one_interpreter):
    model = models.pyramid_classifier(3, filters=(4,), input_shape=(None, None, 1), fusion=fusion)
    rng = np.random.default_rng(1)
    for w in model.weights:
        w.assign(w + 0.1 * rng.random(w.shape))
    images = photographs(2, 10, 13, 1)
    expected = model(images).numpy()
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(images), expected, atol=1e-6)
    np.testing.assert_allclose(again.get_layer("network")(images), model.get_layer("network")(images), atol=1e-6)

    export_saved_model(model, tmp_path / "served", sample=images)
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    np.testing.assert_allclose(served(image=images)["logits"], expected, atol=1e-5)


def test_logits_are_float32_under_mixed_precision():
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = models.pyramid_classifier(3, filters=(4,), input_shape=(8, 8, 1))
    finally:
        keras.mixed_precision.set_global_policy(before)
    assert model.get_layer("logits").input[0].dtype == "bfloat16"
    assert model(photographs(1, 8, 8, 1)).dtype == tf.float32


@pytest.mark.parametrize(
    "arguments, rule",
    [
        ({"num_classes": None}, "`num_classes` is required if `network` is None. Received: num_classes=None"),
        ({"num_classes": 0}, "`num_classes` must be an integer of at least 1.* Received: num_classes=0"),
        ({"filters": ()}, r"`filters` must be a list of .* at least one number. Received: filters=\(\)"),
        ({"filters": 16}, "`filters` must be a list of .* at least one number. Received: filters=16"),
        ({"filters": (4, 0)}, r"`filters\[1\]` must be an integer of at least 1.* Received: filters\[1\]=0"),
        ({"input_shape": (8, 8)}, r"`input_shape` must be \(height, width, channels\).* Received: .*\(8, 8\)"),
        ({"input_shape": (8, 8, None)}, r"`input_shape` must be \(height, width, channels\).* Received: "),
        ({"input_shape": 8}, r"`input_shape` must be \(height, width, channels\).* Received: input_shape=8"),
        ({"num_levels": 0}, "`num_levels` must be an integer of at least 1.* Received: num_levels=0"),
        ({"num_levels": None}, "`num_levels` must be an integer of at least 1.* Received: num_levels=None"),
        ({"upsampled_levels": 5}, "`upsampled_levels` must be less than `num_levels`.* Received: upsampled_levels=5"),
        ({"upsampled_levels": -1}, "`upsampled_levels` must be an integer of at least 0.* Received: "),
        ({"scale_factor": 1}, "`scale_factor` must be a finite number greater than 1.* Received: scale_factor=1"),
        ({"fusion": "median"}, "`fusion` must be one of 'logsumexp', .* Received: fusion='median'"),
        ({"network": "cnn"}, "`network` must be an instance of keras.layers.Layer. Received: network='cnn'"),
    ],
)
def test_arguments_are_checked(arguments, rule):
    with pytest.raises(ValueError, match=rule):
        models.pyramid_classifier(**{"num_classes": 3, **arguments})


def test_a_network_of_feature_maps_gets_a_head():
    stack = [keras.layers.Conv2D(4, 3, strides=2, padding="same"), keras.layers.BatchNormalization()]
    features = keras.Sequential([keras.Input((None, None, 3)), *stack])
    model = models.pyramid_classifier(5, network=features, num_levels=3, upsampled_levels=1)
    assert model(photographs(2, 20, 17, 3)).shape == (2, 5)
    network = model.get_layer("network")
    assert network(photographs(1, 9, 9, 3)).shape == (1, 5)
    assert len(model.trainable_weights) == len(network.trainable_weights) == 6


@pytest.mark.slow
def test_a_backbone_of_keras_can_be_the_network():
    arguments = {"include_top": False, "weights": None, "alpha": 0.35}
    features = keras.applications.MobileNetV2(input_shape=(None, None, 3), **arguments)
    model = models.pyramid_classifier(5, network=features, num_levels=2, upsampled_levels=0, scale_factor=2.0)
    assert model(photographs(1, 97, 64, 3)).shape == (1, 5)
    with pytest.raises(
        ValueError, match=r"keras.applications with include_top=False and input_shape=\(None, None, 3\)"
    ):
        models.pyramid_classifier(5, network=keras.applications.MobileNetV2(input_shape=(96, 96, 3), **arguments))


def test_a_network_of_one_size_is_refused():
    with pytest.raises(ValueError, match=r"`network` must accept images of any size.* Received: .*\(None, 8, 8, 2\)"):
        models.pyramid_classifier(network=small_network(sides=(8, 8)))


@pytest.mark.parametrize("num_classes, output", [(4, "(None, 3)"), (None, "(None, 9, 12, 4)")])
def test_a_network_must_return_logits(num_classes, output):
    network = small_network() if num_classes else keras.layers.Conv2D(4, 3, padding="same")
    with pytest.raises(ValueError, match="`network` must return logits .* Received: network '"):
        models.pyramid_classifier(num_classes, network=network, input_shape=(None, None, 2))


@pytest.mark.parametrize("sides", [(9, 12, 3), (None, None, 3)])
def test_no_images_have_no_logits(sides):
    model = models.pyramid_classifier(4, filters=(2, 3), input_shape=sides, num_levels=3)
    function = tf.function(model, autograph=False, input_signature=[tf.TensorSpec([None, *sides])])
    for answer in (model, function):
        assert answer(tf.zeros([0, 9, 12, 3])).shape == (0, 4)
        assert answer(tf.zeros([2, 9, 12, 3])).shape == (2, 4)
