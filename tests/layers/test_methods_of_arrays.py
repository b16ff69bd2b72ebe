"""Public methods of layers take arrays of any floating dtype, and return the same inside and outside `call`."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, ops
from tfpyramid._compat import keras

RNG = np.random.default_rng(0)
IMAGES, QUERY = RNG.random([2, 9, 14, 3]), RNG.standard_normal([2, 6])
POLICIES = ["float32", "float64", "mixed_float16", "mixed_bfloat16"]
DTYPES = [np.float16, np.float32, np.float64]


def moved(layer, inputs):
    """Return a built layer with weights other than the initial ones."""
    layer(inputs)
    layer.set_weights([w + 0.3 * RNG.random(w.shape) for w in layer.get_weights()])
    return layer


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("policy", POLICIES)
def test_points_of_an_array_are_those_that_the_layer_reads(policy, dtype):
    layer = moved(layers.SpatialTransformerDownsample2D(dtype=policy), IMAGES)
    images = IMAGES.astype(dtype)
    points = layer.points(images)
    np.testing.assert_array_equal(points, layer.points(tf.constant(images)))
    used = tf.cast(images, layer.compute_dtype)
    np.testing.assert_array_equal(layer(images), ops.bilinear_sample(used, points, border="constant"))


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("policy", POLICIES)
def test_gates_of_an_array_are_those_that_the_layer_multiplies_with(policy, hard):
    layer = moved(layers.ChannelAdaptiveDownsample2D(hard=hard, dtype=policy), IMAGES)
    for dtype in DTYPES:
        images = IMAGES.astype(dtype)
        gates = layer.gates(images)
        np.testing.assert_array_equal(gates, layer.gates(tf.constant(images)))
        used = tf.cast(images, layer.compute_dtype)
        kernel = tf.cast(tf.convert_to_tensor(layer.kernel), used.dtype)
        expected = ops.conv_down(used * tf.cast(gates, used.dtype)[:, None, None, :], kernel)
        np.testing.assert_array_equal(layer(images), expected)


@pytest.mark.parametrize("objective", ["value", "softmax", "gumbel"])
@pytest.mark.parametrize("policy", POLICIES)
def test_logits_of_an_array_are_those_that_the_selector_chooses_by(policy, objective):
    layer = layers.QueryLevelSelector(3, objective=objective, hard=True, dtype=policy)
    layer(QUERY)
    layer.logits_kernel.assign(RNG.standard_normal(layer.logits_kernel.shape))
    for dtype in DTYPES:
        query = QUERY.astype(dtype)
        logits = layer.level_logits(query)
        np.testing.assert_array_equal(logits, layer.level_logits([tf.constant(query)]))
        chosen = layer.choose(np.asarray(tf.cast(logits, tf.float32)))
        np.testing.assert_array_equal(chosen, layer(query))
        assert float(layer.report_cost(np.asarray(chosen))) > 0


def test_levels_of_an_array():
    levels = [IMAGES, IMAGES[:, ::2, ::2]]
    for level, expected in zip(layers.UpsampleConcat().aligned(levels), ops.align_levels(levels), strict=True):
        np.testing.assert_array_equal(level, expected)
    for pyramid in (layers.GaussianPyramid(2), layers.LearnablePyramid(2)):
        images = IMAGES.astype(np.float32)
        np.testing.assert_array_equal(pyramid.next_level(images, 0), pyramid(images)[1])
    router = layers.LevelRouter([keras.layers.GlobalMaxPooling2D(name=f"max_{k}") for k in range(2)])
    for features, level in zip(router.encode_all(*levels), levels, strict=True):
        np.testing.assert_allclose(features, level.max(axis=(1, 2)), rtol=1e-6)


def test_features_confidences_and_choices_of_a_cascade_of_arrays():
    pool, confidence = keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(1)
    cascade = layers.LevelCascade(pool, confidence, layers.GaussianPyramid(2), threshold=0.5)
    with pytest.raises(ValueError, match="`encode_all` is available only after the layer is built"):
        cascade.encode_all(IMAGES)
    _, weights = cascade(IMAGES)
    features = [np.asarray(each) for each in cascade.encode_all(IMAGES)]
    np.testing.assert_allclose(features[0], IMAGES.max(axis=(1, 2)), rtol=1e-6)
    logits = np.asarray(cascade.confidence_logits(features))
    np.testing.assert_allclose(logits, confidence(features[1]), atol=1e-6)
    np.testing.assert_allclose(cascade.probabilities(logits), 1 / (1 + np.exp(-logits)), atol=1e-6)
    np.testing.assert_array_equal(cascade.choose(logits), weights)


def test_integers_and_layers_that_are_not_built_are_named():
    layer = layers.SpatialTransformerDownsample2D()
    with pytest.raises(ValueError, match="`points` is available only after the layer is built.* Received: built=False"):
        layer.points(IMAGES)
    layer(IMAGES)
    with pytest.raises(ValueError, match="`images` must be floating point.* Received: images of dtype uint8"):
        layer.points(np.zeros([1, 9, 9, 3], np.uint8))
