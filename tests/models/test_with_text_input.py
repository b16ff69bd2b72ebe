"""with_text_input: a model of tokens becomes one of text."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.visual_questions import data, small
from tfpyramid import models
from tfpyramid._compat import keras
from tfpyramid.export import export_saved_model


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


def test_text_is_put_in_front_only_of_what_takes_tokens_and_only_with_a_vocabulary():
    words = keras.layers.TextVectorization()
    with pytest.raises(ValueError, match="`vectorization` must be a .*TextVectorization with a vocabulary"):
        models.with_text_input(small(), words)
    words.adapt(["what is it?"])
    with pytest.raises(ValueError, match=r"`name` must be the name of an input .*, one of \['image', 'question'\]"):
        models.with_text_input(small(), words, name="text")
