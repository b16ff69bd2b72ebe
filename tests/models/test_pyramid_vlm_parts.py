"""The model of visual questions with encoders, a decoder and summaries of the user."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.visual_questions import ANSWERS, COUNT, LEVELS, WORDS, compiled, data, small
from tfpyramid import layers, models
from tfpyramid._compat import KERAS_3, keras


@pytest.mark.slow
def test_an_encoder_of_questions_and_a_downsampler_of_ones_own_are_used():
    encoder = keras.Sequential(
        [keras.Input((None,), dtype="int32"), keras.layers.Embedding(WORDS, 4), keras.layers.GRU(6)]
    )
    model = small(question_encoder=encoder, downsample=layers.BlurPool2D())
    again = type(model).from_config(model.get_config())
    again.set_weights(model.get_weights())
    inputs, _ = data()
    for name, value in model.predict(inputs, verbose=0).items():
        np.testing.assert_allclose(again.predict(inputs, verbose=0)[name], value, atol=1e-6)
    assert isinstance(again.router.pyramid.downsamplers[0], layers.BlurPool2D)


@keras.saving.register_keras_serializable("tests")
class Words(keras.layers.Layer):
    """A decoder that answers in three words, from features that are a grid of vectors."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(3 * ANSWERS)

    def build(self, input_shape):
        (_, places, channels), (_, units) = input_shape
        self.dense.build((None, places * channels + units))
        super().build(input_shape)

    def call(self, inputs):
        features, question = inputs
        flat = tf.concat([tf.reshape(features, [-1, features.shape[1] * features.shape[2]]), question], 1)
        return tf.nn.softmax(tf.reshape(self.dense(flat), [-1, 3, ANSWERS]))

    def compute_output_shape(self, input_shape):
        return (input_shape[0][0], 3, ANSWERS)


def places(strides):
    """Return an encoder of images of 16 by 16 pixels, or of a coarser level, to a grid of 2 by 2 vectors."""
    stack = [keras.layers.Conv2D(4, 3, 2, padding="same", activation="relu") for _ in range(strides)]
    return keras.Sequential([*stack, keras.layers.Reshape((4, 4))], name=f"places_{strides}")


