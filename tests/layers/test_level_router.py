"""`LevelRouter` in training, inside and outside of models; the conformance table checks a single call."""

import numpy as np
import pytest
import tensorflow as tf

from tests.layers.selectors import LOGITS, QUERY, selector
from tfpyramid import layers
from tfpyramid._compat import keras, raw


def convolutional_router(pyramid=None, **arguments):
    """Return a router of encoders with batch norm, which fails on an empty batch on a CPU."""

    def encoder(k):
        stack = [
            keras.Input((None, None, 3)),
            keras.layers.Conv2D(4, 3, strides=2, padding="same"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.GlobalMaxPooling2D(),
            keras.layers.Dense(5),
        ]
        return keras.Sequential(stack, name=f"encoder_{k}")

    pyramid = layers.LearnablePyramid(3) if pyramid is None else pyramid
    return layers.LevelRouter([encoder(k) for k in range(3)], pyramid, **arguments)


IMAGES = tf.constant(np.random.default_rng(4).random([6, 17, 20, 3]), tf.float32)


@pytest.mark.parametrize("choice", [[0, 2, 1, 2, 0, 0], [1, 1, 1, 1, 1, 1], [2, 2, 0, 2, 2, 2]])
@pytest.mark.slow
def test_the_router_is_the_masked_sum_through_batch_norm_and_a_learned_pyramid(choice):
    router = convolutional_router()
    weights = tf.one_hot(choice, 3)
    routed = router([IMAGES, weights])
    assert np.abs(routed).max() > 0.01
    masked = sum(w[:, None] * y for w, y in zip(tf.unstack(weights, axis=1), router.encode_all(IMAGES)))
    np.testing.assert_allclose(routed, masked, atol=1e-6)
    all_of_them = layers.LevelRouter(router.encoders, router.pyramid, partition=False)
    np.testing.assert_allclose(routed, all_of_them([IMAGES, weights]), atol=1e-6)
    levels = layers.LevelRouter(router.encoders)
    np.testing.assert_allclose(routed, levels([*router.pyramid(IMAGES), weights]), atol=1e-6)


@pytest.mark.slow
def test_one_routed_model_serves_sizes_and_batches_as_it_does_here(tmp_path):
    image, query = keras.Input((None, None, 3), name="image"), keras.Input((6,), name="query")
    chosen = selector("value", cost_weight=0.1)
    model = keras.Model([image, query], convolutional_router()([image, chosen(query)]))
    model.export(str(tmp_path / "model"))
    served = tf.saved_model.load(str(tmp_path / "model"))
    for batch, height, width in ((6, 17, 20), (1, 8, 9), (32, 16, 16), (0, 16, 16)):
        images = tf.constant(np.random.default_rng(5).random([batch, height, width, 3]), tf.float32)
        np.testing.assert_allclose(served.serve([images, QUERY[:batch]]), model([images, QUERY[:batch]]), atol=1e-6)
    for batch in (1, 3, 5, 12):
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="`images` and `weights` must have the same batch size"
        ):
            served.serve([IMAGES, QUERY[:batch]])


class Watched(keras.layers.Layer):
    """Means of an image, with a counter of the calls."""

    def build(self, input_shape):
        self.calls = self.add_weight(name="calls", shape=(), initializer="zeros", trainable=False)
        super().build(input_shape)

    def call(self, images):
        self.calls.assign_add(1.0)
        return tf.reduce_mean(images, [1, 2])

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[-1])


def test_encoders_that_no_sample_needs_are_not_executed():
    router = layers.LevelRouter([Watched() for _ in range(3)], layers.GaussianPyramid(3))
    router.build([IMAGES.shape, (6, 3)])
    traced = tf.function(lambda weights: router([IMAGES, weights]))
    traced(tf.one_hot([2, 2, 2, 2, 2, 2], 3))
    assert [float(encoder.calls.numpy()) for encoder in router.encoders] == [0, 0, 1]
    traced(tf.one_hot([0, 2, 2, 0, 2, 2], 3))
    assert [float(encoder.calls.numpy()) for encoder in router.encoders] == [1, 0, 2]


@pytest.mark.slow
def test_xla_compiles_the_sum_and_keras_is_told_not_to_compile_the_partition():
    router, weights = convolutional_router(), tf.nn.softmax(LOGITS[:6, :3])
    router([IMAGES, weights])
    assert router.supports_jit is False
    compiled = tf.function(lambda: router([IMAGES, weights], training=True), jit_compile=True, autograph=False)
    before = router.get_weights()
    expected = router([IMAGES, weights], training=True)
    router.set_weights(before)
    np.testing.assert_allclose(compiled(), expected, atol=1e-5)
    summed = layers.LevelRouter(router.encoders, router.pyramid, partition=False)
    assert getattr(summed, "supports_jit", True)
    one_hot = tf.one_hot([0, 2, 1, 2, 0, 0], 3)
    np.testing.assert_allclose(
        tf.function(lambda: summed([IMAGES, one_hot]), jit_compile=True, autograph=False)(),
        router([IMAGES, one_hot]),
        atol=1e-5,
    )


