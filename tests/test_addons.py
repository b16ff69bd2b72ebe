"""Beside tensorflow-addons, collected only where it can run: on TensorFlow 2.15 (see conftest.py)."""

import warnings

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, ops, training
from tfpyramid._compat import keras


@pytest.fixture(scope="module")
def addons():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It says that its life is over, and names the versions it was made for.
        import tensorflow_addons

    return tensorflow_addons


@pytest.mark.parametrize("factor", [2.0, 3.0])
def test_a_gaussian_step_is_the_gaussian_filter_of_addons_decimated(addons, factor):
    x = np.random.default_rng(0).random([2, 21, 34, 3], np.float32)
    taps = ops.gaussian(2 * factor / 6, 5)
    filtered = addons.image.gaussian_filter2d(x, filter_shape=5, sigma=2 * factor / 6, padding="REFLECT")
    step = int(factor)
    np.testing.assert_allclose(
        ops.pyr_down(x, scale_factor=factor, kernel=taps), filtered[:, ::step, ::step], atol=1e-6
    )


def assert_same(ours, theirs, arguments, atol=1e-5):
    """Assert that two functions have equal values, and equal gradients of every argument."""
    results = []
    for function in (ours, theirs):
        tensors = [tf.constant(argument, tf.float32) for argument in arguments]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            y = function(*tensors)
            objective = tf.reduce_sum(y * tf.reshape(tf.cos(tf.range(tf.size(y), dtype=y.dtype)), tf.shape(y)))
        results.append([y, *tape.gradient(objective, tensors)])
    for actual, expected in zip(*results, strict=True):
        assert np.any(expected)
        np.testing.assert_allclose(actual, expected, atol=atol)


def test_a_warp_is_the_dense_image_warp_of_addons_with_the_flow_turned_round(addons):
    """Theirs reads at p - flow, the flow being (dy, dx), and what is beyond the border is its last pixel."""
    rng = np.random.default_rng(0)
    images, flow = rng.random([2, 9, 12, 3]), rng.uniform(-2, 2, [2, 9, 12, 2])
    inside = np.clip(flow, -1.9, 1.9)  # At the border their gradient of the flow is not that of the clamped value.
    inside[:, :2] = inside[:, -2:] = inside[:, :, :2] = inside[:, :, -2:] = 0.3
    inside[:, -1] = inside[:, :, -1] = 0.4

    def ours(x, f):
        return ops.warp(x, -tf.reverse(f, [-1]), border="edge")

    np.testing.assert_allclose(
        ours(images, flow), addons.image.dense_image_warp(np.float32(images), np.float32(flow)), atol=1e-5
    )
    within = slice(2, -2)
    assert_same(
        lambda x, f: ours(x, f)[:, within, within],
        lambda x, f: addons.image.dense_image_warp(x, f)[:, within, within],
        [images, inside],
    )


def test_sampling_is_the_resampler_of_addons_with_the_axes_turned_round(addons):
    """Theirs takes (x, y), and zero is beyond the border there too."""
    rng = np.random.default_rng(1)
    images, points = rng.random([2, 7, 9, 3]), rng.uniform([-0.9, -0.9], [8.9, 6.9], [2, 40, 2])
    assert_same(
        lambda x, p: ops.bilinear_sample(x, tf.reverse(p, [-1])), addons.image.resampler, [images, points]
    )


@pytest.mark.parametrize("steps", [1, 2])
def test_box_levels_are_the_adaptive_average_pooling_of_addons(addons, steps):
    """Where sides divide by the factor; elsewhere theirs averages windows of several sizes, and ours mirrors."""
    images = np.random.default_rng(2).random([2, 8, 12, 3])
    pooling = addons.layers.AdaptiveAveragePooling2D((8 // 2**steps, 12 // 2**steps))
    assert_same(lambda x: ops.gaussian_pyramid(x, steps + 1, kernel="box")[-1], pooling, [images])


def test_a_cost_volume_is_the_correlation_cost_of_addons(addons):
    first, second = np.random.default_rng(3).normal(size=[2, 2, 6, 7, 4])
    layer = addons.layers.CorrelationCost(
        kernel_size=1, max_displacement=2, stride_1=1, stride_2=1, pad=2, data_format="channels_last"
    )
    assert_same(lambda x, y: ops.cost_volume(x, y, 2), lambda x, y: layer([x, y]), [first, second])


def test_a_discriminative_optimizer_trains_as_the_multi_optimizer_of_addons(addons):
    def model():
        image = keras.Input((8, 8, 3))
        levels = layers.LearnablePyramid(2, name="levels")(image)
        pooled = keras.layers.GlobalAveragePooling2D()(layers.UpsampleConcat()(levels))
        made = keras.Model(image, keras.layers.Dense(2, name="head")(pooled))
        rng = np.random.default_rng(4)
        made.set_weights([0.3 * rng.normal(size=w.shape) for w in made.get_weights()])
        return made

    rng = np.random.default_rng(5)
    x, y = rng.random([12, 8, 8, 3], np.float32), rng.random([12, 2], np.float32)
    ours, theirs = model(), model()
    ours.compile(
        training.discriminative_optimizer(
            ours, pyramid=keras.optimizers.SGD(0.01, momentum=0.9), task=keras.optimizers.Adam(0.01)
        ),
        "mse",
    )
    old = keras.optimizers.legacy
    slow, fast = old.SGD(0.01, momentum=0.9), old.Adam(0.01)
    groups = [(slow, theirs.get_layer("levels")), (fast, theirs.get_layer("head"))]
    theirs.compile(addons.optimizers.MultiOptimizer(groups), "mse")
    start = ours.get_weights()
    for each in (ours, theirs):
        each.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0)
    for actual, expected, before in zip(ours.get_weights(), theirs.get_weights(), start, strict=True):
        assert np.any(expected != before)
        np.testing.assert_allclose(actual, expected, atol=1e-5)


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
