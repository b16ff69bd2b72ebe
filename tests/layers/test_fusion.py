"""The fusion layers, beyond the conformance table."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, ops
from tfpyramid._compat import keras


def photograph(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


@pytest.mark.parametrize("sides", [(33, 47), (1, 1), (64, 64), (255, 129)])
def test_one_model_answers_images_of_many_sizes(sides):
    image = keras.Input((None, None, 3))
    features = layers.PyramidConv2D(4, activation="relu")(layers.LearnablePyramid(4)(image))
    model = keras.Model(image, [layers.UpsampleConcat()(features), layers.WeightedFusion()(features)])
    concatenated, fused = model(photograph(1, *sides, 3))
    assert concatenated.shape == (1, *sides, 16) and fused.shape == (1, *sides, 4)


def test_concatenation_keeps_a_ramp_in_register():
    # Away from the border, a ramp is its own Gaussian pyramid and is upsampled exactly, on odd sides too.
    rows, columns = np.mgrid[0:33, 0:47].astype(np.float32)
    ramp = np.stack([rows, columns], -1)[None]
    fused = layers.UpsampleConcat()([ramp, ramp[:, ::2, ::2], ramp[:, ::4, ::4]]).numpy()
    for k in range(3):
        np.testing.assert_allclose(fused[:, :, :44, 2 * k : 2 * k + 2], ramp[:, :, :44], atol=1e-5)


@pytest.mark.parametrize(
    "method, expected", [("fast_normalized", 1.0), ("softplus_normalized", 1.0), ("softmax", 1.0), ("sum", 3.0)]
)
def test_untrained_fusion_weighs_levels_alike(method, expected):
    levels = ops.gaussian_pyramid(np.ones([1, 8, 8, 1], np.float32), 3)
    np.testing.assert_allclose(layers.WeightedFusion(method)(levels), np.full([1, 8, 8, 1], expected), atol=1e-4)


@pytest.mark.parametrize("method, recovers", [("fast_normalized", False), ("softplus_normalized", True)])
def test_gradient_descent_leaves_negative_weights_only_where_they_have_a_gradient(method, recovers):
    levels = [tf.constant(photograph(1, 8, 8, 1)), tf.zeros([1, 4, 4, 1])]
    layer = layers.WeightedFusion(method)
    layer.build([level.shape for level in levels])
    layer.level_weights.assign([-51.0, -50.0])
    optimizer, losses = keras.optimizers.SGD(50.0), []
    # The target is the finest level, so its weight should become 1.
    for _ in range(30):
        with tf.GradientTape() as tape:
            losses.append(tf.reduce_mean(tf.square(layer(levels) - levels[0])))
        gradients = tape.gradient(losses[-1], layer.trainable_variables)
        optimizer.apply_gradients(zip(gradients, layer.trainable_variables))
    if recovers:
        assert losses[-1] < 0.01 * losses[0] and layer.weigh()[0] > 0.9
    else:
        assert losses[-1] == losses[0] and not np.any(layer.weigh())


def test_hard_fusion_is_one_level_exactly_and_still_trains_all():
    levels = [tf.constant(x) for x in (photograph(1, 6, 6, 2), photograph(1, 3, 3, 2))]
    layer = layers.WeightedFusion("softmax", hard=True)
    layer(levels)
    layer.level_weights.assign([0.1, 0.2])
    with tf.GradientTape() as tape:
        y = layer(levels)
        objective = tf.reduce_sum(y)
    assert np.array_equal(y, ops.resize_by(levels[1], 2.0, (6, 6)))
    weight = layer.trainable_weights[0]
    gradient = tape.gradient(objective, weight.value if hasattr(weight, "path") else weight)
    assert np.all(np.asarray(gradient) != 0)


def test_hard_fusion_per_channel_takes_a_level_for_each_channel():
    fine, coarse = photograph(1, 6, 6, 2), photograph(1, 3, 3, 2)
    layer = layers.WeightedFusion("sum", per_channel=True, hard=True)
    layer([fine, coarse])
    layer.set_weights([np.float32([[0.1, 0.2], [0.3, 0.1]])])
    y = layer([fine, coarse]).numpy()
    assert np.array_equal(y[..., 1], fine[..., 1])
    assert np.array_equal(y[..., 0], ops.resize_by(coarse, 2.0, (6, 6))[..., 0])


def test_the_temperature_is_a_weight_of_a_softmax_that_is_not_trained():
    levels = [photograph(1, 4, 4, 2), photograph(1, 2, 2, 2)]
    layer = layers.WeightedFusion("softmax", temperature=0.5)
    layer(levels)
    assert [w.name.split(":")[0].split("/")[-1] for w in layer.non_trainable_weights] == ["temperature"]
    layer.level_weights.assign([1.0, 0.0])
    np.testing.assert_allclose(layer.weigh(), [1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))], rtol=1e-6)
    layer.temperature.assign(1e-6)
    np.testing.assert_array_equal(layer.weigh(), [1, 0])
    assert layer.get_config()["temperature"] == 0.5
    assert layers.WeightedFusion().temperature is None


@pytest.mark.parametrize("adaptive", ["map", "image"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_adaptive_weights_start_equal(adaptive, per_channel):
    levels = [photograph(2, 7, 9, 3), photograph(2, 4, 5, 3), photograph(2, 2, 3, 3)]
    layer = layers.WeightedFusion(adaptive=adaptive, per_channel=per_channel)
    mean = np.mean(ops.align_levels(levels), axis=0)
    np.testing.assert_allclose(layer(levels), mean, atol=1e-6)
    shape = {"map": (2, 7, 9, 3), "image": (2, 3)}[adaptive] + (3,) * per_channel
    np.testing.assert_allclose(layer.weigh(levels), np.full(shape, 1 / 3), atol=1e-6)
    assert layer.get_config()["method"] == "softmax"


def test_weights_of_an_image_do_not_depend_on_the_other_images():
    levels = [photograph(3, 8, 8, 2), photograph(3, 4, 4, 2)]
    layer = layers.WeightedFusion(adaptive="image", hard=True)
    layer(levels)
    layer.score_kernel.assign(10 * np.random.default_rng(2).normal(size=layer.score_kernel.shape))
    for k in range(3):
        alone = [level[k : k + 1] for level in levels]
        np.testing.assert_array_equal(layer(alone)[0], layer(levels)[k])
    assert layer([level[:0] for level in levels]).shape == (0, 8, 8, 2)


@pytest.mark.slow
def test_an_adaptive_map_learns_where_each_level_is_right():
    # Level 0 is right where its second channel is 1, else level 1 is; no fixed weights can know that.
    rng = np.random.default_rng(0)
    right = rng.integers(0, 2, [8, 6, 6, 1]).astype("float32")
    truth = rng.normal(size=right.shape).astype("float32")
    noise = rng.normal(size=right.shape).astype("float32")
    fine = np.concatenate([np.where(right == 1, truth, noise), right], -1)
    other = np.concatenate([np.where(right == 0, truth, noise), right], -1)
    losses = {}
    for adaptive in (None, "map"):
        layer = layers.WeightedFusion("softmax", adaptive=adaptive, scale_factor=None)
        inputs = [keras.Input((6, 6, 2)), keras.Input((6, 6, 2))]
        model = keras.Model(inputs, layer(inputs)[..., :1])
        model.compile(keras.optimizers.Adam(0.3), "mse", run_eagerly=False)
        losses[adaptive] = model.fit([fine, other], truth, epochs=40, verbose=0).history["loss"][-1]
    assert losses["map"] < 0.05 * losses[None]


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_reaches_only_the_places_or_images_whose_weights_depend_on_it(hard, value):
    levels = [photograph(2, 8, 8, 1), photograph(2, 4, 4, 1)]
    levels[1][0, 0, 0] = value
    of_places = layers.WeightedFusion(adaptive="map", hard=hard)(levels).numpy()
    spread = ~np.isfinite(ops.resize_by(levels[1], 2.0, (8, 8)).numpy())
    np.testing.assert_array_equal(np.isnan(of_places), spread)
    of_images = layers.WeightedFusion(adaptive="image", hard=hard)(levels).numpy()
    assert np.isnan(of_images[0]).all() and np.isfinite(of_images[1]).all()


def test_adaptive_arguments_are_checked():
    with pytest.raises(ValueError, match="`adaptive` must be one of 'map', 'image', None. Received: adaptive='pixel'"):
        layers.WeightedFusion(adaptive="pixel")
    with pytest.raises(ValueError, match="`method` must be 'softmax' or None with `adaptive`.*Received: method='sum'"):
        layers.WeightedFusion("sum", adaptive="map")
    layer = layers.WeightedFusion(adaptive="image")
    layer([photograph(1, 4, 4, 2), photograph(1, 2, 2, 2)])
    with pytest.raises(ValueError, match="`levels` must be given if the layer is `adaptive`"):
        layer.weigh()


def test_one_layer_for_all_levels_is_the_layer_itself():
    dense = keras.layers.Dense(2)
    shared = layers.PerLevel(dense)
    levels = [photograph(1, 4, 4, 3), photograph(1, 2, 2, 3)]
    for y, level in zip(shared(levels), levels, strict=True):
        np.testing.assert_allclose(y, dense(level), atol=1e-6)
    assert len(shared.trainable_weights) == 2
    assert len(shared([photograph(1, 4, 4, 3)])) == 1


def test_separate_layers_train_apart():
    layer = layers.PerLevel(keras.layers.Dense(2), share_weights=False)
    layer([photograph(1, 4, 4, 3), photograph(1, 2, 2, 5)])
    assert [w.shape[0] for w in layer.trainable_weights if len(w.shape) == 2] == [3, 5]


def test_the_training_argument_reaches_the_inner_layer():
    layer = layers.PerLevel(keras.layers.Dropout(0.5))
    levels = [np.ones([1, 16, 16, 3], np.float32)]
    assert np.any(layer(levels, training=True)[0].numpy() == 0)
    assert not np.any(layer(levels, training=False)[0].numpy() == 0)


def test_kernels_may_be_rectangular():
    levels = [photograph(1, 6, 5, 3), photograph(1, 3, 3, 3)]
    layer = layers.PyramidConv2D(2, kernel_size=(1, 3))
    layer(levels)
    assert [tuple(w.shape) for w in layer.trainable_weights if len(w.shape) == 4] == [(1, 3, 3, 2)] * 2
