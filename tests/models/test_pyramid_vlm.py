"""The model of visual questions: what it is trained on, and what it answers with."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.visual_questions import ANSWERS, COUNT, LEVELS, compiled, data, small
from tfpyramid._compat import KERAS_3, keras

OBJECTIVES = ["value", "softmax", "gumbel", "cascade"]


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_it_is_trained_saved_and_loaded_as_any_model(objective, tmp_path):
    inputs, labels = data()
    model = compiled(small(objective))
    before = [w.numpy() for w in model.trainable_weights]
    history = model.fit(inputs, labels, validation_data=(inputs, labels), batch_size=6, verbose=0).history
    moved = [np.any(w.numpy() != start) for w, start in zip(model.trainable_weights, before)]
    assert all(moved), [w.name for w, each in zip(model.trainable_weights, moved) if not each]
    name, most = ("cascade_cost", 5 / 4) if objective == "cascade" else ("selector_cost", 1)
    assert all(1 / 4 <= cost <= most for cost in [*history[name], *history[f"val_{name}"]])
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
@pytest.mark.parametrize("objective", ["value", "softmax", "cascade"])
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
@pytest.mark.parametrize("objective", ["value", "softmax", "cascade"])
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
@pytest.mark.parametrize("objective", ["value", "cascade"])
def test_it_trains_in_mixed_precision(objective):
    inputs, labels = data()
    policy = keras.mixed_precision.global_policy() if not KERAS_3 else keras.config.dtype_policy()
    set_policy = keras.mixed_precision.set_global_policy
    set_policy("mixed_float16")
    try:
        model = compiled(small(objective))
        losses = model.fit(inputs, labels, verbose=0).history["loss"]
        assert np.isfinite(losses).all()
        assert model.predict(inputs, verbose=0)["answer"].dtype == np.float32
    finally:
        set_policy(policy)
