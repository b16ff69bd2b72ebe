"""The classifier that stops at the coarsest levels that are sure."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tfpyramid import models, ops
from tfpyramid._compat import keras, raw
from tfpyramid.export import export_saved_model

COSTS = [2.0, 1.0, 0.5]
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


def classifier(**arguments):
    """With one upsampled level of 3, and confidences that differ between samples."""
    arguments = {"filters": (4,), "input_shape": (None, None, 2), "num_levels": 3, "upsampled_levels": 1, **arguments}
    model = models.pyramid_classifier(4, early_exit=True, **arguments)
    rng = np.random.default_rng(1)
    for w in model.trainable_weights:
        w.assign(rng.normal(0, 0.7, w.shape))
    return model


def between(model, images, share):
    """Assign thresholds so that this share of the images would go on at each level; return them."""
    _, log_odds = model.answer_every_level(images)
    thresholds = np.quantile(model.probabilities(log_odds), share, axis=0, method="midpoint")
    model.cascade.threshold.assign(thresholds)
    return thresholds


def test_without_an_early_exit_it_is_the_classifier_of_all_levels():
    model = models.pyramid_classifier(4, filters=(3,), input_shape=(None, None, 1), early_exit=True, discount=0)
    whole = models.pyramid_classifier(network=model.get_layer("network"))
    images = noise(3, 9, 14, 1)
    outputs = model(images)
    np.testing.assert_allclose(outputs["logits"], whole(images), atol=1e-5)
    # It is not trained, so that no level is sure.
    np.testing.assert_array_equal(outputs["level_weights"], np.eye(5)[[0, 0, 0]])


@pytest.mark.parametrize("fusion, fuse", [("logsumexp", np.logaddexp), ("max", np.maximum)])
def test_each_level_fuses_what_the_network_says_of_it_and_of_coarser_levels(fusion, fuse):
    model = classifier(fusion=fusion, discount=0.4)
    images = noise(2, 12, 9, 2)
    levels = ops.gaussian_pyramid(images, 3, scale_factor=2**0.5, upsampled_levels=1)
    logits = np.stack([model.network(level).numpy() for level in levels])
    every, _ = model.answer_every_level(images)
    expected = logits[2]
    np.testing.assert_allclose(every[:, 2], expected, atol=1e-5)
    for k in (1, 0):
        expected = fuse(expected - 0.4, logits[k])
        np.testing.assert_allclose(every[:, k], expected, atol=1e-5)


def test_each_sample_answers_from_the_first_level_that_is_sure():
    model = classifier()
    model.cascade.calibration.assign([[1.5, 0.2], [0.5, -0.2]])
    images = noise(40, 8, 8, 2) * np.linspace(0.2, 2, 40, dtype=np.float32)[:, None, None, None]
    thresholds = between(model, images, 0.6)
    every, log_odds = (x.numpy() for x in model.answer_every_level(images))
    p = scipy.special.expit(log_odds * [1.5, 0.5] + [0.2, -0.2])
    stop = np.max(np.where(p >= thresholds, [1, 2], 0), axis=1)
    assert set(stop) == {0, 1, 2}
    logits = every[np.arange(40), stop]
    outputs = model(images)
    np.testing.assert_array_equal(tf.argmax(outputs["level_weights"], axis=1), stop)
    np.testing.assert_allclose(outputs["logits"], logits, atol=1e-6)

    model.compile(loss=LOSS, metrics=["accuracy"])
    labels = np.arange(40) % 4
    measured = model.evaluate(images, labels, verbose=0, return_dict=True)
    assert measured["accuracy"] == pytest.approx(np.mean(logits.argmax(axis=1) == labels))
    assert measured["loss"] == pytest.approx(float(LOSS(labels, logits)), abs=1e-5)
    pixels = np.cumsum(COSTS[::-1])[::-1]
    assert measured["cascade_cost"] == pytest.approx(np.mean(pixels[stop]), abs=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_is_that_of_every_level_and_of_whether_it_was_right(weighted):
    model = classifier()
    model.compile(loss=LOSS)
    images, labels = noise(6, 8, 8, 2), np.arange(6) % 4
    weights = np.float32([1, 0, 2, 1, 3, 0.5]) if weighted else None
    outputs = model(images, training=True)
    assert outputs["logits"].shape == (6, 3, 4) and outputs["level_logits"].shape == (6, 2)
    # Other outputs of these shapes, because all levels of a model of noise are right about the same images.
    rng = np.random.default_rng(0)
    logits, log_odds = rng.normal(size=[6, 3, 4]).astype(np.float32), rng.normal(size=[6, 2]).astype(np.float32)
    outputs = {"logits": tf.constant(logits), "level_logits": tf.constant(log_odds)}
    entropy = scipy.special.logsumexp(logits, axis=2) - np.take_along_axis(logits, labels[:, None, None], 2)[..., 0]
    right = logits.argmax(axis=2) == labels[:, None]
    binary = np.logaddexp(0, log_odds) - right[:, 1:] * log_odds
    each = np.ones(6) if weights is None else weights
    value = np.mean(each[:, None] * entropy) + np.mean(each[:, None] * binary)
    loss = model.compute_loss(images, tf.constant(labels), outputs, sample_weight=weights)
    assert float(loss) == pytest.approx(value, rel=1e-5)


def test_the_confidence_does_not_train_the_network():
    model = classifier()
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(model(noise(3, 8, 8, 2), training=True)["level_logits"] ** 2)
    gradients = tape.gradient(value, [raw(w) for w in model.trainable_weights])
    of_network = {id(w) for w in model.network.trainable_weights}
    for w, gradient in zip(model.trainable_weights, gradients):
        assert (gradient is None) == (id(w) in of_network), w.name


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [False, True])
def test_fit_trains_the_confidence_and_the_network_unless_that_is_frozen(frozen):
    model = classifier()
    model.get_layer("network").trainable = not frozen
    before = {id(w): w.numpy() for w in model.weights}
    model.compile(keras.optimizers.SGD(0.1), LOSS)
    model.fit(noise(8, 8, 8, 2), np.arange(8) % 4, verbose=0)
    moved = {id(w) for w in model.weights if np.any(before[id(w)] != w.numpy())}
    of_network = {id(w) for w in model.network.weights}
    assert moved & of_network == (set() if frozen else of_network)
    for confidence in model.cascade.confidences:
        assert {id(w) for w in confidence.trainable_weights} <= moved


@pytest.mark.slow
def test_confidence_is_learned_and_calibrated_and_the_curve_is_what_is_measured():
    """The classes 2 and 3 look the same: an image of them is right half the time, others always."""
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(4), 50)
    images = np.float32(np.eye(2)[np.minimum(labels, 2) % 2])[:, None, None] * np.float32([1, 1])
    images = np.tile(images, (1, 8, 8, 1)) * (1 + (labels >= 2))[:, None, None, None]
    images = np.float32(images + rng.normal(0, 0.01, images.shape))
    flat = keras.layers.GlobalAveragePooling2D()
    linear = keras.layers.Dense(4)
    image = keras.Input((None, None, 2))
    network = keras.Model(image, linear(flat(image)))
    linear.set_weights([np.float32([[40, -20, 60, 60], [-20, 40, -20, -20]]), np.float32([0, 0, -30, -30.01])])
    model = models.pyramid_classifier(network=network, num_levels=3, upsampled_levels=1, early_exit=True)
    network.trainable = False
    model.compile(keras.optimizers.Adam(0.05), LOSS)
    model.fit(images, labels, epochs=15, batch_size=40, verbose=0)
    models.calibrate_confidence(model, (images, labels))
    logits, log_odds = model.answer_every_level(images)
    right = tf.argmax(logits, axis=2).numpy() == labels[:, None]
    p = model.probabilities(log_odds).numpy()
    unsure = labels >= 2
    np.testing.assert_allclose(p[unsure].mean(axis=0), right[unsure, 1:].mean(axis=0), atol=0.05)
    np.testing.assert_allclose(p[~unsure].mean(axis=0), right[~unsure, 1:].mean(axis=0), atol=0.05)

    curve = models.cost_curve(model, (images, labels))
    assert curve.pixels[0] == pytest.approx(COSTS[2])
    chosen = len(curve.pixels) // 2
    model.cascade.threshold.assign(curve.thresholds[chosen])
    model.compile(loss=LOSS, metrics=["accuracy"])
    measured = model.evaluate(images, labels, verbose=0, return_dict=True)
    assert measured["cascade_cost"] == pytest.approx(curve.pixels[chosen], abs=1e-5)
    assert measured["accuracy"] == pytest.approx(curve.accuracy[chosen], abs=1e-6)


@pytest.mark.parametrize("sides", [(9, 14), (1, 1)])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_it_takes_batches_and_images_of_any_size(sides, batch):
    outputs = classifier()(noise(batch, *sides, 2))
    assert outputs["logits"].shape == (batch, 4) and outputs["level_weights"].shape == (batch, 3)
    assert np.isfinite(outputs["logits"]).all()


def test_nan_in_an_image_reaches_its_own_answer_only():
    network = keras.Sequential([keras.Input((None, None, 2)), keras.layers.GlobalAveragePooling2D()])
    model = models.pyramid_classifier(network=network, num_levels=3, upsampled_levels=1, early_exit=True)
    model.cascade.threshold.assign([0.4, 0.4])
    images = noise(3, 8, 8, 2)
    images[1, 2, 3] = np.nan
    outputs = model(images)
    np.testing.assert_array_equal(np.isnan(outputs["logits"]).all(axis=1), [False, True, False])
    np.testing.assert_array_equal(tf.argmax(outputs["level_weights"], axis=1), [2, 0, 2])


@pytest.mark.slow
def test_a_saved_model_answers_as_before(tmp_path, one_interpreter):
    model = classifier()
    model.cascade.calibration.assign([[1.5, 0.1], [0.5, -0.1]])
    images = noise(20, 10, 13, 2)
    between(model, images, 0.5)
    outputs = model(images)
    assert len(np.unique(tf.argmax(outputs["level_weights"], axis=1))) == 3
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.get_layer("network").name == "network"
    for name, value in again(images).items():
        np.testing.assert_allclose(value, outputs[name], atol=1e-6)

    export_saved_model(model, tmp_path / "served", sample=images)
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    for name, value in served(image=images).items():
        np.testing.assert_allclose(value, outputs[name], atol=1e-5)


@pytest.mark.slow
def test_logits_are_float32_under_mixed_precision(tmp_path):
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = classifier()
        model.get_layer("network").trainable = False
        model.compile("adam", LOSS)
        model.fit(noise(4, 8, 8, 2), np.arange(4), verbose=0)
    finally:
        keras.mixed_precision.set_global_policy(before)
    assert model.network.compute_dtype == "bfloat16"
    outputs = model(noise(4, 8, 8, 2))
    assert outputs["logits"].dtype == tf.float32
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(noise(4, 8, 8, 2))["logits"], outputs["logits"], atol=1e-6)
    assert again.network.outputs[0].dtype == "bfloat16"


@pytest.mark.slow
def test_it_compiles_with_xla_without_a_partition():
    model = classifier()
    images = noise(6, 8, 8, 2)
    between(model, images, 0.5)
    expected = model(images)
    model.cascade.partition = False
    compiled = tf.function(model, autograph=False, jit_compile=True)(images)
    for name, value in compiled.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-5)


@pytest.mark.parametrize(
    "arguments, rule",
    [
        ({"early_exit": "yes"}, "`early_exit` must be True or False. Received: early_exit='yes'"),
        ({"discount": -1}, "`discount` must be .*at least 0.* Received: discount=-1"),
        ({"fusion": "mean"}, "`fusion` must be 'logsumexp' or 'max' with `early_exit`.* Received: fusion='mean'"),
        ({"fusion": "attention"}, "`fusion` must be 'logsumexp' or 'max' .* Received: fusion='attention'"),
        ({"num_levels": 1, "upsampled_levels": 0}, "`num_levels` must be at least 2 with .* Received: num_levels=1"),
    ],
)
def test_arguments_are_checked(arguments, rule):
    with pytest.raises(ValueError, match=rule):
        models.pyramid_classifier(**{"num_classes": 3, "early_exit": True, **arguments})
