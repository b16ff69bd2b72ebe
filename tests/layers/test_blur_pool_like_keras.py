"""BlurPool2D accepts all that MaxPooling2D and AveragePooling2D of Keras accept in "channels_last"."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers
from tfpyramid._compat import keras

POOLS = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}
SIZE = {"pool_size": (2, 2)}

ARGUMENTS = [
    {"pool_size": 3},
    {"pool_size": (3, 2)},
    {"pool_size": [2, 3]},
    {"pool_size": 1},
    {**SIZE, "strides": None},
    {**SIZE, "strides": 1},
    {**SIZE, "strides": (1, 2)},
    {**SIZE, "strides": [2, 1]},
    {**SIZE, "padding": "same"},
    {**SIZE, "padding": "VALID"},
    {**SIZE, "data_format": None},
    {**SIZE, "data_format": "channels_last"},
    {**SIZE, "data_format": "CHANNELS_LAST"},
    {**SIZE, "name": "pool"},
    {**SIZE, "name": None, "trainable": False, "dtype": None},
    {**SIZE, "dtype": "float16"},
    {**SIZE, "dtype": "mixed_bfloat16"},
    {**SIZE, "dtype": "float64"},
    {"pool_size": 20, "padding": "same"},
    {"pool_size": 20, "strides": 1, "padding": "same"},
    {"pool_size": 20, "padding": "valid"},
    {"pool_size": (1, 20), "padding": "valid"},
    {"pool_size": (2, 5000), "padding": "same"},
    {"pool_size": 1, "strides": 5000, "padding": "valid"},
    {"pool_size": 3, "strides": 5000, "padding": "same"},
]


def ours(pooling, padding="valid", **arguments):
    """Return the layer with Keras's defaults."""
    return layers.BlurPool2D(**{"strides": None, "padding": padding, "pooling": pooling, **arguments})


def result(make, inputs):
    """Return the shape and dtype of what a layer returns, or None if it raises an error."""
    try:
        y = make()(inputs)
    except Exception:  # Keras and TensorFlow raise many types of errors.
        return None
    return tuple(y.shape), tf.as_dtype(y.dtype).name


def assert_accepted(pooling, inputs, **arguments):
    expected = result(lambda: POOLS[pooling](**arguments), inputs)
    if expected is not None:
        assert result(lambda: ours(pooling, **arguments), inputs) == expected, (pooling, arguments)
    return expected


def images(*shape, dtype="float32"):
    return tf.cast(np.random.default_rng(0).integers(0, 100, shape), dtype)


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=lambda arguments: ",".join(map(str, arguments.values())))
def test_it_accepts_the_arguments_of_keras(arguments):
    found = []
    for pooling in POOLS:
        found.append(assert_accepted(pooling, images(2, 7, 9, 3), **arguments))
        found.append(assert_accepted(pooling, keras.Input((7, 9, 3)), **arguments))
    assert any(found)


@pytest.mark.parametrize("shape", [(0, 7, 9, 3), (1, 1, 1, 3), (2, 1, 9, 3), (2, 0, 9, 3), (2, 7, 9, 0)], ids=str)
def test_it_accepts_the_images_of_keras(shape):
    for pooling, padding, size in itertools.product(POOLS, ("same", "valid"), (1, 2, 3)):
        assert_accepted(pooling, images(*shape), pool_size=size, padding=padding)
        assert_accepted(pooling, keras.Input(shape[1:]), pool_size=size, padding=padding)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "int64"])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_integers_give_the_rounded_result(dtype, padding):
    x = images(2, 7, 9, 3, dtype=dtype)
    for pooling in POOLS:
        assert_accepted(pooling, x, pool_size=2, padding=padding)
        layer = ours(pooling, pool_size=2, padding=padding)
        found = layer(x)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, np.rint(layer(tf.cast(x, tf.float32))))
        graph = tf.function(layer, input_signature=[tf.TensorSpec([None] * 4, dtype)], autograph=False)
        np.testing.assert_array_equal(graph(x), found)
    # Without a blur, every integer of 32 bits is exact.
    if dtype == "int32":
        large = x + 2**30
        np.testing.assert_array_equal(
            ours("max", kernel_size=1, pool_size=2)(large), keras.layers.MaxPooling2D()(large)
        )


def test_a_model_of_integers_is_saved(tmp_path):
    image = keras.Input((None, None, 1), dtype="uint8")
    model = keras.Model(image, ours("max", pool_size=2)(image))
    assert tf.as_dtype(model.output.dtype) == tf.uint8
    model.save(tmp_path / "model.keras")
    x = images(1, 6, 8, 1, dtype="uint8")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(x), model(x))


@pytest.mark.parametrize("shape", [(None, None, 3), (None, None, None), (7, 9, None)], ids=str)
def test_sides_and_channels_may_be_unknown(shape):
    x = images(2, 7, 9, 3)
    for pooling, padding, batch in itertools.product(POOLS, ("same", "valid"), (None, 0)):
        symbolic = keras.Input(shape, batch_size=batch)
        assert assert_accepted(pooling, symbolic, pool_size=(2, 2), padding=padding)
    for pooling, arguments in itertools.product(POOLS, ({"pool_size": 2}, {"pool_size": (3, 2), "padding": "same"})):
        layer = ours(pooling, **arguments)
        graph = tf.function(layer, input_signature=[tf.TensorSpec([None, *shape])], autograph=False)
        np.testing.assert_allclose(graph(x), layer(x), rtol=1e-5)
        assert graph(x[:0]).shape == layer(x[:0]).shape


def test_gradients_of_empty_results_are_empty_or_zero():
    x = images(2, 3, 9, 3)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = ours("average", pool_size=4)(x)
    assert y.shape == (2, 0, 2, 3)
    np.testing.assert_array_equal(tape.gradient(y, x), np.zeros(x.shape))


def test_other_dtypes_are_refused():
    for dtype in ("bool", "complex64"):
        with pytest.raises(ValueError, match=f"`images` must be floating point.* Received: images of dtype {dtype}"):
            ours("max", pool_size=2)(images(1, 4, 4, 1, dtype=dtype))
    with pytest.raises(ValueError, match="`images` must have 4 axes"):
        ours("max", pool_size=2)(images(4, 4, 1))
