"""Selectors and the router in training, in models and out of them; what one call computes is in the table."""

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tfpyramid import layers
from tfpyramid._compat import KERAS_3, keras

LOGITS = tf.constant(np.random.default_rng(0).standard_normal([64, 4]), tf.float32)
QUERY = tf.constant(np.random.default_rng(1).standard_normal([32, 6]), tf.float32)


def selector(objective, **arguments):
    """Return a built selector of three levels whose scores differ from sample to sample."""
    layer = layers.QueryLevelSelector(3, 5, objective, **arguments)
    layer.build(QUERY.shape)
    rng = np.random.default_rng(2)
    for w in layer.trainable_weights:
        w.assign(rng.standard_normal(w.shape))
    return layer


def test_noise_is_drawn_in_training_only():
    layer = layers.GumbelLevelSelector(seed=3)
    np.testing.assert_array_equal(layer(LOGITS), layer(LOGITS))
    np.testing.assert_array_equal(layer(LOGITS), np.eye(4)[np.argmax(LOGITS, axis=1)])
    first, second = layer(LOGITS, training=True), layer(LOGITS, training=True)
    assert np.abs(first - second).max() > 0.1


@pytest.mark.parametrize("hard", [False, True])
def test_the_draws_of_a_seed_are_the_same_for_each_layer_of_it(hard):
    def draws(seed):
        layer = layers.GumbelLevelSelector(hard=hard, seed=seed)
        return np.array([layer(LOGITS, training=True) for _ in range(3)])

    np.testing.assert_array_equal(draws(5), draws(5))
    assert np.any(draws(5) != draws(6))
    assert np.any(draws(None) != draws(None))


def test_hard_draws_are_one_level_as_often_as_the_softmax_says():
    layer = layers.GumbelLevelSelector(hard=True, seed=1)
    logits = tf.tile(tf.constant([[0.0, 1.0, -1.0]]), [20000, 1])
    drawn = layer(logits, training=True).numpy()
    assert set(np.unique(drawn)) == {0, 1} and np.all(drawn.sum(axis=1) == 1)
    # Five standard deviations of a share of 20,000 draws.
    np.testing.assert_allclose(drawn.mean(axis=0), references.softmax(logits[0].numpy()), atol=0.018)


@pytest.mark.parametrize("name", ["gumbel", "query"])
def test_the_draws_go_on_in_a_saved_model_of_the_training_endpoint(name, tmp_path):
    made = {
        "gumbel": lambda: layers.GumbelLevelSelector(seed=7),
        "query": lambda: layers.QueryLevelSelector(4, 5, "gumbel", seed=7),
    }[name]
    inputs = keras.Input((4,))
    model = keras.Model(inputs, made()(inputs))
    archive = keras.export.ExportArchive()
    archive.track(model)
    spec = tf.TensorSpec([None, 4], tf.float32)
    archive.add_endpoint("train", lambda x: model(x, training=True), input_signature=[spec])
    archive.write_out(str(tmp_path / "model"))
    expected = [model(LOGITS, training=True) for _ in range(3)]
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    for y in expected:
        np.testing.assert_allclose(loaded.train(LOGITS), y, atol=1e-6)


def test_the_gumbel_objective_draws_in_training_only():
    layer = selector("gumbel", seed=1)
    np.testing.assert_array_equal(layer(QUERY), layer(QUERY))
    assert np.abs(layer(QUERY, training=True) - layer(QUERY, training=True)).max() > 0.1


def mean_cost(weights, costs):
    return float(np.mean(np.asarray(weights) @ costs))


@pytest.mark.parametrize("objective", ["softmax", "gumbel"])
def test_the_expected_cost_is_a_loss_in_training_and_the_metric(objective):
    layer = selector(objective, cost_weight=0.3, seed=1)
    layer(QUERY)
    assert not layer.losses and np.isnan(layer.metrics[0].result())
    weights = layer(QUERY, training=True)
    cost = mean_cost(weights, [1, 1 / 4, 1 / 16])
    np.testing.assert_allclose(layer.losses[0], 0.3 * cost, rtol=1e-6)
    assert layer.metrics[0].name == f"{layer.name}_cost"
    np.testing.assert_allclose(layer.metrics[0].result(), cost, rtol=1e-6)


def test_costs_given_are_those_that_count():
    layer = selector("softmax", cost_weight=1.0, costs=[0.0, 3.0, -1.0])
    weights = layer(QUERY, training=True)
    np.testing.assert_allclose(layer.losses[0], mean_cost(weights, [0, 3, -1]), rtol=1e-5)


def test_values_are_weighed_against_costs_by_a_weight_that_is_set_after_training():
    layer = selector("value")
    right = references.sigmoid(layer.level_logits(QUERY).numpy().astype(np.float64))
    chosen = {}
    for weight in (0.0, 0.2, 5.0):
        layer.cost_weight.assign(weight)
        chosen[weight] = np.argmax(layer(QUERY), axis=1)
        np.testing.assert_array_equal(chosen[weight], np.argmax(right - weight * 4.0 ** -np.arange(3), axis=1))
        np.testing.assert_array_equal(np.argmax(layer.choose(layer.level_logits(QUERY)), axis=1), chosen[weight])
    assert np.all(chosen[5.0] == 2) and len(set(chosen[0.0])) > 1
    layer(QUERY, training=True)
    assert not layer.losses, "values are trained apart, and their cost is in the choice"


