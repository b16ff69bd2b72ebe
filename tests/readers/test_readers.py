"""Every reader returns Keras's outputs for every row, on images of three sizes, one of them odd, in two batch sizes."""

import numpy as np
import pytest
import tensorflow as tf

from tests.readers import rows, runtimes, table
from tfpyramid import layers
from tfpyramid._compat import keras, write_saved_model

# Starting a converter takes longer than converting one more layer.
PARTS = 5


@pytest.fixture(scope="session")
def everything(tmp_path_factory):
    return table.whole(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("name", runtimes.WHOLE)
def test_every_reader_returns_the_outputs_of_keras(name, everything, tmp_path):
    saved_model, expected, gradient = everything
    answers = runtimes.WHOLE[name](saved_model, [batch for batch, _ in expected], tmp_path)
    found = table.largest(answers, expected)
    assert sorted(found) == sorted(rows.ROWS)
    assert {row: error for row, error in found.items() if not error <= table.TOLERANCE} == {}
    if name == "Python":
        assert np.any(gradient)
        assert table.error(answers[-1]["gradient/image"], gradient) <= table.TOLERANCE


@pytest.mark.parametrize("name", runtimes.BY_ROW)
@pytest.mark.parametrize("part", range(PARTS))
def test_converted_portable_exports_return_the_outputs_of_keras(name, part, tmp_path):
    names = list(rows.ROWS)[part::PARTS]
    found = table.errors(runtimes.BY_ROW[name], *table.portable(tmp_path, *names), tmp_path)
    assert sorted(found) == sorted(names)
    assert {row: error for row, error in found.items() if not error <= table.TOLERANCE} == {}


def assert_same_gradients(made, layer, tolerance):
    """Assert that the input gradients of both are equal, directly and inside a branch and a map."""
    x = tf.constant(np.random.default_rng(1).random((3, 9, 12, 3), np.float32))
    ways = [
        lambda model, x: model(x),
        lambda model, x: tf.cond(tf.reduce_sum(x) > 0, lambda: model(x), lambda: -model(x)),
        lambda model, x: tf.map_fn(lambda each: model(each[None])[0], x),
    ]
    for way in ways:
        gradients = []
        for model in (made, layer):

            @tf.function(autograph=False)
            def differentiated(x, model=model):
                return tf.gradients(tf.reduce_sum(tf.square(way(model, x))), x)[0]

            gradients.append(differentiated(x).numpy())
        assert np.any(gradients[0])
        np.testing.assert_allclose(gradients[1], gradients[0], atol=tolerance * np.abs(gradients[0]).max())


@pytest.mark.parametrize("policy, tolerance", [("float32", 1e-5), ("mixed_bfloat16", 1e-2)])
def test_a_tfsm_layer_is_fine_tuned_with_the_gradients_of_the_model(policy, tolerance, tmp_path):
    """A step of `fit` equals that of the model before it was saved, including straight-through gradients."""
    image = keras.Input((None, None, 3), name="image")
    level = layers.LearnableDownsample2D(4, hard=True, dtype=policy)(image)
    vector = keras.layers.GlobalAveragePooling2D(dtype=policy)(level)
    made = keras.Model(image, keras.layers.Dense(2, dtype="float32")(vector))
    spec = tf.TensorSpec((None, None, None, 3), name="image")
    write_saved_model(made, {"serve": (lambda x: made(x), [spec])}, tmp_path / "export")
    layer = keras.layers.TFSMLayer(str(tmp_path / "export"), call_endpoint="serve")
    assert_same_gradients(made, layer, tolerance)
    again = keras.Model(image, layer(image))
    start = [w.numpy() for w in made.trainable_weights]
    assert len(again.trainable_weights) == len(start)
    x = np.random.default_rng(0).random((4, 9, 12, 3), np.float32)
    y = np.float32([[0, 1], [1, 0], [1, 1], [0, 0]])
    for each in (made, again):
        each.compile(keras.optimizers.SGD(0.5), "mse", jit_compile=False)
        each.fit(x, y, batch_size=4, verbose=0)
    trained = [w.numpy() for w in again.trainable_weights]
    for weight, before in zip(made.trainable_weights, start, strict=True):
        (found,) = [w for w in trained if w.shape == before.shape]
        moved = weight.numpy() - before
        assert np.any(moved), weight.name
        np.testing.assert_allclose(found - before, moved, atol=tolerance * np.abs(moved).max())
