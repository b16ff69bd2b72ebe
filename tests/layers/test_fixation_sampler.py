"""FixationSampler: the places that it draws in training, and networks that it trains to search."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import export, layers, ops
from tfpyramid._compat import KERAS_3, keras
from tfpyramid.ops import candidates


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype("f")


def pixels(fixations, maps):
    """Return the rows and columns of fixations, which must be the centers of pixels."""
    places = np.asarray(fixations, np.float64) * maps.shape[1:3] - 0.5
    np.testing.assert_allclose(places, np.round(places), atol=1e-3)
    return np.round(places).astype(int)


def values_at(maps, places):
    return np.stack([each[p[:, 0], p[:, 1], 0] for each, p in zip(maps, places)])


MAPS = normal(2, 20, 31, 1)
# Keras 2.15 draws the seeds of its initializers so, after `set_random_seed`.
seeded = pytest.mark.filterwarnings("ignore:non-integer arguments to randrange:DeprecationWarning")


def test_places_are_drawn_in_training_only():
    layer = layers.FixationSampler(3, num_peaks=2, grid=2)
    for y, expected in zip(layer(MAPS), ops.local_maxima(MAPS, 3)):
        np.testing.assert_array_equal(y, expected)
    (first, first_scores), (second, _) = layer(MAPS, training=True), layer(MAPS, training=True)
    assert first.shape == (2, 6, 2) and first_scores.shape == (2, 6)
    assert np.any(first != second)


def test_scores_are_the_values_of_the_map_and_carry_its_gradient():
    layer = layers.FixationSampler(num_peaks=4, grid=5, jitter=2)
    x = tf.constant(MAPS)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        fixations, scores = layer(x, training=True)
    places = pixels(fixations, MAPS)
    np.testing.assert_array_equal(scores, values_at(MAPS, places))
    assert tape.gradient(fixations, x) is None
    upstream, expected = normal(2, 29), np.zeros_like(MAPS)
    for b in range(2):
        np.add.at(expected[b, ..., 0], (places[b, :, 0], places[b, :, 1]), upstream[b])
    np.testing.assert_allclose(tape.gradient(scores, x, upstream), expected, atol=1e-6)


@pytest.mark.parametrize("jitter", [0, 1, 3])
def test_maxima_are_moved_by_every_number_of_pixels_up_to_the_jitter(jitter):
    layer = layers.FixationSampler(num_peaks=5, grid=0, jitter=jitter, separation=3, seed=0)
    exact = pixels(ops.local_maxima(MAPS, 5, separation=3)[0], MAPS)
    moved = np.stack([pixels(layer(MAPS, training=True)[0], MAPS) for _ in range(60)])
    within = np.clip(exact + jitter, 0, [19, 30]) - np.clip(exact - jitter, 0, [19, 30])
    np.testing.assert_array_equal(moved.max(0) - moved.min(0), within)
    np.testing.assert_array_equal(np.clip(exact + jitter, 0, [19, 30]), moved.max(0))
    # All numbers are equally likely: five standard deviations of their frequency.
    inside = np.all((exact >= jitter) & (exact < np.array([20, 31]) - jitter), axis=-1)
    offsets = (moved - exact)[:, inside]
    share = 1 / (2 * jitter + 1)
    for k in range(-jitter, jitter + 1):
        assert abs(np.mean(offsets == k) - share) <= 5 * np.sqrt(share * (1 - share) / offsets.size)


@pytest.mark.parametrize("grid", [1, 3, 8])
def test_a_place_is_drawn_uniformly_in_each_cell(grid):
    maps = np.zeros([500, 8, 12, 1], "f")
    fixations, _ = layers.FixationSampler(num_peaks=1, grid=grid, seed=1)(maps, training=True)
    places = pixels(fixations[:, 1:], maps)
    cells = np.stack(np.meshgrid(range(grid), range(grid), indexing="ij"), -1).reshape(-1, 2)
    low, high = np.floor(cells * [8, 12] / grid), np.ceil((cells + 1) * [8, 12] / grid) - 1
    np.testing.assert_array_equal(places.min(0), low)
    np.testing.assert_array_equal(places.max(0), high)
    # Together the cells are the map: each row and each column is drawn equally often.
    for axis, side in enumerate((8, 12)):
        counts = np.bincount(places[..., axis].ravel(), minlength=side)
        share = 1 / side
        bound = 5 * np.sqrt(share * (1 - share) / places[..., axis].size)
        np.testing.assert_allclose(counts / counts.sum(), share, atol=bound)


def test_cells_may_be_smaller_than_a_pixel():
    maps = normal(3, 2, 1, 1)
    fixations, scores = layers.FixationSampler(num_peaks=1, grid=5, seed=2)(maps, training=True)
    places = pixels(fixations, maps)
    np.testing.assert_array_equal(scores, values_at(maps, places))
    rows = places[:, 1:, 0].reshape(3, 5, 5)
    assert np.all(rows[:, :2] == 0) and np.all(rows[:, 3:] == 1) and np.any(rows[:, 2] != rows[0, 2, 0])
    assert np.all(places[..., 1] == 0)


def test_the_draws_of_a_seed_are_the_same_for_each_layer_of_it():
    def draws(seed):
        layer = layers.FixationSampler(num_peaks=3, jitter=2, seed=seed)
        return np.array([layer(MAPS, training=True)[0] for _ in range(3)])

    np.testing.assert_array_equal(draws(5), draws(5))
    assert np.any(draws(5) != draws(6))
    assert np.any(draws(None) != draws(None))
    assert np.any(draws(5)[0] != draws(5)[1])


@pytest.mark.parametrize("compiled", [False, True])
def test_graphs_of_unknown_sides_and_of_xla_draw_the_same(compiled):
    def run(maps):
        return candidates.draw(maps, 5, 3, 2, 3, tf.constant([3, 4]))

    spec = [tf.TensorSpec([None, None, None, 1])]
    graph = tf.function(run, spec, autograph=False, jit_compile=compiled)
    for maps in (MAPS, normal(1, 2, 1, 1), np.zeros([2, 3, 3, 1], "f")):
        for y, expected in zip(graph(maps), run(tf.constant(maps)), strict=True):
            np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_a_small_map_a_map_with_nan_and_an_empty_batch_in_training():
    layer = layers.FixationSampler(num_peaks=6, grid=1)
    maps = tf.constant(normal(2, 2, 2, 1))
    with tf.GradientTape() as tape:
        tape.watch(maps)
        fixations, scores = layer(maps, training=True)
        y = layers.SoftmaxMixture()([normal(2, 7, 3), scores])
    np.testing.assert_array_equal(scores[:, 4:6], np.full([2, 2], np.finfo("f").min))
    assert np.isfinite(fixations).all() and np.isfinite(y).all() and np.isfinite(tape.gradient(y, maps)).all()
    unknown = MAPS.copy()
    unknown[1, 3, 4] = np.nan
    for result in layer(unknown, training=True):
        assert np.isfinite(result[0]).all() and np.isnan(result[1]).all()
    assert [tuple(y.shape) for y in layer(MAPS[:0], training=True)] == [(0, 7, 2), (0, 7)]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("training", [False, True])
def test_no_policy_rounds_the_map_or_the_fixations(policy, training):
    maps = np.float32(1 + 1e-4 * normal(1, 300, 5, 1))  # Half precision cannot tell these values apart.
    expected = layers.FixationSampler(2, num_peaks=2, seed=1)(maps, training=training)
    actual = layers.FixationSampler(2, num_peaks=2, seed=1, dtype=policy)(maps, training=training)
    for y, x in zip(actual, expected):
        assert y.dtype == tf.float32
        np.testing.assert_array_equal(y, x)
    image = keras.Input((None, None, 1))
    assert [y.dtype for y in keras.Model(image, layers.FixationSampler(2, dtype=policy)(image))(maps)] == [
        tf.float32
    ] * 2


def test_the_number_of_fixations_is_known_if_training_has_as_many():
    image = keras.Input((6, 7, 1))
    varying, constant = layers.FixationSampler(3), layers.FixationSampler(3, num_peaks=2, grid=1)
    assert varying.compute_output_shape((2, 6, 7, 1)) == [(2, None, 2), (2, None)]
    assert constant.compute_output_shape((2, 6, 7, 1)) == [(2, 3, 2), (2, 3)]
    assert [tuple(y.shape) for y in constant(image)] == [(None, 3, 2), (None, 3)]
    if KERAS_3:
        assert [tuple(y.shape) for y in varying(image)] == [(None, None, 2), (None, None)]


@pytest.mark.parametrize("sides", [(60, 61), (None, None)])
@pytest.mark.parametrize("border", ["reflect", "wrap"])
def test_crops_of_an_unknown_number_of_fixations(sides, border):
    layer = layers.FoveatedPyramid(4, 2, border=border)
    image, places = keras.Input((*sides, 3)), keras.Input((None, 2))
    crops = layer([image, places])
    assert [tuple(crop.shape) for crop in crops] == [(None, None, 4, 4, 3)] * 2
    model = keras.Model([image, places], crops)
    run = tf.function(lambda x, f: model([x, f]), [tf.TensorSpec([None, *sides, 3]), tf.TensorSpec([None, None, 2])])
    images = normal(2, 60, 61, 3)
    for count in (1, 3):
        fixations = np.random.default_rng(count).random([2, count, 2]).astype("f")
        expected = layer([images, fixations])
        for graph in (model, lambda inputs: run(*inputs)):
            for crop, y in zip(graph([images, fixations]), expected, strict=True):
                np.testing.assert_allclose(crop, y, atol=1e-5)


def searcher(**arguments):
    """Return a network that searches an image for what its class depends on."""
    image = keras.Input((None, None, 1), name="image")
    view = keras.layers.AveragePooling2D(4)(image)
    maps = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(view)
    maps = keras.layers.Conv2D(1, 1, use_bias=False)(maps)  # The softmax of the scores would ignore a bias.
    fixations, scores = layers.FixationSampler(name="sampler", **arguments)(maps)
    crops = layers.FoveatedPyramid(12, 1)([image, fixations])
    reader = keras.layers.TimeDistributed(
        keras.Sequential(
            [
                keras.Input((12, 12, 1)),
                keras.layers.Conv2D(16, 3, activation="relu"),
                keras.layers.GlobalMaxPooling2D(),
                keras.layers.Dense(2),
            ]
        )
    )
    model = keras.Model(image, layers.SoftmaxMixture(name="answer")([reader(crops[0]), scores]))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    return model


@pytest.mark.slow
@seeded
def test_a_network_that_searches_is_trained_saved_and_exported(tmp_path):
    keras.utils.set_random_seed(0)
    model = searcher(num_fixations=2, num_peaks=2, grid=2)
    images, classes = normal(4, 32, 40, 1), np.array([0, 1, 1, 0])
    before = [w.numpy() for w in model.trainable_weights]
    model.fit(images, classes, batch_size=2, verbose=0)
    assert all(np.any(w.numpy() != start) for w, start in zip(model.trainable_weights, before))
    y = model.predict(images, verbose=0)
    np.testing.assert_allclose(np.exp(y).sum(1), np.ones(4), rtol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(images, verbose=0), y, atol=1e-5)
    export.export_saved_model(model, tmp_path / "served")
    served = export.load_saved_model(tmp_path / "served")
    np.testing.assert_allclose(served(image=images[:3, :24])["answer"], model(images[:3, :24]), atol=1e-5)


def test_the_draws_continue_in_a_saved_model_of_the_training_endpoint(tmp_path):
    image = keras.Input((None, None, 1))
    model = keras.Model(image, layers.FixationSampler(seed=7)(image))
    archive = keras.export.ExportArchive()
    archive.track(model)
    spec = tf.TensorSpec([None, None, None, 1], tf.float32)
    archive.add_endpoint("train", lambda x: model(x, training=True), input_signature=[spec])
    archive.write_out(str(tmp_path / "model"))
    expected = [model(MAPS, training=True) for _ in range(3)]
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    for results in expected:
        for y, x in zip(tf.nest.flatten(loaded.train(MAPS)), results, strict=True):
            np.testing.assert_allclose(y, x, atol=1e-6)


def scenes(count, side, seed):
    """Return images with one mark of 5 by 5 pixels, and which way the mark is striped."""
    rng = np.random.default_rng(seed)
    images, classes = 0.1 * rng.standard_normal([count, side, side, 1]), rng.integers(0, 2, count)
    mark = np.tile(np.float32([2, 0, 2, 0, 2])[:, None], [1, 5])
    places = rng.integers(0, side - 4, [count, 2])
    for image, (i, j), turned in zip(images, places, classes):
        image[i : i + 5, j : j + 5, 0] = mark.T if turned else mark
    return images.astype("f"), classes, places + 2


@pytest.mark.slow
@seeded
def test_a_network_learns_from_classes_alone_where_to_look():
    keras.utils.set_random_seed(1)
    images, classes, _ = scenes(512, 64, 0)
    model = searcher(num_peaks=4, grid=2)
    model.fit(images, classes, batch_size=32, epochs=12, verbose=0)
    images, classes, places = scenes(128, 96, 1)  # In larger images, too.
    _, accuracy = model.evaluate(images, classes, verbose=0)
    fixations = keras.Model(model.input, model.get_layer("sampler").output)(images)[0][:, 0]
    # The center of the mark is in the crop of 12 pixels.
    found = np.mean(np.abs(96 * fixations - 0.5 - places).max(axis=1) < 6)
    assert accuracy > 0.95 and found > 0.95, (accuracy, found)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_fixations": 0}, "`num_fixations` must be an integer of at least 1.* Received: num_fixations=0"),
        ({"num_fixations": None}, "`num_fixations` must be an integer of at least 1"),
        ({"num_fixations": 1025}, "`num_fixations` must be at most 1024"),
        ({"num_peaks": 0}, "`num_peaks` must be an integer of at least 1.* Received: num_peaks=0"),
        ({"num_peaks": 10**9}, "`num_peaks` must be at most 1024"),
        ({"grid": -1}, "`grid` must be an integer of at least 0.* or 0 for none. Received: grid=-1"),
        ({"grid": 33}, "`grid` must be at most 32"),
        ({"jitter": 0.5}, "`jitter` must be an integer of at least 0.* Received: jitter=0.5"),
        ({"jitter": 10**9}, "`jitter` must be at most 1024"),
        ({"separation": 2}, "`separation` must be odd.* Received: separation=2"),
        ({"seed": -1}, "`seed` must be an integer of at least 0, or None"),
    ],
)
def test_a_bad_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        layers.FixationSampler(**arguments)


@pytest.mark.parametrize("training", [False, True])
def test_a_bad_map_is_named(training):
    for maps, message in (
        (np.zeros([1, 4, 4, 2], "f"), r"`maps` must have one channel.* Received: maps of shape \(1, 4, 4, 2\)"),
        (np.zeros([1, 4, 4], "f"), "`maps` must have 4 axes"),
        (np.zeros([1, 4, 4, 1], int), "`maps` must be floating point"),
    ):
        layer = layers.FixationSampler()
        layer.build((None, None, None, 1))
        with pytest.raises(ValueError, match=message):
            layer(maps, training=training)
    with pytest.raises(ValueError, match=r"`maps` must have one channel"):
        layers.FixationSampler()(keras.Input((4, 4, 3)))
