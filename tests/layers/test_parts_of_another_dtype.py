"""Layers that contain a user's layers, which may have another dtype, other sides, or an empty batch."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers
from tfpyramid._compat import KERAS_3, keras

POLICIES = ["float32", "mixed_float16", "mixed_bfloat16", "float64"]
# Relative to the largest magnitude, for the number of bits of each dtype.
TOLERANCE = {"float32": 1e-6, "float16": 2e-3, "bfloat16": 2e-2, "float64": 1e-14}
POOLING = {"average": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}
CHOICES = {"both": [0, 1, 0], "finest only": [0, 0, 0], "coarsest only": [1, 1, 1], "an empty batch": []}
RNG = np.random.default_rng(0)
# In steps of 1/8, which half precision represents exactly, so only the layers' own rounding is compared.
LEVELS = [np.round(8 * RNG.standard_normal([3, side, side, 2])) / 8 for side in (6, 3)]


@pytest.fixture
def policy(request):
    keras.mixed_precision.set_global_policy(request.param)
    yield request.param
    keras.mixed_precision.set_global_policy("float32")


def compute_dtype(policy):
    return policy.replace("mixed_", "")


def router_of(pooling, last, **arguments):
    """Return a router of two encoders; their last layers have the given dtypes, or that of the policy for None."""
    encoders = [keras.Sequential([POOLING[pooling](), keras.layers.Dense(4, dtype=dtype)]) for dtype in last]
    router = layers.LevelRouter(encoders, **arguments)
    router.build([(None, 6, 6, 2), (None, 3, 3, 2), (None, 2)])
    for weight in router.weights:
        weight.assign(np.round(8 * np.random.default_rng(1).standard_normal(weight.shape)) / 8)
    return router


def masked_sum(router, pooling, weights):
    """Return the result of the router, computed with NumPy in float64."""
    pooled = [getattr(x[: len(weights)], {"average": "mean", "max": "max"}[pooling])(axis=(1, 2)) for x in LEVELS]
    parts = [[np.float64(w.numpy()) for w in encoder.weights] for encoder in router.encoders]
    return sum(weights[:, [k]] * (x @ kernel + bias) for k, (x, (kernel, bias)) in enumerate(zip(pooled, parts)))


@pytest.mark.slow
@pytest.mark.parametrize("last", [(None, None), ("float32", "float32")], ids=["policy", "float32"])
@pytest.mark.parametrize("pooling", POOLING)
@pytest.mark.parametrize("policy", POLICIES, indirect=True)
def test_a_router_is_the_masked_sum_in_the_dtype_of_its_features(policy, pooling, last):
    expected_dtype = last[0] or compute_dtype(policy)
    # A layer before the last one, in the policy's dtype, rounds to that dtype.
    tolerance = max(TOLERANCE[expected_dtype], TOLERANCE[compute_dtype(policy)])
    for training, partition in itertools.product((False, True), (False, True)):
        router = router_of(pooling, last, partition=partition)
        specs = [tf.TensorSpec([None, *x.shape[1:]], tf.float32) for x in LEVELS] + [tf.TensorSpec([None, 2])]
        traced = tf.function(lambda *x, r=router, t=training: r(list(x), training=t), specs, autograph=False)
        for name, choice in CHOICES.items():
            weights = np.eye(2)[np.array(choice, int)]
            inputs = [tf.constant(x, tf.float32) for x in (*[level[: len(choice)] for level in LEVELS], weights)]
            expected = masked_sum(router, pooling, weights)
            for features in (router(inputs, training=training), traced(*inputs)):
                assert features.dtype == expected_dtype, name
                np.testing.assert_allclose(features, expected, atol=8 * tolerance, rtol=0, err_msg=name)


@pytest.mark.parametrize("policy", POLICIES, indirect=True)
def test_a_router_of_float32_features_is_fitted_and_predicts(policy):
    router = router_of("average", ("float32", "float32"))
    inputs = [keras.Input((6, 6, 2)), keras.Input((3, 3, 2)), keras.Input((2,))]
    model = keras.Model(inputs, router(inputs))
    assert tf.as_dtype(model.outputs[0].dtype) == tf.float32
    model.compile("sgd", "mse", run_eagerly=True)
    x = [*LEVELS, np.eye(2)[[0, 1, 0]]]
    expected = masked_sum(router, "average", x[-1])
    tolerance = max(TOLERANCE["float32"], TOLERANCE[compute_dtype(policy)])
    predicted = model.predict(x, verbose=0)
    assert predicted.dtype == np.float32
    np.testing.assert_allclose(predicted, expected, atol=8 * tolerance)
    before = router.get_weights()
    history = model.fit(x, np.zeros([3, 4]), batch_size=3, verbose=0).history
    np.testing.assert_allclose(history["loss"][0], np.mean(expected**2), rtol=4 * tolerance)
    for weight, old in zip(router.get_weights(), before):
        assert np.any(weight != old)


@pytest.mark.parametrize("last, expected", [(("float16", "float32"), "float32"), (("float64", "bfloat16"), "float64")])
def test_a_router_of_different_dtypes_returns_the_widest(last, expected):
    router = router_of("average", last)
    inputs = [keras.Input((6, 6, 2)), keras.Input((3, 3, 2)), keras.Input((2,))]
    assert tf.as_dtype(router(inputs).dtype) == expected
    for training, choice in itertools.product((False, True), CHOICES.values()):
        weights = np.eye(2)[np.array(choice, int)]
        values = [tf.constant(x, tf.float32) for x in (*[level[: len(choice)] for level in LEVELS], weights)]
        features = router(values, training=training)
        assert features.dtype == expected
        np.testing.assert_allclose(features, masked_sum(router, "average", weights), atol=0.1)


@pytest.mark.parametrize("policy", ["mixed_float16"], indirect=True)
def test_a_pyramid_of_its_own_dtype_computes_in_it_at_inference_too(policy):
    pool = lambda: keras.layers.GlobalAveragePooling2D(dtype="float32")  # noqa: E731
    router = layers.LevelRouter([pool(), pool()], layers.GaussianPyramid(2, dtype="float32"))
    images, weights = tf.constant(RNG.standard_normal([3, 9, 7, 2]), tf.float16), tf.one_hot([1, 0, 1], 2)
    expected = [tf.reduce_mean(level, [1, 2]) for level in layers.GaussianPyramid(2, dtype="float32")(images)]
    for training in (False, True):
        features = router([images, weights], training=training)
        np.testing.assert_allclose(features, [expected[1][0], expected[0][1], expected[1][2]], atol=1e-6)


def holders(inner):
    """Return the layers that call a user's layer, here with the dtype `inner`, and whether they take levels."""
    step = layers.LearnableDownsample2D(dtype=inner)
    return {
        "PerLevel": (layers.PerLevel(keras.layers.Dense(2, dtype=inner)), True),
        "PerLevel of its own": (layers.PerLevel(keras.layers.Dense(2, dtype=inner), share_weights=False), True),
        "LearnablePyramid": (layers.LearnablePyramid(3, step), False),
        "LearnablePyramid shared": (layers.LearnablePyramid(3, step, share_weights=True), False),
        "AdaptiveDepthPyramid": (layers.AdaptiveDepthPyramid(3, step), False),
    }