def wordy(objective="value", **arguments):
    encoders = [places(3), places(2)]
    summaries = [None, keras.layers.GlobalAveragePooling2D(name="mean")]
    parts = {"image_encoder": encoders, "decoder": Words(name="words")}
    if objective != "cascade":
        parts["summaries"] = summaries
    return small(objective, **{"input_shape": (16, 16, 3), **parts, **arguments})


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["value", "softmax", "cascade"])
def test_parts_of_ones_own_answer_in_words_and_are_trained_saved_and_loaded(objective, tmp_path):
    inputs, _ = data()
    inputs = {**inputs, "image": inputs["image"][:6, :16, :16]}  # Two questions for each image.
    labels = np.random.default_rng(1).integers(0, ANSWERS, [COUNT, 3])
    model = compiled(wordy(objective))
    batch = tf.data.Dataset.from_tensors((inputs, labels))
    for _ in range(2):  # The last layer of the selector starts at 0: in the first step, nothing in front of it moves.
        before = [w.numpy() for w in model.trainable_weights]
        losses = model.fit(batch, epochs=1, shuffle=False, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    moved = [np.any(w.numpy() != start) for w, start in zip(model.trainable_weights, before)]
    assert all(moved), [w.name for w, each in zip(model.trainable_weights, moved) if not each]
    outputs = model.predict(batch, verbose=0)
    assert outputs["answer"].shape == (COUNT, 3, ANSWERS)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    if objective != "cascade":
        assert [part and part.name for part in again.summaries] == [None, "mean"]
    for name, value in again.predict(batch, verbose=0).items():
        np.testing.assert_allclose(value, outputs[name], atol=1e-6)


def test_the_selector_reads_the_summaries_of_the_image_of_each_question():
    inputs, _ = data()
    model = small(cost_weight=0.0, summaries=keras.layers.GlobalAveragePooling2D(name="mean"))
    assert [part.name for part in model.summaries] == ["mean_0", "mean_1"]
    # Brighter than this image, level 0; darker, level 1. The query has 6 numbers, and the summaries 3 each.
    images = inputs["image"][:4] * np.float32([1, 2, 3, 4])[:, None, None, None]
    bright = np.r_[np.zeros(6), np.ones(6)] / 6
    model.selector.hidden_kernel.assign(np.tile(bright[:, None], (1, model.selector.units)))
    first = np.arange(model.selector.units) == 0
    model.selector.logits_kernel.assign(np.stack([first, 0 * first], axis=1).astype("float32"))
    model.selector.logits_bias.assign([0.0, 1.25])
    query = model.question_encoder(inputs["question"])
    seen = [np.repeat(tf.reduce_mean(level, [1, 2]), 3, axis=0) for level in model.router.pyramid(images)]
    outputs = model({**inputs, "image": images})
    np.testing.assert_array_equal(np.argmax(outputs["level_weights"], axis=1), np.repeat([1, 1, 0, 0], 3))
    np.testing.assert_array_equal(outputs["level_weights"], model.selector([query, *seen]))
    logits = model({**inputs, "image": images}, training=True)["level_logits"]
    np.testing.assert_allclose(logits, model.selector.level_logits([query, *seen]), rtol=1e-5, atol=1e-5)
    assert len(small().summaries) == 0


def test_an_answer_in_words_is_right_if_all_its_words_are():
    model = wordy()
    model.compile("sgd", "sparse_categorical_crossentropy")
    labels = np.random.default_rng(1).integers(0, ANSWERS, [COUNT, 3])
    answers = np.random.default_rng(2).dirichlet(np.ones(ANSWERS), [COUNT, LEVELS, 3]).astype(np.float32)
    answers[::2, 0] = np.eye(ANSWERS)[labels[::2]] * 0.9 + 0.02  # These are right at level 0.
    logits = np.random.default_rng(3).standard_normal([COUNT, LEVELS]).astype(np.float32)
    y_pred = {"answer": tf.constant(answers), "level_logits": tf.constant(logits)}
    training = {"training": True} if KERAS_3 else {}
    for y in (labels, np.eye(ANSWERS, dtype=np.float32)[labels]):
        if y.ndim == 3:
            model.compile("sgd", "categorical_crossentropy")
        found = model.compute_loss(None, tf.constant(y), y_pred, **training)
        right = np.all(answers.argmax(axis=3) == labels[:, None], axis=2)
        assert 0 < right.mean() < 1
        entropy = -np.log(np.take_along_axis(answers, labels[:, None, :, None], axis=3))
        expected = entropy.mean() + np.logaddexp(0, np.where(right, -logits, logits)).mean()
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_each_level_gets_a_copy_of_one_image_encoder_with_its_weights():
    encoder = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.Conv2D(6, 3, padding="same"), keras.layers.GlobalMaxPooling2D()],
        name="mine",
    )
    model = small(image_encoder=encoder)
    assert [each.name for each in model.router.encoders] == ["mine_0", "mine_1"]
    for copy in model.router.encoders:
        for value, expected in zip(copy.get_weights(), encoder.get_weights(), strict=True):
            np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"vocabulary_size": 1}, "`vocabulary_size` must be an integer of at least 2, the number of token ids"),
        ({"num_answers": 0}, "`num_answers` must be an integer of at least 1"),
        ({"num_levels": 0}, "`num_levels` must be an integer of at least 1"),
        ({"filters": 0}, "`filters` must be an integer of at least 1"),
        ({"units": "many"}, "`units` must be an integer of at least 1"),
        ({"objective": "best"}, "`objective` must be one of 'softmax', 'gumbel', 'value', 'cascade'"),
        ({"cost_weight": -1}, "`cost_weight` must be a finite number of at least 0"),
        ({"input_shape": (None, None)}, r"`input_shape` must be \(height, width, channels\)"),
        ({"question_encoder": "words"}, "`question_encoder` must be an instance of keras.layers.Layer"),
        (
            {"question_encoder": keras.layers.Embedding(WORDS, 4)},
            r"`question_encoder` must return one vector for each sample.* Received: output of shape \(None, None, 4\)",
        ),
        ({"image_encoder": 3}, "`image_encoder` must be an instance of keras.layers.Layer"),
        ({"image_encoder": [keras.layers.GlobalMaxPooling2D()]}, "`image_encoder` must be one layer, or a list of 4"),
        ({"image_encoder": [keras.layers.GlobalMaxPooling2D()] * 4}, "`image_encoder` must be different layers"),
        ({"image_encoder": keras.layers.MaxPooling2D()}, "`image_encoder` must return features of one known shape"),
        ({"image_encoder": keras.layers.Dot(axes=1)}, "`image_encoder` must return .* it says: "),
        (
            {"image_encoder": keras.layers.GlobalMaxPooling2D()},
            r"`image_encoder` must return \[batch, units\] unless .* Received: output of shape \(None, 3\), units=64",
        ),
        (
            {"decoder": keras.layers.Dense(2)},
            r"`decoder` must be a layer that can be called on inputs of .* Received: ",
        ),
        (
            {"decoder": keras.layers.Concatenate()},
            r"`decoder` must return \[batch, num_answers\] .* Received: output of shape \(None, 128\), num_answers=5",
        ),
        ({"summaries": keras.layers.MaxPooling2D()}, r"`summaries\[0\]` must return one vector for each sample"),
        ({"confidences": keras.layers.Dense(1)}, "`confidences` must be None unless the objective is 'cascade'"),
        ({"objective": "cascade", "num_levels": 1}, "`num_levels` must be at least 2 with the objective 'cascade'"),
        (
            {"objective": "cascade", "summaries": keras.layers.GlobalAveragePooling2D()},
            "`summaries` must be None with the objective 'cascade'",
        ),
        (
            {"objective": "cascade", "confidences": [keras.layers.Dense(1)]},
            "`confidences` must be .* a list of 3 layers",
        ),
        ({"objective": "cascade", "confidences": "sure"}, "`confidences` must be an instance of keras.layers.Layer"),
        (
            {"objective": "cascade", "confidences": keras.layers.Concatenate()},
            r"`confidences` must return the log-odds of each sample, \[batch, 1\]",
        ),
        ({"summaries": ["mean"] * 4}, r"`summaries\[0\]` must be an instance of keras.layers.Layer"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        models.pyramid_vlm(**{"vocabulary_size": WORDS, "num_answers": ANSWERS, **arguments})


def test_each_level_but_the_finest_gets_a_copy_of_one_confidence_with_its_weights():
    features, question = keras.Input((6,)), keras.Input((6,))
    sure = keras.Model([features, question], keras.layers.Dense(1)(features), name="sure")
    model = small("cascade", num_levels=3, confidences=sure)
    assert [each.name for each in model.cascade.confidences] == ["sure_0", "sure_1"]
    for copy in model.cascade.confidences:
        for value, expected in zip(copy.get_weights(), sure.get_weights(), strict=True):
            np.testing.assert_array_equal(value, expected)
    np.testing.assert_allclose(model.cascade.threshold, 1 - 0.02 * 4.0 ** -np.arange(2), rtol=1e-6)
    assert small("cascade", cost_weight=3.0).cascade.threshold.numpy() == [0]
