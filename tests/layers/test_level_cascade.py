"""`LevelCascade` in training, inside and outside of models; the conformance table checks a single call."""

import numpy as np
import pytest
import tensorflow as tf

from tests.graph_size import count_operations
from tfpyramid import layers, ops, training, visualize
from tfpyramid._compat import keras, raw

RNG = np.random.default_rng(4)
IMAGES = tf.constant(RNG.random([7, 17, 20, 3]), tf.float32)
QUERY = tf.constant(RNG.standard_normal([7, 6]), tf.float32)
START = tf.one_hot([2, 1, 2, 0, 1, 2, 2], 3)
INPUTS = [IMAGES, QUERY, START]


def encoder(k):
    """Return an encoder with batch norm, which fails on an empty batch on a CPU."""
    stack = [
        keras.Input((None, None, 3)),
        keras.layers.Conv2D(4, 3, strides=2, padding="same"),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.GlobalMaxPooling2D(),
        keras.layers.Dense(5),
    ]
    return keras.Sequential(stack, name=f"encoder_{k}")


def confidence(k=0):
    features, query = keras.Input((5,)), keras.Input((6,))
    log_odds = keras.layers.Dense(1)(keras.layers.Concatenate()([features, query]))
    return keras.Model([features, query], log_odds, name=f"confidence_{k}")


MEANS = layers.LearnablePyramid(3, keras.layers.AveragePooling2D(2))


def cascade(upsampled=0, merge=None, pyramid=None, **arguments):
    """Return a built cascade, calibrated so that about half of the samples stop at each level."""
    layer = layers.LevelCascade(
        [encoder(k) for k in range(3)],
        [confidence(k) for k in (1, 2)],
        pyramid or layers.GaussianPyramid(3, upsampled_levels=upsampled),
        threshold=0.5,
        merge=merge and layers.LogitFusion(merge),
        **arguments,
    )
    layer(INPUTS)
    logits = layer.confidence_logits(layer.encode_all(IMAGES), QUERY)
    layer.calibration.assign(tf.stack([tf.ones(2), -np.median(logits, axis=0)], axis=1))
    return layer


def masked(layer):
    """Return the cascade that computes all levels, with the same parts and weights."""
    whole = layers.LevelCascade(layer.encoders, layer.confidences, layer.pyramid, merge=layer.merge, partition=False)
    whole.build([x.shape for x in INPUTS])
    whole.threshold.assign(layer.threshold)
    whole.calibration.assign(layer.calibration)
    return whole


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(), (1, "logsumexp"), (2,), (0, "logsumexp", MEANS)], ids=str)
def test_the_cascade_is_the_masked_reference_for_every_batch(arguments):
    layer = cascade(*arguments)
    whole, used = masked(layer), set()
    graph = tf.function(layer, autograph=False)
    specs = [tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([None, 6]), tf.TensorSpec([None, 3])]
    of_any = {count: tf.function(layer, [specs[:count]], autograph=False) for count in (2, 3)}
    for batch in (0, 1, 7):
        for count in (2, 3):
            given = [x[:batch] for x in INPUTS[:count]]
            expected, weights = whole(given)
            for run in (layer, graph, of_any[count]):
                features, found = run(given)
                np.testing.assert_allclose(features, expected, atol=1e-6)
                np.testing.assert_array_equal(found, weights)
            used |= set(np.argmax(weights, axis=1))
    assert used == {0, 1, 2}
    chosen = layer.choose(layer.confidence_logits(layer.encode_all(IMAGES), QUERY))
    np.testing.assert_array_equal(chosen, layer(INPUTS[:2])[1])


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


class Asked(keras.layers.Layer):
    """Log-odds above 0 if the query, a level, is at least `level`."""

    def __init__(self, level):
        super().__init__()
        self.level = level

    def call(self, inputs):
        return 50 * (inputs[1] - self.level + 0.5)

    def compute_output_shape(self, input_shape):
        return (input_shape[0][0], 1)


@pytest.mark.slow
def test_encoders_that_no_sample_needs_are_not_executed_in_the_saved_model_either(tmp_path):
    asked = [Asked(k) for k in (1, 2)]
    layer = layers.LevelCascade([Watched() for _ in range(3)], asked, layers.GaussianPyramid(3, upsampled_levels=1))
    layer.build([(None, None, None, 3), (None, 1)])
    module = tf.Module()
    specs = [[tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([None, 1])]]
    module.serve = tf.function(lambda inputs: layer(inputs), specs, autograph=False)
    module.calls = [raw(each.calls) for each in layer.encoders]
    module.variables_of_the_layer = [raw(w) for w in layer.weights]
    tf.saved_model.save(module, str(tmp_path))
    served = tf.saved_model.load(str(tmp_path))
    for stops, expected in (
        ([2, 2, 2], [0, 0, 1]),
        ([2, 1], [0, 1, 2]),
        ([0], [1, 2, 3]),
        ([1], [1, 3, 4]),
        ([], [1, 3, 4]),
    ):
        inputs = [IMAGES[: len(stops)], tf.reshape(tf.constant(stops, tf.float32), [-1, 1])]
        for run, calls in ((layer, module.calls), (served.serve, served.calls)):
            _, weights = run(inputs)
            np.testing.assert_array_equal(np.argmax(weights, axis=1), np.array(stops, int))
            assert [float(each.numpy()) for each in calls] == expected