@pytest.mark.parametrize("inner", ["float32", "mixed_float16", "float64"])
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "float64"], indirect=True)
def test_outputs_of_a_layer_with_another_dtype_have_the_dtype_of_the_policy(policy, inner):
    image = keras.Input((6, 6, 2))
    for name, (layer, takes_levels) in holders(inner).items():
        symbolic = layer([image, image] if takes_levels else image)
        x = tf.constant(LEVELS[0], tf.float32)
        outputs = layer([x, x] if takes_levels else x)
        for y, said in zip(tf.nest.flatten(outputs), tf.nest.flatten(symbolic), strict=True):
            assert y.dtype == tf.as_dtype(said.dtype) == compute_dtype(policy), name
    if KERAS_3:  # In Keras 2 a wrapper has the dtype of its layer.
        peer = keras.layers.TimeDistributed(keras.layers.Dense(2, dtype=inner))
        assert peer(keras.Input((6, 6, 2))).dtype == compute_dtype(policy)


def test_a_layer_of_integers_returns_integers():
    class Brightest(keras.layers.Layer):
        def call(self, x):
            return tf.argmax(x, axis=-1)

        def compute_output_shape(self, input_shape):
            return input_shape[:-1]

    (index,) = layers.PerLevel(Brightest())([tf.constant(LEVELS[0], tf.float32)])
    np.testing.assert_array_equal(index, LEVELS[0].argmax(-1))


def sequential(strides, filters=2):
    return keras.Sequential([keras.layers.Conv2D(filters, 3, strides, padding="same"), keras.layers.ReLU()])


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("share_weights", [True, False])
def test_a_sequential_is_called_on_the_sides_of_every_level(share_weights, known):
    image = keras.Input((9, 9, 2) if known else (None, None, 2))
    each = layers.PerLevel(sequential(1), share_weights=share_weights)
    pyramid = layers.LearnablePyramid(3, sequential(2), share_weights=share_weights)
    model = keras.Model(image, each(pyramid(image)))
    sides = [(9, 9), (5, 5), (3, 3)] if known else 3 * [(None, None)]
    assert [tuple(y.shape[1:3]) for y in model.outputs] == sides
    for side in (9, 12):
        x = tf.constant(RNG.standard_normal([2, side, side, 2]), tf.float32)
        steps = pyramid.downsamplers * 2 if share_weights else pyramid.downsamplers
        stages = [each.layer] * 3 if share_weights else each.level_layers
        levels = [x, steps[0](x), steps[1](steps[0](x))]
        expected = [stage(level) for stage, level in zip(stages, levels)]
        actual = each(pyramid(x)) if known else model(x)
        for y, e in zip(actual, expected, strict=True):
            np.testing.assert_allclose(y, e, atol=1e-6)


@pytest.mark.parametrize("make", [layers.GaussianPyramid, lambda n: layers.LearnablePyramid(n, sequential(2))])
def test_a_router_of_sequentials_is_called_on_images_of_two_sizes(make):
    encoders = [keras.Sequential([sequential(1, 4), keras.layers.GlobalMaxPooling2D()]) for _ in range(2)]
    router = layers.LevelRouter(encoders, make(2))
    for side in (9, 12):
        x = tf.constant(RNG.standard_normal([3, side, side, 2]), tf.float32)
        for choice in CHOICES.values():
            weights, images = tf.one_hot(choice, 2), x[: len(choice)]
            for training in (False, True):
                features = router([images, weights], training=training)
                assert features.shape == (len(choice), 4)
                if choice:
                    both = [encode(level) for encode, level in zip(encoders, router.pyramid(images))]
                    expected = sum(w[:, None] * y for w, y in zip(tf.unstack(weights, axis=1), both))
                    np.testing.assert_allclose(features, expected, atol=1e-6)
