"""The model of visual questions that goes from coarse to fine: what it is trained on, and where it stops."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.visual_questions import ANSWERS, COUNT, compiled, data, small
from tfpyramid._compat import KERAS_3, keras
from tfpyramid.export import export_saved_model

LEVELS = 3
READ = np.cumsum(4.0 ** -np.arange(LEVELS)[::-1])[::-1]  # The pixels of a question that stops at each level.


def choosy(**arguments):
    """Return a model that stops at each of the three levels for some of the questions."""
    model = small("cascade", num_levels=LEVELS, **arguments)
    rng = np.random.default_rng(1)
    for part in model.cascade.confidences:
        for w in part.trainable_weights:
            w.assign(rng.standard_normal(w.shape))
    _, logits = model.answer_every_level(data()[0])
    p = tf.sigmoid(logits).numpy()
    coarsest = np.median(p[:, 1])  # Half of the questions stop there, and half of the others one level on.
    model.cascade.threshold.assign([np.median(p[p[:, 1] < coarsest, 0]), coarsest])
    return model


@pytest.mark.parametrize("images", [1, 4, COUNT])
def test_a_question_stops_at_the_coarsest_level_that_is_sure_and_gets_its_answer(images):
    inputs, _ = data()
    model = choosy()
    several = {"image": inputs["image"][:images], "question": inputs["question"]}
    question = model.question_encoder(inputs["question"])
    features = [tf.repeat(level, COUNT // images, axis=0) for level in model.cascade.encode_all(several["image"])]
    answers = [model.decoder([level, question]).numpy() for level in features]
    z = [
        confidence([level, question]).numpy()[:, 0]
        for confidence, level in zip(model.cascade.confidences, features[1:])
    ]
    sure = 1 / (1 + np.exp(-np.stack(z, axis=1))) >= model.cascade.threshold.numpy()
    stop = np.where(sure[:, 1], 2, np.where(sure[:, 0], 1, 0))
    if images > 1:
        assert set(stop) == {0, 1, 2}
    outputs = model(several)
    np.testing.assert_array_equal(np.argmax(outputs["level_weights"], axis=1), stop)
    np.testing.assert_allclose(outputs["answer"], np.stack(answers)[stop, np.arange(COUNT)], atol=1e-6)


def test_confidences_are_trained_on_whether_the_answers_of_their_levels_were_right():
    inputs, labels = data()
    model = small("cascade", num_levels=LEVELS)
    model.compile("sgd", "sparse_categorical_crossentropy")
    sample_weight = np.linspace(0, 2, COUNT, dtype=np.float32)
    answers = np.random.default_rng(2).dirichlet(np.ones(ANSWERS), [COUNT, LEVELS]).astype(np.float32)
    logits = np.random.default_rng(3).standard_normal([COUNT, LEVELS - 1]).astype(np.float32)
    y_pred = {"answer": tf.constant(answers), "level_logits": tf.constant(logits)}
    training = {"training": True} if KERAS_3 else {}
    found = model.compute_loss(inputs, tf.constant(labels), y_pred, sample_weight, **training)
    right = answers.argmax(axis=2) == labels[:, None]
    assert 0 < right[:, 1:].mean() < 1
    entropy = -np.log(answers[np.arange(COUNT), :, labels])
    of_confidence = np.logaddexp(0, np.where(right[:, 1:], -logits, logits))
    expected = np.mean(sample_weight[:, None] * entropy) + np.mean(sample_weight[:, None] * of_confidence)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_loss_of_the_confidences_changes_nothing_but_the_confidences():
    inputs, _ = data()
    model = small("cascade", num_levels=LEVELS)
    with tf.GradientTape() as tape:
        logits = model(inputs, training=True)["level_logits"]
    gradients = tape.gradient(logits, model.trainable_weights)
    own = {id(w) for part in model.cascade.confidences for w in part.trainable_weights}
    for w, gradient in zip(model.trainable_weights, gradients):
        assert (gradient is not None) == (id(w) in own), w.name


def test_metrics_in_training_are_those_of_the_level_where_each_question_would_stop():
    inputs, labels = data()
    model = compiled(choosy(), run_eagerly=True)
    model.cascade.threshold.assign([0.4, 0.6])
    answers = np.random.default_rng(5).dirichlet(np.ones(ANSWERS), [COUNT, LEVELS]).astype(np.float32)
    logits = np.random.default_rng(6).standard_normal([COUNT, LEVELS - 1]).astype(np.float32)
    model.evaluate(inputs, labels, verbose=0)  # Makes the metrics.
    model.reset_metrics()
    y_pred = {"answer": tf.constant(answers), "level_logits": tf.constant(logits)}
    found = model.compute_metrics(inputs, tf.constant(labels), y_pred)
    stops = 1 / (1 + np.exp(-logits)) >= [0.4, 0.6]
    stop = np.where(stops[:, 1], 2, np.where(stops[:, 0], 1, 0))
    assert set(stop) == {0, 1, 2}
    accuracy = next(value for name, value in found.items() if name.endswith("accuracy"))
    np.testing.assert_allclose(accuracy, np.mean(answers[np.arange(COUNT), stop].argmax(axis=1) == labels))
    np.testing.assert_allclose(found["cascade_cost"], READ[stop].mean(), rtol=1e-6)


@pytest.mark.slow
def test_threshold_and_calibration_are_saved_and_exported(tmp_path):
    inputs, _ = data()
    model = choosy()
    model.cascade.calibration.assign([[0.5, 0.1], [0.7, -0.3]])
    expected = model.predict(inputs, verbose=0)
    model.save(tmp_path / "model.keras")
    export_saved_model(model, tmp_path / "exported")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    served = tf.saved_model.load(str(tmp_path / "exported")).signatures["serving_default"]
    for found in (loaded.predict(inputs, verbose=0), served(**{name: tf.constant(x) for name, x in inputs.items()})):
        np.testing.assert_array_equal(np.asarray(found["level_weights"]), expected["level_weights"])
        np.testing.assert_allclose(found["answer"], expected["answer"], atol=1e-6)


def test_batches_of_no_question_of_one_and_of_seven_are_answered_alike():
    inputs, _ = data()
    model = choosy()
    whole = model(inputs)
    for count in (0, 1, 7):
        some = model({name: array[:count] for name, array in inputs.items()})
        assert some["answer"].shape == (count, ANSWERS)
        np.testing.assert_array_equal(some["level_weights"], whole["level_weights"][:count])
        np.testing.assert_allclose(some["answer"], whole["answer"][:count], atol=1e-6)


@pytest.mark.parametrize("side, padding", [(64, "valid"), (None, "same"), (20, "same")])
def test_the_two_coarsest_encoders_are_small_and_stride_late(side, padding):
    model = small("cascade", num_levels=4, filters=4, input_shape=(side, side, 3))
    convolutions = [
        [each for each in encoder.layers if isinstance(each, keras.layers.Conv2D)] for encoder in model.cascade.encoders
    ]
    assert [[each.filters for each in level] for level in convolutions[2:]] == [[2, 4, 8], [2, 8]]
    strides = [[each.strides[0] for each in level] for level in convolutions]
    assert strides == [[2, 2, 2, 2], [2, 2, 2], [1, 2, 1], [1, 1]]
    assert [level[-1].padding for level in convolutions[3:]] == [padding]
