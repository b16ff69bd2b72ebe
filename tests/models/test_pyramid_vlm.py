"""The model of visual questions: what it is trained on, what it answers with, and how it is served."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, models
from tfpyramid._compat import KERAS_3, keras
from tfpyramid.export import export_saved_model

COUNT, ANSWERS, WORDS, LEVELS = 12, 5, 20, 2
OBJECTIVES = ["value", "softmax", "gumbel"]


def small(objective="value", **arguments):
    arguments = {"num_levels": LEVELS, "filters": 2, "units": 6, "seed": 1, **arguments}
    return models.pyramid_vlm(WORDS, ANSWERS, objective=objective, **arguments)


def data():
    rng = np.random.default_rng(0)
    images = rng.random([COUNT, 17, 20, 3]).astype(np.float32)
    tokens = rng.integers(1, WORDS, [COUNT, 7]).astype(np.int32)
    return {"image": images, "question": tokens}, rng.integers(0, ANSWERS, COUNT).astype(np.int32)


def compiled(model, **arguments):
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"], **arguments)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_it_is_trained_saved_and_loaded_as_any_model(objective, tmp_path):
    inputs, labels = data()
    model = compiled(small(objective))
    before = [w.numpy() for w in model.trainable_weights]
    history = model.fit(inputs, labels, validation_data=(inputs, labels), batch_size=6, verbose=0).history
    moved = [np.any(w.numpy() != start) for w, start in zip(model.trainable_weights, before)]
    assert all(moved), [w.name for w, each in zip(model.trainable_weights, moved) if not each]
    for name in ("selector_cost", "val_selector_cost"):
        assert all(1 / 4 <= cost <= 1 for cost in history[name])
    outputs = model.predict(inputs, verbose=0)
    assert outputs["answer"].shape == (COUNT, ANSWERS)
    np.testing.assert_allclose(outputs["answer"].sum(axis=1), 1, atol=1e-6)
    assert set(np.unique(outputs["level_weights"])) <= {0, 1}

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    again = loaded.predict(inputs, verbose=0)
    for name, value in outputs.items():
        np.testing.assert_allclose(again[name], value, atol=1e-6)
    loss = loaded.evaluate(inputs, labels, verbose=0, return_dict=True)["loss"]
    np.testing.assert_allclose(loss, history["val_loss"][-1], rtol=1e-4)


def test_the_answer_is_that_of_the_chosen_level_alone():
    inputs, _ = data()
    model = small(cost_weight=0.0)
    for w in model.selector.trainable_weights:  # Large, so that the choice differs from question to question.
        w.assign(20 * np.random.default_rng(1).standard_normal(w.shape))
    outputs = model.predict(inputs, verbose=0)
    chosen = outputs["level_weights"].argmax(axis=1)
    assert len(set(chosen)) > 1
    question = model.question_encoder(inputs["question"])
    levels = model.router.pyramid(inputs["image"])
    for k in set(chosen):
        answer = model.decoder([model.router.encoders[k](levels[k]), question]).numpy()
        np.testing.assert_allclose(outputs["answer"][chosen == k], answer[chosen == k], atol=1e-6)


@pytest.mark.parametrize("labels_as, weighted", [("index", False), ("column", True), ("one-hot", True)])
def test_values_are_trained_on_whether_each_level_was_right_beside_every_levels_answer(labels_as, weighted):
    inputs, labels = data()
    model = small()
    loss = "categorical_crossentropy" if labels_as == "one-hot" else "sparse_categorical_crossentropy"
    model.compile("sgd", loss)
    y = {"index": labels, "column": labels[:, None], "one-hot": np.eye(ANSWERS, dtype=np.float32)[labels]}[labels_as]
    sample_weight = np.linspace(0, 2, COUNT, dtype=np.float32) if weighted else None
    answers = np.random.default_rng(2).dirichlet(np.ones(ANSWERS), [COUNT, LEVELS]).astype(np.float32)
    logits = np.random.default_rng(3).standard_normal([COUNT, LEVELS]).astype(np.float32)
    y_pred = {"answer": tf.constant(answers), "level_logits": tf.constant(logits)}
    found = model.compute_loss(inputs, tf.constant(y), y_pred, sample_weight, **({"training": True} if KERAS_3 else {}))

    right = answers.argmax(axis=2) == labels[:, None]
    entropy = -np.log(answers[np.arange(COUNT), :, labels])
    value_entropy = np.logaddexp(0, np.where(right, -logits, logits))
    weights = np.ones(COUNT) if sample_weight is None else sample_weight
    expected = np.mean(weights[:, None] * (entropy + value_entropy))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_values_do_not_change_the_question_encoder():
    inputs, labels = data()
    model = compiled(small())
    for w in model.selector.trainable_weights:
        w.assign(np.random.default_rng(4).standard_normal(w.shape))
    with tf.GradientTape() as tape:
        logits = model(inputs, training=True)["level_logits"]
    raw = [w.value if KERAS_3 else w for w in model.question_encoder.trainable_weights]
    assert tape.gradient(logits, raw) == [None] * len(raw)


def test_metrics_in_training_are_those_of_the_level_that_would_be_chosen():
    inputs, labels = data()
    model = compiled(small(cost_weight=0.1), run_eagerly=True)
    answers = np.random.default_rng(5).dirichlet(np.ones(ANSWERS), [COUNT, LEVELS]).astype(np.float32)
    logits = np.random.default_rng(6).standard_normal([COUNT, LEVELS]).astype(np.float32)
    y_pred = {"answer": tf.constant(answers), "level_logits": tf.constant(logits)}
    model.evaluate(inputs, labels, verbose=0)  # Makes the metrics.
    model.reset_metrics()
    found = model.compute_metrics(inputs, tf.constant(labels), y_pred)
    chosen = np.argmax(1 / (1 + np.exp(-logits)) - 0.1 * 4.0 ** -np.arange(LEVELS), axis=1)
    accuracy = next(value for name, value in found.items() if name.endswith("accuracy"))
    np.testing.assert_allclose(accuracy, np.mean(answers[np.arange(COUNT), chosen].argmax(axis=1) == labels))
    np.testing.assert_allclose(found["selector_cost"], np.mean(4.0**-chosen), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["value", "softmax"])
def test_several_questions_to_an_image_train_as_the_image_with_each_of_them(objective):
    inputs, labels = data()
    images = inputs["image"][: COUNT // 2]
    together = {"image": images, "question": inputs["question"]}
    apart = {"image": np.repeat(images, 2, axis=0), "question": inputs["question"]}
    losses, weights = [], []
    start = small(objective).get_weights()
    for x in (together, apart):
        model = small(objective)
        model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")  # Adam would magnify roundings.
        model.set_weights(start)
        batch = tf.data.Dataset.from_tensors((x, labels))
        losses.append(model.fit(batch, epochs=2, shuffle=False, verbose=0).history["loss"])
        weights.append([w.numpy() for w in model.trainable_weights])
    np.testing.assert_allclose(*losses, rtol=1e-5)
    for one, other in zip(*weights):
        np.testing.assert_allclose(one, other, atol=1e-5)


def choosy(objective="value"):
    """Return a model that chooses one level for some questions and the other for others."""
    model = small(objective, cost_weight=0.0)
    for w in model.selector.trainable_weights:
        w.assign(20 * np.random.default_rng(1).standard_normal(w.shape))
    return model


@pytest.mark.parametrize("images", [1, 4, COUNT])
def test_question_i_of_n_for_each_image_is_about_image_i_divided_by_n(images):
    inputs, _ = data()
    model = choosy()
    several = {"image": inputs["image"][:images], "question": inputs["question"]}
    batch = tf.data.Dataset.from_tensors(several)
    found = [model(several), model.predict(batch, verbose=0)]
    assert len(set(np.argmax(found[0]["level_weights"], axis=1))) == 2
    # All levels' answers, paired in a loop.
    question = model.question_encoder(inputs["question"])
    features = model.router.encode_all(inputs["image"])
    for i in range(COUNT):
        image = i // (COUNT // images)
        answers = [model.decoder([level[image : image + 1], question[i : i + 1]]).numpy()[0] for level in features]
        for outputs in found:
            np.testing.assert_allclose(outputs["answer"][i], answers[np.argmax(outputs["level_weights"][i])], atol=1e-6)
    shapes = {"image": (images, 17, 20, 3), "question": (COUNT, 7)}
    symbolic = {
        key: keras.Input(shape[1:], batch_size=shape[0], dtype=inputs[key].dtype.name) for key, shape in shapes.items()
    }
    assert model(symbolic)["answer"].shape == (COUNT, ANSWERS)


def test_one_sample_more_or_less_does_not_pair_questions_with_other_images():
    inputs, _ = data()
    model = choosy("softmax")
    for training in (True, False):
        for images, questions in ((2, 3), (4, 2), (3, 0), (0, 3), (5, 12)):
            batch = {"image": inputs["image"][:images], "question": inputs["question"][:questions]}
            if images and not questions:
                assert model(batch, training=training)["answer"].shape == (0, ANSWERS)
                continue
            with pytest.raises(ValueError, match="`question` must hold the same number of questions .* Received: "):
                model(batch, training=training)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["value", "softmax"])
@pytest.mark.parametrize("known", [True, False])
def test_questions_that_are_not_as_many_for_each_image_are_refused(known, objective):
    inputs, labels = data()
    batch = ({**inputs, "image": inputs["image"][:5]}, labels)
    signature = tf.nest.map_structure(
        lambda a: tf.TensorSpec([len(a) if known else None, *a.shape[1:]], a.dtype), batch
    )
    batches = tf.data.Dataset.from_generator(lambda: iter([batch]), output_signature=signature)
    error = ValueError if known else tf.errors.InvalidArgumentError
    model = compiled(small(objective))
    with pytest.raises(error, match="`question` must hold the same number of questions"):
        model.fit(batches, steps_per_epoch=1, shuffle=False, verbose=0)
    # Keras may call a model that it predicts with on the first batch, whose sizes are known.
    with pytest.raises((ValueError, error), match="`question` must hold the same number of questions"):
        model.predict(batches, steps=1, verbose=0)


@pytest.mark.slow
def test_it_trains_in_mixed_precision():
    inputs, labels = data()
    policy = keras.mixed_precision.global_policy() if not KERAS_3 else keras.config.dtype_policy()
    set_policy = keras.mixed_precision.set_global_policy
    set_policy("mixed_float16")
    try:
        model = compiled(small())
        losses = model.fit(inputs, labels, verbose=0).history["loss"]
        assert np.isfinite(losses).all()
        assert model.predict(inputs, verbose=0)["answer"].dtype == np.float32
    finally:
        set_policy(policy)


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
    parts = {"image_encoder": encoders, "decoder": Words(name="words"), "summaries": summaries}
    return small(objective, **{"input_shape": (16, 16, 3), **parts, **arguments})


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["value", "softmax"])
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


@pytest.mark.slow
def test_it_is_served_an_image_and_a_string(tmp_path, one_interpreter):
    words = keras.layers.TextVectorization()
    words.adapt(["what color is the shape?", "is there a circle?", "is there a teal shape?"])
    model = small()
    asked = models.with_text_input(model, words)
    inputs = {"image": tf.constant(data()[0]["image"][:3]), "question": tf.constant(["what color?", "is it?", ""])}
    expected = asked(inputs)
    tokens = tf.cast(words(inputs["question"]), tf.int32)
    np.testing.assert_allclose(expected["answer"], model({**inputs, "question": tokens})["answer"], atol=1e-6)

    export_saved_model(asked, tmp_path / "served", sample=inputs)
    served = tf.saved_model.load(str(tmp_path / "served"))
    found = served.signatures["serving_default"](**inputs)
    assert sorted(found) == ["answer", "level_weights"]
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6)
    three = {**inputs, "image": inputs["image"][:1]}
    np.testing.assert_allclose(
        served.signatures["serving_default"](**three)["answer"],
        asked({**inputs, "image": tf.repeat(three["image"], 3, axis=0)})["answer"],
        atol=1e-6,
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="`question` must hold the same number of questions"):
        served.signatures["serving_default"](**{**inputs, "image": inputs["image"][:2]})

    asked.save(tmp_path / "asked.keras")
    loaded = keras.models.load_model(tmp_path / "asked.keras")
    np.testing.assert_allclose(loaded(inputs)["answer"], expected["answer"], atol=1e-6)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"vocabulary_size": 1}, "`vocabulary_size` must be an integer of at least 2, the number of token ids"),
        ({"num_answers": 0}, "`num_answers` must be an integer of at least 1"),
        ({"num_levels": 0}, "`num_levels` must be an integer of at least 1"),
        ({"filters": 0}, "`filters` must be an integer of at least 1"),
        ({"units": "many"}, "`units` must be an integer of at least 1"),
        ({"objective": "best"}, "`objective` must be one of 'softmax', 'gumbel', 'value'"),
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
        ({"summaries": ["mean"] * 4}, r"`summaries\[0\]` must be an instance of keras.layers.Layer"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        models.pyramid_vlm(**{"vocabulary_size": WORDS, "num_answers": ANSWERS, **arguments})


def test_text_is_put_in_front_only_of_what_takes_tokens_and_only_with_a_vocabulary():
    words = keras.layers.TextVectorization()
    with pytest.raises(ValueError, match="`vectorization` must be a .*TextVectorization with a vocabulary"):
        models.with_text_input(small(), words)
    words.adapt(["what is it?"])
    with pytest.raises(ValueError, match=r"`name` must be the name of an input .*, one of \['image', 'question'\]"):
        models.with_text_input(small(), words, name="text")