def pooling(count):
    return [keras.layers.GlobalAveragePooling2D(name=f"pool_{k}") for k in range(count)]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (([],), r"`encoders` must be a list of layers, one for each level. Received: encoders=\[\]"),
        ((["pool"],), r"`encoders\[0\]` must be an instance of keras.layers.Layer"),
        ((2 * pooling(1),), r"`encoders` must be different layers.* Received: layers \['pool_0', 'pool_0'\]"),
        ((pooling(2), layers.GaussianPyramid(3)), "`pyramid` must have 2 levels, as many as there are `encoders`.*=3"),
        (
            (pooling(2), layers.LaplacianPyramid(2)),
            "`pyramid` must be a layer that computes each level from the one before",
        ),
    ],
)
def test_arguments_of_the_router_are_checked_when_it_is_made(arguments, message):
    with pytest.raises(ValueError, match=message):
        layers.LevelRouter(*arguments)


def zeros(*sides):
    return [np.zeros([2, side, side, 3], np.float32) for side in sides]


@pytest.mark.parametrize(
    "router, inputs, message",
    [
        (
            layers.LevelRouter(pooling(2)),
            [*zeros(8, 4), np.zeros([2, 3], np.float32)],
            r"`weights` must be \[batch, 2\], .* Received: weights of shape \(2, 3\)",
        ),
        (
            layers.LevelRouter(pooling(2)),
            [*zeros(8, 4, 2), np.zeros([2, 2], np.float32)],
            "`inputs` must hold 2 levels, one for each encoder, .* Received: 3 levels",
        ),
        (
            layers.LevelRouter(pooling(2), layers.GaussianPyramid(2)),
            [*zeros(8, 4), np.zeros([2, 2], np.float32)],
            r"`inputs` must be \[images, weights\] if the router has a `pyramid`. Received: 3 inputs",
        ),
        (
            layers.LevelRouter([keras.layers.Flatten(), keras.layers.Flatten()]),
            [*zeros(8, 4), np.zeros([2, 2], np.float32)],
            "`encoders` must all return the same shape with known sizes",
        ),
    ],
)
def test_inputs_of_the_router_are_checked_when_it_is_built(router, inputs, message):
    with pytest.raises(ValueError, match=message):
        router(inputs)


def map_router(factors=(1, 2, 4), **arguments):
    """Return a router of encoders that return maps, each magnified by its factor."""
    stacks = [
        [keras.layers.Conv2D(2, 3, padding="same"), keras.layers.UpSampling2D(factor, name=f"up_{k}")]
        for k, factor in enumerate(factors)
    ]
    encoders = [keras.Sequential(stack, name=f"maps_{k}") for k, stack in enumerate(stacks)]
    return layers.LevelRouter(encoders, layers.GaussianPyramid(3), **arguments)


@pytest.mark.parametrize("choice", [[0, 2, 1, 2, 0, 0], [1, 1, 1, 1, 1, 1], [2, 0, 2, 2, 2, 2]])
@pytest.mark.slow
def test_encoders_may_return_maps_of_unknown_size(choice):
    router = map_router()
    images, weights = IMAGES[:, :12], tf.one_hot(choice, 3)
    signature = [[tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([None, 3])]]
    graph = tf.function(router, input_signature=signature, autograph=False)
    found = graph([images, weights])
    maps = router.encode_all(images)
    np.testing.assert_allclose(found, tf.stack([maps[k][b] for b, k in enumerate(choice)]), atol=1e-6)
    np.testing.assert_allclose(router([images, weights]), found, atol=1e-6)
    assert graph([images[:0], weights[:0]]).shape[0] == 0
    whole = layers.LevelRouter(router.encoders, router.pyramid, partition=False)
    every = tf.function(whole, input_signature=signature, autograph=False)
    np.testing.assert_allclose(every([images, weights]), found, atol=1e-6)


def test_a_model_of_maps_of_unknown_size_learns_through_the_router():
    image, weights = keras.Input((None, None, 3)), keras.Input((3,))
    model = keras.Model([image, weights], map_router()([image, weights]))
    assert model.output_shape == (None, None, None, 2)
    with tf.GradientTape() as tape:
        objective = tf.reduce_sum(model([IMAGES[:, :12], tf.one_hot([0, 2, 0, 2, 2, 2], 3)]) ** 2)
    gradients = tape.gradient(objective, [raw(w) for w in model.trainable_weights])
    assert [bool(np.any(g)) for g in gradients[::2]] == [True, False, True]


@pytest.mark.slow
def test_maps_of_different_sizes_are_an_error():
    weights = tf.one_hot([0, 2, 1, 2, 0, 0], 3)
    with pytest.raises(
        ValueError, match="`encoders` must all return the same shape with known sizes, .* Received: out"
    ):
        map_router((1, 2, 2))([IMAGES[:, :12], weights])
    signature = [[tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([None, 3])]]
    graph = tf.function(map_router((1, 2, 2)), input_signature=signature, autograph=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`encoders` must all return maps of one size"):
        graph([IMAGES[:, :12], weights])
    vectors = [keras.Sequential([keras.layers.Flatten()], name=f"flat_{k}") for k in range(3)]
    with pytest.raises(ValueError, match="`encoders` must all return the same shape with known sizes"):
        layers.LevelRouter(vectors, layers.GaussianPyramid(3))([keras.Input((None, None, 3)), keras.Input((3,))])