@pytest.mark.slow
def test_a_batch_of_one_has_no_partition_and_other_batches_share_its_functions():
    layer = cascade()
    router = layers.LevelRouter([encoder(k) for k in range(3)], layers.GaussianPyramid(3))
    router([IMAGES, START])
    for each, inputs in ((layer, INPUTS[:2]), (layer, INPUTS), (router, [IMAGES, START])):
        graph = tf.function(each, autograph=False).get_concrete_function([x[:1] for x in inputs]).graph
        types = {node.op for node in graph.as_graph_def().node}
        types |= {node.op for f in graph.as_graph_def().library.function for node in f.node_def}
        assert not types & {"GatherV2", "ScatterNd", "Where"}, types
    specs = [tf.TensorSpec([None, *x.shape[1:]]) for x in INPUTS[:2]]
    one = [tf.TensorSpec([1, *x.shape[1:]]) for x in INPUTS[:2]]
    convolutions = tf.function(lambda *x: layer(list(x)), specs, autograph=False).get_concrete_function()
    kinds = [n.op for f in convolutions.graph.as_graph_def().library.function for n in f.node_def]
    assert kinds.count("Conv2D") == 3  # One for each encoder, though the graph has two ways to call it.
    assert count_operations(lambda *x: layer(list(x)), *specs) < 700
    assert count_operations(lambda *x: layer(list(x)), *one) < 300


@pytest.mark.parametrize("needed", [0, 3])
def test_a_pyramid_of_means_computes_level_1_for_the_samples_that_visit_it(needed, monkeypatch):
    batches = []

    def next_level(pyramid, level, k, original=layers.LearnablePyramid.next_level):
        batches.append((k, len(level)))
        return original(pyramid, level, k)

    pyramid = layers.LearnablePyramid(4, keras.layers.AveragePooling2D(2))
    layer = layers.LevelCascade(keras.layers.GlobalAveragePooling2D(), Asked(1), pyramid, threshold=0.5)
    query = tf.constant([[1.0]] * (7 - needed) + [[0.0]] * needed)
    layer([IMAGES, query])
    monkeypatch.setattr(layers.LearnablePyramid, "next_level", next_level)
    layer([IMAGES, query])
    # From level 2 to 3 for all samples.
    assert batches == [(2, 7)] + [(0, needed)] * (needed > 0)


