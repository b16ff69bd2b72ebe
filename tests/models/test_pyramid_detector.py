"""pyramid_detector: shapes, learning, files and exports, and bad input."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import models
from tfpyramid._compat import KERAS_3, keras
from tfpyramid.export import export_saved_model
from tfpyramid.models._detector_model import PyramidDetector

KEYS = {"boxes", "scores", "classes", "counts"}
PARTS = {"class_loss", "box_loss", "centerness_loss", "loss"}


def photograph(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def small(num_classes=3, **arguments):
    options = {"strides": (4, 8), "extra_levels": 1, "filters": 4, "num_convolutions": 1, "max_detections": 6}
    # Before training every score is near 0.07.
    return models.pyramid_detector(num_classes, **{**options, "score_threshold": 0.01, **arguments})


@pytest.fixture(scope="module")
def model():
    """One for all tests that do not train it."""
    return small()


def targets(batch, boxes=((2, 3, 20, 30), (5, 5, 9, 9)), classes=(2, 1)):
    return {"boxes": np.tile(np.float32(boxes), (batch, 1, 1)), "classes": np.tile(np.int32(classes), (batch, 1))}


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


def tiny_backbone(sides=(None, None)):
    """Return a network that rounds sides down, with maps of strides 2, 4 and 8."""
    image = x = keras.Input((*sides, 3))
    for k in range(3):
        x = keras.layers.Conv2D(3 + k, 2, strides=2, activation="relu", name=f"stride_{2 ** (k + 1)}_conv")(x)
    return keras.Model(image, x)


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
    backbone.trainable = False
    model.compile(keras.optimizers.SGD(0.1))
    before = [np.array(w) for w in backbone.weights]
    model.fit(images, targets(2), verbose=0)
    for old, new in zip(before, backbone.weights):
        np.testing.assert_array_equal(old, new)


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
        ({"backbone": "resnet"}, "`backbone` must be a functional keras.Model, or None"),
        ({"input_shape": (32, 32)}, "`input_shape` must be .height, width, channels."),
    ],
)
def test_bad_arguments_are_errors(arguments, rule):
    with pytest.raises(ValueError, match=f"{rule}.* Received: {next(iter(arguments))}="):
        models.pyramid_detector(**{"num_classes": 2, **arguments})


def test_a_backbone_without_a_stride_is_an_error():
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
