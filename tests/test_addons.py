"""Beside tensorflow-addons, collected only where it can run: on TensorFlow 2.15 (see conftest.py).

What of ours is equal to what of theirs, values and gradients, and where their conventions part from ours.
"""

import warnings

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, ops, training
from tfpyramid._compat import keras
from tfpyramid.ops import resize


@pytest.fixture(scope="module")
def addons():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It says that its life is over, and names the versions it was made for.
        import tensorflow_addons

    return tensorflow_addons


def normal(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_same(ours, theirs, arguments, atol=1e-5):
    """Assert that two functions have one value, and one gradient for each of their arguments."""
    arguments = [tf.constant(a) for a in arguments]
    results = []
    for function in (ours, theirs):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            y = function(*arguments)
            objective = tf.reduce_sum(y * normal(y.shape, 7))
        results.append([y, *tape.gradient(objective, arguments)])
    for k, (actual, expected) in enumerate(zip(*results, strict=True)):
        what = f"gradient of argument {k - 1}" if k else "value"
        assert np.any(expected), what
        np.testing.assert_allclose(actual, expected, atol=atol, err_msg=what)


# Their name is `tf.pad`'s; their "CONSTANT" is zeros too.
@pytest.mark.parametrize("border", ["reflect", "symmetric", "constant"])
@pytest.mark.parametrize("factor", [2.0, 3.0])
def test_a_gaussian_step_is_the_gaussian_filter_of_addons_decimated(addons, factor, border):
    step, sigma = int(factor), 2 * factor / 6
    assert_same(
        lambda x: ops.pyr_down(x, scale_factor=factor, kernel=ops.gaussian(sigma, 5), border=border),
        lambda x: addons.image.gaussian_filter2d(x, 5, sigma, border.upper())[:, ::step, ::step],
        [normal([2, 21, 34, 3])],
    )


@pytest.mark.parametrize("size", [1, 3, 7, 4])
def test_a_depthwise_step_of_1_is_the_gaussian_filter_of_addons(addons, size):
    taps = ops.gaussian(1.3, size)
    if size % 2 == 0:  # Theirs is then sampled about the sample before the middle, and so moves images; ours would not.
        taps = np.exp(-0.5 * np.square((np.arange(size) - (size - 1) // 2) / 1.3))
        taps /= taps.sum()
    kernel = tf.tile(tf.constant(np.outer(taps, taps)[..., None, None], tf.float32), [1, 1, 3, 1])
    assert_same(
        lambda x: ops.depthwise_down(x, kernel, 1),
        lambda x: addons.image.gaussian_filter2d(x, size, 1.3, "REFLECT"),
        [normal([2, 13, 16, 3])],
    )


def test_a_warp_is_dense_image_warp_of_the_flow_turned_about(addons):
    # It reads at p - flow, and its flow is (dy, dx); ours at p + flow, of (dx, dy), with a border of one's choice.
    arguments = [normal([2, 9, 12, 3]), 4 * normal([2, 9, 12, 2], 1)]
    theirs = addons.image.dense_image_warp
    assert_same(
        lambda x, flow: ops.warp(x, flow, border="edge"), lambda x, flow: theirs(x, -flow[..., ::-1]), arguments
    )
    assert_same(lambda x, flow: ops.warp(x, -flow[..., ::-1], border="edge"), theirs, arguments)


def test_sampling_is_resampler_with_the_points_turned_about(addons):
    # (x, y) there. Half of the points lie beyond the image, where both fade to zero within a pixel.
    points = np.float32(np.random.default_rng(1).uniform(-5, 15, [2, 6, 20, 2]))
    assert_same(
        ops.bilinear_sample,
        lambda x, points: addons.image.resampler(x, points[..., ::-1]),
        [normal([2, 9, 12, 3]), points],
    )


def test_sampling_is_interpolate_bilinear(addons):
    points = np.float32(np.random.default_rng(1).uniform(-3, 12, [2, 50, 2]))
    assert_same(
        lambda x, points: ops.bilinear_sample(x, points, border="edge"),
        addons.image.interpolate_bilinear,
        [normal([2, 9, 12, 3]), points],
    )


@pytest.mark.parametrize("levels", [2, 3])
def test_mipmaps_are_adaptive_average_pooling_where_every_side_is_even(addons, levels):
    x, size = normal([2, 8, 12, 3]), (8 >> levels - 1, 12 >> levels - 1)
    assert_same(
        lambda x: ops.gaussian_pyramid(x, levels, kernel="box")[-1],
        addons.layers.AdaptiveAveragePooling2D(size),
        [x],
    )
    # On an odd side ours goes on, to ceil(n / 2); theirs has no windows for it.
    odd = normal([2, 7, 12, 3])
    assert ops.pyr_down(odd, kernel="box").shape == (2, 4, 6, 3)
    with pytest.raises(tf.errors.InvalidArgumentError):
        addons.layers.AdaptiveAveragePooling2D((4, 6))(odd)


def test_boxes_of_three_sit_a_sample_before_those_of_adaptive_average_pooling(addons):
    # A level's samples are at 0, 3, 6, ..., its windows about them; theirs begin there.
    x = normal([2, 14, 17, 3])
    assert_same(
        lambda x: ops.pyr_down(x, scale_factor=3.0, kernel=ops.box(3))[:, 1:, 1:],
        lambda x: addons.layers.AdaptiveAveragePooling2D((4, 5))(x[:, 2:, 2:]),
        [x],
    )


@pytest.mark.parametrize("size", [(1, 1), (2, 4), (4, 3), (8, 12)])
def test_the_summary_of_a_spatial_transformer_is_adaptive_average_pooling(addons, size):
    # Ours parts samples between cells too, where the sizes do not divide.
    assert_same(
        lambda x: resize.area_resize(x, size), addons.layers.AdaptiveAveragePooling2D(size), [normal([2, 8, 12, 3])]
    )


# (kernel size, largest displacement, step). Theirs also has a stride between outputs, which is a slice of ours.
@pytest.mark.parametrize("kernel_size, reach, step", [(1, 4, 1), (1, 4, 2), (3, 2, 1), (3, 5, 2)])
def test_costs_are_those_of_correlation_cost_for_both_maps(addons, kernel_size, reach, step):
    theirs = addons.layers.CorrelationCost(kernel_size, reach, 1, step, reach + kernel_size // 2, "channels_last")
    ours = layers.CostVolume(reach, step=step, kernel_size=kernel_size)
    maps = [normal([2, 7, 9, 5]), normal([2, 7, 9, 5], 1)]
    assert_same(lambda a, b: ours([a, b]), lambda a, b: theirs([a, b]), maps)


def small_model(share_weights):
    image = keras.Input((8, 8, 2))
    levels = layers.LearnablePyramid(3, share_weights=share_weights, name="pyramid")(image)
    features = layers.PyramidConv2D(3, activation="tanh", share_weights=share_weights, name="features")(levels)
    return keras.Model(image, layers.UpsampleConcat()(features))


def both_optimizers(addons, ours, theirs, name, **arguments):
    """Return a discriminative optimizer, and a MultiOptimizer, which takes Keras's legacy optimizers alone."""
    modern, legacy = getattr(keras.optimizers, name), getattr(keras.optimizers.legacy, name)
    grouped = training.discriminative_optimizer(ours, pyramid=modern(3e-3, **arguments), task=modern(3e-2, **arguments))
    parts = [(legacy(rate, **arguments), theirs.get_layer(n)) for n, rate in (("pyramid", 3e-3), ("features", 3e-2))]
    return grouped, addons.optimizers.MultiOptimizer(parts)


@pytest.mark.parametrize("name, arguments", [("SGD", {"momentum": 0.9}), ("Adam", {})])
def test_groups_train_as_multi_optimizer_trains_variables_of_different_names(addons, name, arguments):
    ours, theirs = small_model(share_weights=True), small_model(share_weights=True)
    theirs.set_weights(ours.get_weights())
    start = ours.get_weights()
    grouped, multi = both_optimizers(addons, ours, theirs, name, **arguments)
    x, y = normal([8, 8, 8, 2]), normal([8, 8, 8, 9], 1)
    for model, optimizer in ((ours, grouped), (theirs, multi)):
        model.compile(optimizer, "mse")
        model.fit(x, y, batch_size=4, epochs=4, shuffle=False, verbose=0)
    assert int(grouped.iterations) == int(multi.iterations) == 8
    for a, b, before in zip(ours.get_weights(), theirs.get_weights(), start, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
        assert np.max(np.abs(a - before)) > 1e-4


def test_multi_optimizer_steps_twice_where_two_variables_have_one_name_and_ours_once(addons):
    # It tells variables by name, and Keras 2 gives the kernels of all levels one.
    ours, theirs = small_model(share_weights=False), small_model(share_weights=False)
    assert len({v.name for v in ours.get_layer("pyramid").weights}) == 1
    for model, optimizer, steps in zip((ours, theirs), both_optimizers(addons, ours, theirs, "SGD"), (1, 2)):
        pyramid = model.get_layer("pyramid").trainable_variables
        before = [v.numpy() for v in pyramid]
        optimizer.apply_gradients([(tf.ones_like(v), v) for v in model.trainable_variables])
        for v, old in zip(pyramid, before, strict=True):
            np.testing.assert_allclose(old - v.numpy(), np.full(v.shape, steps * 3e-3), rtol=1e-3)


def test_layers_of_both_packages_train_in_one_model(addons):
    image = keras.Input((16, 16, 3))
    levels = layers.LearnablePyramid(3)(image)
    features = layers.PerLevel(addons.layers.GroupNormalization(groups=3), share_weights=False)(levels)
    pooled = addons.layers.AdaptiveAveragePooling2D(1)(layers.WeightedFusion()(features))
    model = keras.Model(image, keras.layers.Dense(1)(keras.layers.Flatten()(pooled)))
    model.compile(addons.optimizers.AdamW(1e-4, 0.01), "mse")
    before = [w.numpy() for w in model.trainable_weights]
    model.fit(np.ones([4, 16, 16, 3]) * np.arange(4)[:, None, None, None], np.arange(4.0), verbose=0)
    assert all(np.all(np.isfinite(w.numpy())) for w in model.trainable_weights)
    assert any(np.any(w.numpy() != old) for w, old in zip(model.trainable_weights, before))
    assert tf.version.VERSION.startswith("2.15")