def test_nan_in_an_image_reaches_that_sample_alone_which_goes_to_the_finest_level():
    layer = cascade()
    broken = tf.tensor_scatter_nd_update(IMAGES, [[1, 3, 3, 0]], [np.nan])
    expected, weights = layer([IMAGES, QUERY])
    features, found = layer([broken, QUERY])
    others = [0, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(features.numpy()[others], expected.numpy()[others], atol=1e-6)
    np.testing.assert_array_equal(found.numpy()[others], weights.numpy()[others])
    np.testing.assert_array_equal(found[1], [1, 0, 0])
    whole, whole_weights = masked(layer)([broken, QUERY])
    np.testing.assert_allclose(features, whole, atol=1e-6)
    np.testing.assert_array_equal(found, whole_weights)
    layer.trainable = False  # Batch norm would use the statistics of the batch.
    for y in layer([broken, QUERY], training=True):
        assert np.isnan(y[1]).any() and np.isfinite(y.numpy()[others]).all()
    start = tf.tensor_scatter_nd_update(START, [[1, 1]], [np.nan])
    for each in (layer, masked(layer)):
        features, found = each([IMAGES, QUERY, start])
        assert np.isnan(features[1]).all() and np.isnan(found[1]).all()
        assert np.isfinite(features.numpy()[others]).all() and np.isfinite(found.numpy()[others]).all()


def test_thresholds_of_0_and_1_and_a_calibration_that_is_set_after_training():
    layer = cascade()
    for value, level in ((0.0, 2), (1.0, 0)):
        layer.threshold.assign([value, value])
        np.testing.assert_array_equal(np.argmax(layer(INPUTS[:2])[1], axis=1), [level] * 7)
    layer.threshold.assign([1.0, 0.0])
    np.testing.assert_array_equal(np.argmax(layer(INPUTS[:2])[1], axis=1), [2] * 7)  # The second is that of level 2.
    start = tf.one_hot([1] * 7, 3)
    np.testing.assert_array_equal(np.argmax(layer([IMAGES, QUERY, start])[1], axis=1), [0] * 7)
    # P is 1 in float32, which meets a threshold of 1.
    layer.calibration.assign([[0.0, 40.0], [0.0, 40.0]])
    np.testing.assert_array_equal(np.argmax(layer([IMAGES, QUERY, start])[1], axis=1), [1] * 7)


@pytest.mark.slow
def test_a_model_keeps_threshold_and_calibration_in_files_and_exports(tmp_path):
    inputs = [keras.Input((None, None, 3)), keras.Input((6,)), keras.Input((3,))]
    layer = cascade(1, "mean")
    model = keras.Model(inputs, list(layer(inputs)))
    layer.threshold.assign([0.4, 0.6])
    expected = model(INPUTS)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    model.export(str(tmp_path / "model"))
    served = tf.saved_model.load(str(tmp_path / "model"))
    for y, loaded, exported in zip(expected, again(INPUTS), served.serve(INPUTS), strict=True):
        np.testing.assert_allclose(loaded, y, atol=1e-6)
        np.testing.assert_allclose(exported, y, atol=1e-6)
    for batch in ((7, 3, 7), (1, 7, 7), (7, 7, 1)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="`images` and `query` and `start` must have the same"):
            served.serve([x[:n] for x, n in zip(INPUTS, batch)])


def test_the_weighted_sum_of_training_is_that_of_the_equations():
    layer = cascade(merge="logsumexp")
    features, weights = layer([IMAGES, QUERY], training=False)
    levels = layer.encode_all(IMAGES)
    alone = [encode(level) for encode, level in zip(layer.encoders, layer.pyramid(IMAGES))]
    np.testing.assert_allclose(levels[1], np.logaddexp(alone[2], alone[1]), atol=1e-5)
    np.testing.assert_allclose(levels[0], np.logaddexp(levels[1], alone[0]), atol=1e-5)
    for b, k in enumerate(np.argmax(weights, axis=1)):
        np.testing.assert_allclose(features[b], levels[k][b], atol=1e-5)
    layer.trainable = False  # Batch norm would use the statistics of the batch.
    p = layer.probabilities(layer.confidence_logits(levels, QUERY)).numpy()
    features, weights = layer([IMAGES, QUERY], training=True)
    expected = np.stack([(1 - p[:, 0]) * (1 - p[:, 1]), p[:, 0] * (1 - p[:, 1]), p[:, 1]], axis=1)
    np.testing.assert_allclose(weights, expected, atol=1e-6)
    np.testing.assert_allclose(features, np.einsum("bk,kbn->bn", expected, np.stack(levels)), atol=1e-5)


@pytest.mark.slow
def test_it_learns_where_to_stop():
    """Half of the images are dark or bright; the others are checks or stripes of single pixels, grey when halved."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 256)
    hard = rng.random(256) < 0.5
    rows, columns = np.indices([8, 8])
    patterns = np.stack([columns % 2, (rows + columns) % 2])
    images = np.where(hard[:, None, None], patterns[labels], labels[:, None, None])[..., None].astype(np.float32)

    def network(k):
        stack = [keras.Input((None, None, 1)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
        if k == 0:
            stack.insert(1, keras.layers.Conv2D(8, 2, activation="relu"))
        return keras.Sequential(stack, name=f"network_{k}")

    hidden = keras.Sequential([keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)])
    layer = layers.LevelCascade([network(0), network(1)], hidden, layers.GaussianPyramid(2))
    image = keras.Input((8, 8, 1))
    layer(image)
    optimizer = keras.optimizers.Adam(0.05)
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    binary = keras.losses.BinaryCrossentropy(from_logits=True)
    for _ in range(100):
        with tf.GradientTape() as tape:
            levels = layer.encode_all(images)
            correct = tf.cast(tf.argmax(levels[1], axis=1) == labels, tf.float32)
            detached = [tf.stop_gradient(level) for level in levels]
            loss = entropy(labels, levels[0]) + entropy(labels, levels[1])
            loss += binary(correct[:, None], layer.confidence_logits(detached))
        variables = [raw(w) for w in layer.trainable_weights]
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), layer.trainable_weights))
    answers, weights = layer(images)
    assert np.mean(np.argmax(answers, axis=1) == labels) > 0.95
    costs = ops.cascade_costs(weights)
    assert np.mean(costs.numpy()[hard]) > 1 > np.mean(costs.numpy()[~hard])


def test_the_monitor_and_the_picture_read_its_weights():
    layer = cascade()
    image, query = keras.Input((None, None, 3)), keras.Input((6,))
    model = keras.Model([image, query], layer([image, query]))
    monitor = training.PyramidMonitor(sample=[IMAGES, QUERY])
    monitor.set_model(model)
    assert layers.protocols.has_level_usage(layer)
    np.testing.assert_allclose(tf.reduce_sum(layer.level_usage(layer([IMAGES, QUERY])), axis=1), np.ones(7))
    assert visualize.show_level_weights(layer([IMAGES, QUERY])[1]) is not None
