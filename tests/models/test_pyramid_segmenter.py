"""pyramid_segmenter: shapes, learning, files and exports, and bad input."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, models
from tfpyramid._compat import KERAS_3, keras
from tfpyramid.models._pyramid_model import PyramidModel, PyramidSegmenter
from tfpyramid.models.pyramid_segmenter import _at_image_size


def photograph(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def small(num_classes=3, **arguments):
    return models.pyramid_segmenter(num_classes, **{"num_levels": 3, "filters": 4, "num_convolutions": 1, **arguments})


def test_no_images_have_no_masks():
    assert small()(tf.zeros([0, 9, 12, 3])).shape == (0, 9, 12, 3)


@pytest.mark.parametrize("sides", [(33, 47), (1, 1), (1, 9), (64, 64)])
def test_a_mask_has_the_size_of_its_image(sides):
    mask = small()(photograph(2, *sides, 3)).numpy()
    assert mask.shape == (2, *sides, 3)
    np.testing.assert_allclose(mask.sum(-1), np.ones([2, *sides]), atol=1e-5)


@pytest.mark.parametrize(
    "downsample, scale_factor",
    [
        (layers.AntiAliasedDownsample2D(strides=3), 3.0),
        (layers.LearnableDownsample2D(filters=5), 2.0),
        (layers.SpectralDownsample2D(1.7), None),
    ],
    ids=["by-3", "more-filters", "learned-sides"],
)
def test_any_downsampler_leads_down(downsample, scale_factor):
    model = small(downsample=downsample, scale_factor=scale_factor, input_shape=(None, None, 2))
    assert model(photograph(1, 17, 23, 2)).shape == (1, 17, 23, 3)


def test_every_level_is_heard_at_every_pixel():
    # Beyond what the convolutions of the finest level can see, the coarser ones can.
    image = tf.constant(photograph(1, 33, 33, 1))
    model = small(1, classifier_activation=None, input_shape=(33, 33, 1), num_levels=4)
    with tf.GradientTape() as tape:
        tape.watch(image)
        value = model(image)[0, 16, 16, 0]
    heard = np.abs(tape.gradient(value, image).numpy()[0, :, :, 0]) > 0
    assert heard[0].any() and heard[-1].any() and heard[:, 0].any() and heard[:, -1].any()


def backbone(sides=(None, None)):
    stack = [keras.layers.Conv2D(3, 3, strides=2, padding="same", activation="relu") for _ in range(4)]
    return keras.Sequential([keras.Input((*sides, 2)), *stack], name="mine")


@pytest.mark.parametrize("sides", [(33, 47), (64, 64), (1, 9)])
@pytest.mark.parametrize("strides", [(4, 8, 16), (2, 4), (8,)])
@pytest.mark.slow
def test_a_backbone_makes_the_levels(sides, strides):
    network = backbone()
    model = models.pyramid_segmenter(3, backbone=network, strides=strides, filters=4)
    assert model.input_shape == (None, None, None, 2)
    mask = model(photograph(2, *sides, 2)).numpy()
    assert mask.shape == (2, *sides, 3)
    np.testing.assert_allclose(mask.sum(-1), np.ones([2, *sides]), atol=1e-5)
    assert model(tf.zeros([0, *sides, 2])).shape == (0, *sides, 3)
    used = [w for w in network.weights if any(w is v for v in model.get_layer("backbone").weights)]
    assert len(used) == 2 * strides[-1].bit_length() - 2


@pytest.mark.parametrize("phase", [0.0, 1.0])
def test_logits_of_a_backbone_keep_their_positions(phase):
    """Each map holds the column of its samples: the logits then hold the columns of the pixels."""

    def half(name):
        # Reads pixel 2 i + phase.
        taps = np.eye(1, 2, int(phase))[0].reshape(1, 2, 1, 1)
        layer = keras.layers.Conv2D(1, (1, 2), strides=2, use_bias=False, name=name)
        layer.build((None, None, None, 1))
        layer.set_weights([taps])
        return layer

    network = keras.Sequential([keras.Input((None, None, 1)), half("first"), half("second")])
    columns = np.broadcast_to(np.arange(32.0, dtype=np.float32), [1, 32, 32])[..., None]
    (level,) = tf.nest.flatten(models.feature_levels(network, (4,))(columns))
    found = _at_image_size(4, 2.0, phase)([level, columns])
    np.testing.assert_allclose(found[:, :, 3:29], columns[:, :, 3:29], atol=1e-5)


@pytest.mark.parametrize("sides", [(8, 8), (1, 1), (16, 1)])
@pytest.mark.parametrize("classes, loss", [(3, "sparse_categorical_crossentropy"), (1, "binary_crossentropy")])
def test_masks_of_another_size_than_their_images_are_an_error(classes, loss, sides):
    model = small(classes, classifier_activation=None)
    model.compile("sgd", loss)
    images = photograph(2, 16, 16, 3)
    masks = np.zeros([2, *sides, 1] if classes == 1 else [2, *sides], np.int32)
    with pytest.raises(ValueError, match=r"`y`, the masks, must have the height .* Received: masks of shape .*16, 16"):
        model.compute_loss(images, tf.constant(masks), model(images))
    # A graph that knows no sides compares them when it runs.
    spec = tf.TensorSpec([None, None, None, 1])
    graph = tf.function(lambda y, y_pred: model.compute_loss(images, y, y_pred), input_signature=[spec, spec])
    if classes == 1:
        assert np.isfinite(graph(np.zeros([2, 16, 16, 1], np.float32), model(images)))
        with pytest.raises(tf.errors.InvalidArgumentError, match="`y`, the masks, must have the height and the width"):
            graph(np.float32(masks), model(images))


def test_a_frozen_backbone_is_not_trained():
    network = backbone()
    network.trainable = False
    model = models.pyramid_segmenter(3, backbone=network, strides=(4, 8), filters=4, input_shape=(16, 20, 2))
    assert not model.get_layer("backbone").trainable_weights and model.trainable_weights


@pytest.mark.parametrize(
    "arguments, rule",
    [
        ({"backbone": "resnet"}, "`backbone` must be a functional or sequential keras.Model. Received: backbone='res"),
        ({"strides": (4, 16)}, r"`strides` must each be `scale_factor` = 2 times the one before. Received: strides="),
        (
            {"strides": (8, 32)},
            r"the backbone 'mine', which has maps of the strides \[2, 4, 8, 16\], and none of \[32\]",
        ),
        ({"downsample": layers.BlurPool2D()}, "`downsample` must be None with a `backbone`.* Received: downsample="),
        ({"input_shape": (16, 16, 3)}, "`input_shape` must be that of the images of the `backbone`, .* Received: inp"),
        ({"input_shape": (8,)}, "`input_shape` must be .height, width, channels.*. Received: input_shape="),
        (
            {"backbone": backbone((32, 32)), "input_shape": (None, None, 2)},
            "For images of any size, build the backbone",
        ),
        ({"backbone": backbone((8, 8)), "strides": (8, 16)}, "`backbone` must take images of at least 16 by 16"),
    ],
)
def test_arguments_with_a_backbone_are_checked(arguments, rule):
    with pytest.raises(ValueError, match=rule):
        models.pyramid_segmenter(2, **{"backbone": backbone(), "strides": (4, 8), **arguments})


@pytest.mark.slow
def test_a_few_steps_find_the_bright_squares():
    rng = np.random.default_rng(0)
    images = 0.3 * rng.random([32, 15, 17, 1], np.float32)
    masks = np.zeros([32, 15, 17, 1], np.float32)
    for k, (i, j) in enumerate(rng.integers(0, 9, [32, 2])):
        masks[k, i : i + 6, j : j + 6] = 1
    images += 0.3 * masks
    model = small(1, classifier_activation="sigmoid", input_shape=(None, None, 1))
    model.compile(keras.optimizers.Adam(0.03), "binary_crossentropy")
    losses = model.fit(images, masks, epochs=12, batch_size=16, verbose=0).history["loss"]
    # Out of training too: the statistics have followed.
    assert losses[-1] < 0.5 * losses[0] and model.evaluate(images, masks, verbose=0) < 0.7 * losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("channels", [3, 2], ids=["small", "backbone"])
def test_it_is_saved_and_exported(tmp_path, channels):
    model = small() if channels == 3 else small(backbone=backbone(), strides=(4, 8))
    images = [photograph(2, 9, 6, channels), photograph(1, 16, 16, channels)]
    expected = [model(x) for x in images]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is PyramidSegmenter
    model.export(str(tmp_path / "export"))
    served = tf.saved_model.load(str(tmp_path / "export"))
    for x, y in zip(images, expected):
        np.testing.assert_allclose(again(x), y, atol=1e-6)
        np.testing.assert_allclose(served.serve(x), y, atol=1e-6)


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 creates the variables of an optimizer outside of the graph")
@pytest.mark.slow
def test_a_first_fit_traces_the_model_once(monkeypatch):
    traced = []
    call = PyramidModel.call
    monkeypatch.setattr(PyramidModel, "call", lambda self, *args, **kw: traced.append(self) or call(self, *args, **kw))
    model = small()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.get_layer("head").trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(photograph(4, 8, 8, 3), np.zeros([4, 8, 8]), batch_size=2, verbose=0)
    assert traced == [model]
    # The step counter and the rate, then two moments of each weight that is trained.
    assert len(model.optimizer.variables) == 2 + 2 * len(model.trainable_variables)


def test_the_mask_is_float32_under_mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        mask = small()(photograph(1, 8, 8, 3))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert mask.dtype == tf.float32
    np.testing.assert_allclose(tf.reduce_sum(mask, -1), np.ones([1, 8, 8]), atol=1e-6)


@pytest.mark.parametrize(
    "arguments, rule",
    [
        ({"num_classes": 0}, "`num_classes` must be an integer of at least 1, the channels of the mask"),
        ({"num_levels": 0}, "`num_levels` must be an integer of at least 1"),
        ({"filters": 0}, "`filters` must be an integer of at least 1"),
        ({"num_convolutions": 0}, "`num_convolutions` must be an integer of at least 1"),
        ({"scale_factor": 1}, "`scale_factor` must be a finite number greater than 1"),
        ({"downsample": "conv"}, "`downsample` must be an instance of keras.layers.Layer"),
        ({"input_shape": (32, 32)}, "`input_shape` must be .height, width, channels."),
        ({"input_shape": (0, None, 3)}, "`input_shape` must be .height, width, channels."),
        ({"input_shape": (32, 32, None)}, "`input_shape` must be .height, width, channels."),
        ({"input_shape": 32}, "`input_shape` must be .height, width, channels."),
    ],
)
def test_bad_arguments_are_errors(arguments, rule):
    with pytest.raises(ValueError, match=f"{rule}.* Received: {next(iter(arguments))}="):
        models.pyramid_segmenter(**{"num_classes": 2, **arguments})


@pytest.mark.parametrize("activation", ["softmax", keras.activations.softmax])
def test_one_class_has_no_softmax(activation):
    with pytest.raises(ValueError, match="`classifier_activation` must not be 'softmax'.* Received: classifier_act"):
        models.pyramid_segmenter(1, classifier_activation=activation)


def test_images_of_another_factor_than_was_said_are_an_error():
    with pytest.raises(ValueError, match="`levels` must be finest first. Each side must be .* Received: sides"):
        small(downsample=layers.LearnableDownsample2D(strides=3), input_shape=(16, 16, 3))
