"""The pyramid layers, beyond the conformance table."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, ops
from tfpyramid._compat import keras


def photograph(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


@pytest.mark.parametrize("sides", [(33, 47), (1, 1), (1, 9), (64, 64)])
def test_a_laplacian_model_returns_its_input(sides):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.LaplacianReconstruction()(layers.LaplacianPyramid(4)(image)))
    x = photograph(2, *sides, 3)
    np.testing.assert_allclose(model(x), x, atol=1e-6)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_untrained_learnable_pyramid_is_the_gaussian_pyramid(hard, channels):
    x = photograph(2, 21, 34, channels)
    learnable = layers.LearnablePyramid(4, layers.LearnableDownsample2D(hard=hard))(x)
    for level, expected in zip(learnable, ops.gaussian_pyramid(x, 4), strict=True):
        np.testing.assert_allclose(level, expected, atol=1e-6)


def test_filters_start_on_the_documented_channels():
    x = photograph(1, 16, 16, 3)
    level = ops.pyr_down(x).numpy()
    more = layers.LearnableDownsample2D(filters=5)(x)
    np.testing.assert_allclose(more, level[..., [0, 1, 2, 0, 1]], atol=1e-6)
    fewer = layers.LearnableDownsample2D(filters=2)(x)
    expected = np.stack([(level[..., 0] + level[..., 2]) / 2, level[..., 1]], -1)
    np.testing.assert_allclose(fewer, expected, atol=1e-6)


def test_quantised_taps_are_exact_in_the_forward_pass():
    layer = layers.LearnableDownsample2D(hard=True, kernel_bits=5)
    layer.build((None, 9, 9, 1))
    kernel = 0.3 * np.random.default_rng(1).standard_normal([5, 5, 1, 1]).astype(np.float32)
    layer.set_weights([kernel])
    impulse = np.zeros([1, 9, 9, 1], np.float32)
    impulse[0, 4, 4, 0] = 1
    # With stride 2, an impulse at an even sample returns every second tap, reversed.
    seen = layer(impulse).numpy()[0, 1:4, 1:4, 0]
    expected = (np.round(kernel * 32) / 32)[::-2, ::-2, 0, 0]
    assert np.array_equal(seen, expected)


def test_a_clipped_tap_has_no_gradient():
    layer = layers.LearnableDownsample2D(kernel_size=1, hard=True)
    layer.build((None, 4, 4, 1))
    layer.set_weights([np.full([1, 1, 1, 1], 1.5, np.float32)])
    weight = layer.trainable_weights[0]
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(layer(np.ones([1, 4, 4, 1], np.float32)))
    assert float(y) == 4.0
    assert not np.any(tape.gradient(y, getattr(weight, "value", weight) if hasattr(weight, "path") else weight))


def test_steps_have_their_own_weights_unless_shared():
    separate, shared = layers.LearnablePyramid(4), layers.LearnablePyramid(4, share_weights=True)
    for layer, count in ((separate, 3), (shared, 1)):
        layer(photograph(1, 16, 16, 3))
        assert len(layer.trainable_weights) == len(layer.downsamplers) == count


def test_any_keras_layer_can_be_the_downsampler():
    x = photograph(2, 16, 16, 3)
    levels = layers.LearnablePyramid(3, keras.layers.AveragePooling2D(2))(x)
    np.testing.assert_allclose(levels[1], ops.pyr_down(x, kernel="box"), atol=1e-6)


@pytest.mark.parametrize("channels", [3, 7])
def test_means_of_means_are_computed_in_one_step(channels):
    x = photograph(2, 58, 41, channels)
    for size in (2, (3, 2)):
        pyramid = layers.LearnablePyramid(4, keras.layers.AveragePooling2D(size))
        levels = pyramid(x)
        assert pyramid.skips_levels
        for k in range(2):
            np.testing.assert_allclose(pyramid.level_after_next(levels[k], k), levels[k + 2], atol=1e-6)


def test_a_skipped_level_keeps_what_is_not_finite_in_its_channel():
    x = np.array(photograph(2, 16, 16, 3))
    x[0, 5, 6, 1], x[1, 9, 2, 0] = np.nan, np.inf
    pyramid = layers.LearnablePyramid(3, keras.layers.AveragePooling2D(2))
    expected = np.asarray(pyramid(x)[2])
    assert np.count_nonzero(~np.isfinite(expected)) == 2
    np.testing.assert_allclose(pyramid.level_after_next(tf.constant(x), 0), expected, atol=1e-6)


@pytest.mark.parametrize(
    "downsample",
    [
        keras.layers.AveragePooling2D(2, padding="same"),
        keras.layers.AveragePooling2D(3, strides=2),
        layers.LearnableDownsample2D(),
    ],
)
def test_other_pyramids_skip_no_level(downsample):
    pyramid = layers.LearnablePyramid(3, downsample)
    x = photograph(2, 23, 41, 3)
    levels = pyramid(x)
    assert not pyramid.skips_levels
    np.testing.assert_array_equal(pyramid.level_after_next(levels[0], 0), levels[2])


def test_the_template_is_not_trained_and_is_returned_untrained():
    template = layers.LearnableDownsample2D(filters=4)
    pyramid = layers.LearnablePyramid(2, template)
    pyramid(photograph(1, 8, 8, 3))
    assert not template.built and not pyramid.downsample.built
    assert pyramid.downsample.get_config() == template.get_config()


def test_one_level_is_the_image_itself():
    x = photograph(1, 5, 5, 2)
    for layer in (layers.GaussianPyramid(1), layers.LaplacianPyramid(1), layers.LearnablePyramid(1)):
        (level,) = layer(x)
        assert np.array_equal(level, x)


@pytest.mark.slow
def test_a_pyramid_model_trains_from_the_task():
    # The target is a difference of two neighbouring samples, which the initial Gaussian cannot compute.
    x = photograph(64, 8, 8, 1)
    target = x[:, ::2, ::2] - x[:, ::2, 1::2]
    image = keras.Input((None, None, 1))
    pyramid = layers.LearnablePyramid(2, layers.LearnableDownsample2D(kernel_size=3))
    model = keras.Model(image, pyramid(image)[1])
    model.compile(keras.optimizers.Adam(0.05), "mse")
    history = model.fit(x, target, epochs=150, batch_size=32, verbose=0).history["loss"]
    assert history[-1] < 0.01 * history[0]
    expected = np.zeros([3, 3])
    expected[1, 1:] = 1, -1
    np.testing.assert_allclose(pyramid.downsamplers[0].get_weights()[0][..., 0, 0], expected, atol=0.02)


def test_all_levels_and_the_upsampled_ones():
    levels = layers.GaussianPyramid(upsampled_levels=1)(np.ones([1, 4, 5, 1], np.float32))
    assert [tuple(x.shape[1:3]) for x in levels] == [(8, 10), (4, 5), (2, 3), (1, 2)]


def test_a_router_refuses_a_pyramid_with_upsampled_levels():
    encoders = [keras.layers.GlobalMaxPooling2D(), keras.layers.GlobalMaxPooling2D()]
    with pytest.raises(ValueError, match="`pyramid` must compute each level .* Received: pyramid.upsampled_levels=1"):
        layers.LevelRouter(encoders, layers.GaussianPyramid(2, upsampled_levels=1))