def test_a_softmax_learns_the_level_that_each_query_needs():
    rng = np.random.default_rng(3)
    query = rng.standard_normal([256, 2]).astype(np.float32)
    needed = np.eye(2, dtype=np.float32)[(query[:, 0] > 0).astype(int)]
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layers.QueryLevelSelector(2, 8)(inputs))
    model.compile(keras.optimizers.Adam(0.05), "mse")
    model.fit(query, needed, epochs=10, batch_size=32, verbose=0)
    assert np.mean(np.argmax(model.predict(query, verbose=0), axis=1) == needed.argmax(axis=1)) > 0.97


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
        with pytest.raises(tf.errors.InvalidArgumentError, match="`images` and `weights` must have one batch size"):
            served.serve([IMAGES, QUERY[:batch]])


class Watched(keras.layers.Layer):
    """Means of an image, and how often they were asked for."""

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


@pytest.mark.parametrize("layer", [layers.GumbelLevelSelector, lambda **a: layers.QueryLevelSelector(3, **a)])
@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), "cold"])
def test_temperature_is_checked_when_the_layer_is_made(layer, temperature):
    with pytest.raises(ValueError, match="`temperature` must be a finite number greater than 0.* Received: temp"):
        layer(temperature=temperature)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_levels": 0}, "`num_levels` must be an integer of at least 1, the levels to choose from"),
        ({"units": 2.5}, "`units` must be an integer of at least 1"),
        ({"objective": "argmax"}, "`objective` must be one of 'softmax', 'gumbel', 'value'"),
        ({"cost_weight": -0.1}, "`cost_weight` must be a finite number of at least 0"),
        ({"costs": [1.0, 0.5]}, r"`costs` must be 3 finite numbers.* Received: costs=\[1.0, 0.5\]"),
        ({"costs": [1.0, float("nan"), 0.0]}, "`costs` must be 3 finite numbers"),
        ({"hard": 1}, "`hard` must be True or False"),
        ({"seed": "one"}, "`seed` must be an integer of at least 0"),
    ],
)
def test_arguments_of_the_query_selector_are_checked_when_it_is_made(arguments, message):
    with pytest.raises(ValueError, match=message):
        layers.QueryLevelSelector(**{"num_levels": 3, **arguments})


@pytest.mark.parametrize(
    "inputs, message",
    [
        (np.zeros([2, 3, 4], np.float32), r"`query` must be \[batch, size\], .* Received: query of shape \(2, 3, 4\)"),
        ([np.zeros([2, 4], np.float32), np.zeros([2, 4, 4, 1], np.float32)], r"`summaries\[0\]` must be \[batch, size"),
    ],
)
def test_a_query_of_the_wrong_rank_is_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        layers.QueryLevelSelector(3)(inputs)


def pooling(count):
    return [keras.layers.GlobalAveragePooling2D(name=f"pool_{k}") for k in range(count)]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (([],), r"`encoders` must be a list of layers, one for each level. Received: encoders=\[\]"),
        ((["pool"],), r"`encoders\[0\]` must be an instance of keras.layers.Layer"),
        ((2 * pooling(1),), r"`encoders` must be different layers.* Received: layers \['pool_0', 'pool_0'\]"),
        ((pooling(2), layers.GaussianPyramid(3)), "`pyramid` must have as many levels as there are `encoders`, 2.*=3"),
        ((pooling(2), layers.LaplacianPyramid(2)), "`pyramid` must be a layer that makes each level of the one before"),
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
            "`inputs` must hold a level for each of 2 encoders, .* Received: 3 levels",
        ),
        (
            layers.LevelRouter(pooling(2), layers.GaussianPyramid(2)),
            [*zeros(8, 4), np.zeros([2, 2], np.float32)],
            r"`inputs` must be \[images, weights\], for a `pyramid`. Received: 3 inputs",
        ),
        (
            layers.LevelRouter([keras.layers.Flatten(), keras.layers.Flatten()]),
            [*zeros(8, 4), np.zeros([2, 2], np.float32)],
            "`encoders` must all have one output shape, of known sizes",
        ),
    ],
)
def test_inputs_of_the_router_are_checked_when_it_is_built(router, inputs, message):
    with pytest.raises(ValueError, match=message):
        router(inputs)


def test_both_kerases_show_the_cost_of_training_in_the_history():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.QueryLevelSelector(3, 5, cost_weight=0.1, name="level")(inputs))
    model.compile("sgd", "mse", **({"jit_compile": False} if KERAS_3 else {}))
    target = np.eye(3, dtype=np.float32)[np.arange(32) % 3]
    history = model.fit(QUERY.numpy(), target, validation_data=(QUERY.numpy(), target), verbose=0).history
    assert 1 / 16 <= history["level_cost"][0] <= 1
    assert np.isnan(history["val_level_cost"][0])
