"""pyramid_segmenter: shapes, learning, files and exports, and bad input."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, models
from tfpyramid._compat import KERAS_3, keras
from tfpyramid.models._pyramid_model import PyramidModel


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
def test_it_is_saved_and_exported(tmp_path):
    model = small()
    images = [photograph(2, 9, 6, 3), photograph(1, 16, 16, 3)]
    expected = [model(x) for x in images]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is PyramidModel
    model.export(str(tmp_path / "export"))
    served = tf.saved_model.load(str(tmp_path / "export"))
    for x, y in zip(images, expected):
        np.testing.assert_allclose(again(x), y, atol=1e-6)
        np.testing.assert_allclose(served.serve(x), y, atol=1e-6)


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 creates the variables of an optimizer outside of the graph")
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
