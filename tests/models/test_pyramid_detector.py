"""pyramid_detector: shapes, learning, files and exports."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.detections import photograph, small, targets, tiny_backbone
from tfpyramid._compat import KERAS_3, keras
from tfpyramid.export import export_saved_model
from tfpyramid.models._detector_model import PyramidDetector

KEYS = {"boxes", "scores", "classes", "counts"}
PARTS = {"class_loss", "box_loss", "centerness_loss", "loss"}


@pytest.fixture(scope="module")
def model():
    """One for all tests that do not train it."""
    return small()


def bright_squares(count, side=24):
    """Return images with a bright square of 8 or 16 pixels, its class by its color, and its box."""
    rng = np.random.default_rng(0)
    images = 0.2 * rng.random([count, side, side, 3], np.float32)
    classes = rng.integers(2, size=(count, 1))
    boxes = np.zeros([count, 1, 4], np.float32)
    for k in range(count):
        size = (8, 16)[rng.integers(2)]
        y, x = rng.integers(side - size + 1, size=2)
        images[k, y : y + size, x : x + size, classes[k, 0]] += 0.8
        boxes[k] = y, x, y + size, x + size
    return images, {"boxes": boxes, "classes": classes}


@pytest.mark.parametrize("batch, sides", [(2, (33, 47)), (1, (1, 1)), (1, (1, 9)), (0, (16, 16))])
def test_images_of_any_size_have_detections(model, batch, sides):
    found = model(photograph(batch, *sides, 3))
    assert {key: (y.shape, y.dtype.name) for key, y in found.items()} == {
        "boxes": ((batch, 6, 4), "float32"),
        "scores": ((batch, 6), "float32"),
        "classes": ((batch, 6), "int32"),
        "counts": ((batch,), "int32"),
    }
    boxes, counts = found["boxes"].numpy(), found["counts"].numpy()
    assert (boxes >= 0).all() and (boxes <= np.tile(sides, 2)).all() and (counts > 0).all()
    for k, count in enumerate(counts):
        assert (found["classes"][k, :count].numpy() >= 0).all() and (found["classes"][k, count:].numpy() == -1).all()


def test_training_mode_returns_the_predictions_of_the_network(model):
    images = photograph(2, 33, 47, 3)
    found = model(images, training=True)
    assert {key: [tuple(y.shape) for y in levels] for key, levels in found.items()} == {
        key: [(2, 9, 12, n), (2, 5, 6, n), (2, 3, 3, n)]
        for key, n in (("logits", 3), ("distances", 4), ("centerness", 1))
    }
    assert all(y.numpy().min() > 0 for y in found["distances"])


@pytest.mark.slow
def test_a_few_steps_find_the_bright_squares():
    images, y = bright_squares(64)
    model = small(2, strides=(2, 4), extra_levels=0, filters=8, score_threshold=0.05)
    model.compile(keras.optimizers.Adam(0.02))
    history = model.fit(images, y, epochs=16, batch_size=16, verbose=0, validation_data=(images, y)).history
    assert set(history) == PARTS | {f"val_{part}" for part in PARTS}
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    loss = model.evaluate(images, y, batch_size=16, verbose=0, return_dict=True)["loss"]
    np.testing.assert_allclose(history["val_loss"][-1], loss, rtol=1e-5)
    found = model.predict(images, verbose=0)
    np.testing.assert_array_equal(found["classes"][:, :1], y["classes"])
    assert np.abs(found["boxes"][:, 0] - y["boxes"][:, 0]).mean() < 1.5


def test_evaluation_and_training_mode_have_one_loss(model):
    images, y = photograph(2, 33, 47, 3), targets(2)
    loss = model.compute_loss(images, y, model(images))
    expected = model.compute_loss(images, y, model.network(images))
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.uint8])
def test_targets_of_other_dtypes_are_converted(model, dtype):
    images, y = photograph(2, 33, 47, 3), targets(2)
    expected = model.compute_loss(images, y, model(images))
    other = {"boxes": y["boxes"].astype(dtype), "classes": y["classes"].astype(dtype)}
    np.testing.assert_allclose(model.compute_loss(images, other, model(images)), expected)


def test_padding_and_parts_outside_the_image_change_nothing(model):
    images = photograph(2, 33, 47, 3)
    predictions = model(images)
    inside = targets(2, [(2, 3, 33, 47)], [0])
    outside = targets(2, [(2, 3, 90, 99), (1, 1, 9, 9), (40, 5, 60, 20), (9, 9, 9, 9)], [0, -1, 1, 2])
    expected = model.compute_loss(images, inside, predictions)
    np.testing.assert_allclose(model.compute_loss(images, outside, predictions), expected)


@pytest.mark.parametrize("boxes, classes", [(np.zeros([0, 4]), []), ([(0, 0, 0, 0)], [-1])], ids=["none", "padding"])
def test_images_without_boxes_have_a_finite_loss_and_gradients(model, boxes, classes):
    images, y = photograph(2, 17, 9, 3), targets(2, boxes, classes)
    y["classes"] = y["classes"].reshape(2, -1)
    with tf.GradientTape() as tape:
        loss = model.compute_loss(images, y, model(images, training=True))
    gradients = tape.gradient(loss, [getattr(w, "value", w) if KERAS_3 else w for w in model.trainable_variables])
    assert np.isfinite(loss) and loss > 0
    assert all(np.isfinite(g).all() for g in gradients if g is not None)


def test_sample_weights_weigh_images(model):
    images, y = photograph(2, 33, 47, 3), targets(2)
    y["classes"][1] = -1
    predictions = model(images)
    both = model.compute_loss(images, y, predictions, np.float32([2, 0]))
    first = model.compute_loss(images[:1], {k: v[:1] for k, v in y.items()}, model(images[:1]))
    np.testing.assert_allclose(both, 2 * first, rtol=1e-5)


def test_an_empty_batch_has_a_loss_of_zero(model):
    images = photograph(0, 16, 16, 3)
    loss = model.compute_loss(images, {"boxes": np.zeros([0, 1, 4]), "classes": np.zeros([0, 1])}, model(images))
    np.testing.assert_array_equal(loss, 0)


@pytest.mark.slow
def test_a_backbone_makes_the_levels():
    backbone = tiny_backbone()
    model, images = small(backbone=backbone), photograph(2, 33, 47, 3)
    assert [tuple(y.shape) for y in model(images, training=True)["logits"]] == [
        (2, 8, 11, 3),
        (2, 4, 5, 3),
        (2, 2, 3, 3),
    ]
    assert {id(w) for w in backbone.weights} < {id(w) for w in model.weights}
    for trainable in (False, True):  # The moving statistics of a frozen batch normalization stay, too.
        backbone.trainable = trainable
        model.compile(keras.optimizers.SGD(0.1))
        before = [np.array(w) for w in backbone.weights]
        model.fit(images, targets(2), verbose=0)
        same = [np.array_equal(old, new) for old, new in zip(before, backbone.weights)]
        assert not any(same) if trainable else all(same)


def test_the_images_have_the_size_that_the_backbone_takes():
    assert small(backbone=tiny_backbone((32, 24))).input_shape == (None, 32, 24, 3)


@pytest.mark.slow
def test_a_network_of_keras_is_trained_saved_and_exported(tmp_path):
    backbone = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(None, None, 3), alpha=0.35)
    model = small(backbone=backbone, strides=(8, 16, 32), extra_levels=2)
    images = photograph(2, 97, 131, 3)
    model.compile(keras.optimizers.Adam(1e-3))
    assert np.isfinite(model.fit(images, targets(2), epochs=2, verbose=0).history["loss"]).all()
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    path = export_saved_model(model, tmp_path / "export")
    served = tf.saved_model.load(str(path)).signatures["serving_default"]
    for key, value in model(images).items():
        np.testing.assert_allclose(again(images)[key], value, atol=1e-4)
        np.testing.assert_allclose(served(image=tf.constant(images))[key], value, atol=1e-4)


@pytest.mark.slow
def test_it_is_saved_and_exported(tmp_path):
    images, y = bright_squares(8)
    model = small(2, center_radius=None, reach=3.0)
    model.compile(keras.optimizers.Adam(0.01))
    model.fit(images, y, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is PyramidDetector and (again.reach, again.center_radius) == (3.0, None)
    path = export_saved_model(model, tmp_path / "export", uint8=True)
    served = tf.saved_model.load(str(path)).signatures["serving_default"]
    for x in (images, photograph(1, 33, 47, 3), photograph(0, 9, 9, 3)):
        expected = model(x)
        for found in (again(x), served(image=tf.constant(x))):
            assert set(found) == KEYS
            for key, value in expected.items():
                np.testing.assert_allclose(found[key], value, atol=1e-5)
    again.fit(images, y, verbose=0)
    model.fit(images, y, verbose=0, shuffle=False)


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 uses XLA only if it is asked to")
def test_keras_does_not_use_xla_by_default(model):
    assert not model.get_layer("detections").supports_jit


def test_detections_have_no_gradient_but_do_not_fail(model):
    images = tf.constant(photograph(1, 16, 16, 3))
    with tf.GradientTape() as tape:
        tape.watch(images)
        found = model(images)
    assert tape.gradient(found["scores"], images) is None


def test_predictions_are_float32_under_mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = small()
        found, raw = model(photograph(1, 16, 16, 3)), model(photograph(1, 16, 16, 3), training=True)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert model.get_layer("network").get_layer("class_0").compute_dtype == "float16"
    assert {y.dtype for y in tf.nest.flatten(raw)} | {found["boxes"].dtype, found["scores"].dtype} == {tf.float32}
