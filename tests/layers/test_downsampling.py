"""The downsamplers untrained, inside a pyramid, and after training."""

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from tfpyramid import layers, ops
from tfpyramid._compat import keras

IMAGES = np.random.default_rng(0).standard_normal([2, 13, 10, 3]).astype(np.float32)


def gaussian_level(size):
    """Return the images, downsampled with a Gaussian of `size` taps."""
    return ops.pyr_down(IMAGES, kernel=ops.binomial(5) if size == 5 else ops.gaussian(2 / 3, size))


@pytest.mark.parametrize(
    "layer, expected",
    [
        (lambda: layers.LearnableDownsample2D(filters=3), lambda: gaussian_level(5)),
        (lambda: layers.LearnableDownsample2D(hard=True), lambda: gaussian_level(5)),
        (lambda: layers.LearnableDownsample2D(kernel_size=4), lambda: gaussian_level(4)),
        (lambda: layers.AntiAliasedDownsample2D(), lambda: gaussian_level(5)),
        (lambda: layers.AntiAliasedDownsample2D(hard=True), lambda: gaussian_level(5)),
        (lambda: layers.AntiAliasedDownsample2D(normalization="softmax"), lambda: gaussian_level(5)),
        (lambda: layers.AntiAliasedDownsample2D(normalization=None, kernel_size=6), lambda: gaussian_level(6)),
        (lambda: layers.AntiAliasedDownsample2D(filters=3), lambda: gaussian_level(5)),
        (lambda: layers.ChannelAdaptiveDownsample2D(), lambda: gaussian_level(3)),
        (lambda: layers.ChannelAdaptiveDownsample2D(filters=3, temperature=0.3), lambda: gaussian_level(3)),
        (lambda: layers.ChannelAdaptiveDownsample2D(hard=True), lambda: gaussian_level(3)),
        (lambda: layers.ContentAdaptiveDownsample2D(), lambda: gaussian_level(4)),
        (lambda: layers.ContentAdaptiveDownsample2D(5, temperature=0.2), lambda: gaussian_level(5)),
        (lambda: layers.ContentAdaptiveDownsample2D(normalization="sum"), lambda: gaussian_level(4)),
        (lambda: layers.ContentAdaptiveDownsample2D(2, start="box"), lambda: ops.pyr_down(IMAGES, kernel="box")),
        (lambda: layers.ContentAdaptiveDownsample2D(3, hard=True), lambda: IMAGES[:, ::2, ::2]),
        (lambda: layers.BlurPool2D(kernel_size=5), lambda: ops.pyr_down(IMAGES)),
        (lambda: layers.BilinearDownsample2D(), lambda: tf.image.resize(IMAGES, (7, 5))),
        (lambda: layers.SpatialTransformerDownsample2D(), lambda: tf.image.resize(IMAGES, (7, 5))),
        (lambda: layers.SpatialTransformerDownsample2D((4, 6)), lambda: tf.image.resize(IMAGES, (4, 6))),
    ],
)
def test_an_untrained_layer_is_the_classic_filter(layer, expected):
    np.testing.assert_allclose(layer()(IMAGES), expected(), atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.LearnableDownsample2D(kernel_size=(3, 5), strides=(2, 1)),
        lambda: layers.ChannelAdaptiveDownsample2D(strides=(2, 1)),
    ],
)
def test_an_axis_with_a_stride_of_1_starts_without_a_blur(make):
    blurred = scipy.ndimage.correlate1d(np.float64(IMAGES), ops.gaussian(2 / 3, 3), axis=1, mode="mirror")
    np.testing.assert_allclose(make()(IMAGES), blurred[:, ::2], atol=1e-5)


def test_each_axis_has_its_own_filter():
    layer = layers.LearnableDownsample2D(kernel_size=(4, 5), strides=(3, 2), border="edge")
    rows = np.tensordot(
        np.stack([np.pad(IMAGES, [(0, 0), (1, 2), (0, 0), (0, 0)], "edge")[:, k : k + 13 : 3] for k in range(4)], -1),
        ops.gaussian(1.0, 4),
        1,
    )
    expected = scipy.ndimage.correlate1d(rows, [1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16], axis=2, mode="nearest")
    np.testing.assert_allclose(layer(IMAGES), expected[:, :, ::2], atol=1e-5)


@pytest.mark.parametrize(
    "kernel_size, strides, phase", [(5, 2, 0.0), (4, 2, 0.5), ((3, 5), (2, 1), 0.0), ((4, 5), (2, 1), (0.5, 0.0))]
)
def test_phase_of_a_downsampler_is_a_pair_only_where_the_axes_differ(kernel_size, strides, phase):
    layer = layers.LearnableDownsample2D(kernel_size=kernel_size, strides=strides)
    assert layer.phase == phase and layers.LearnablePyramid(2, layer).phase == phase
    assert (layer.kernel_size, layer.strides) == (kernel_size, strides)
    ramp = np.stack(np.meshgrid(np.arange(20.0), np.arange(24.0), indexing="ij"), -1)[None]
    level = layer(tf.constant(ramp, tf.float32))[0, 3:-3, 3:-3]
    grid = [
        s * np.arange(-(-n // s)) + d for n, s, d in zip((20, 24), *(np.broadcast_to(v, 2) for v in (strides, phase)))
    ]
    np.testing.assert_allclose(level, np.stack(np.meshgrid(*grid, indexing="ij"), -1)[3:-3, 3:-3], atol=1e-5)


def test_a_pair_of_equal_sizes_is_one_size():
    layer = layers.LearnableDownsample2D(kernel_size=(5, 5), strides=[2, 2])
    assert (layer.kernel_size, layer.strides) == (5, 2)


def test_a_pyramid_may_shrink_on_one_axis_only():
    pyramid = layers.LearnablePyramid(3, layers.LearnableDownsample2D(kernel_size=(3, 5), strides=(2, 1)))
    levels = pyramid(IMAGES)
    assert [tuple(level.shape[1:3]) for level in levels] == [(13, 10), (7, 10), (4, 10)]
    assert layers.UpsampleConcat(scale_factor=None)(levels).shape == (2, 13, 10, 9)
    with pytest.raises(ValueError, match="`levels` must .* Received: "):
        layers.UpsampleConcat(phase=pyramid.phase)(levels)
    shifted = layers.LearnablePyramid(2, layers.LearnableDownsample2D(kernel_size=(4, 5)))
    with pytest.raises(ValueError, match=r"`phase` must be a finite number.* Received: phase=\(0.5, 0.0\)"):
        layers.UpsampleConcat(phase=shifted.phase)


def test_of_two_equally_near_pixels_a_spatial_transformer_takes_the_first():
    x = IMAGES[:, :12, :8]
    np.testing.assert_array_equal(layers.SpatialTransformerDownsample2D(hard=True)(x), x[:, ::2, ::2])


@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("hard", [False, True])
def test_integer_strides_are_the_convolution_of_keras(strides, hard):
    layer = layers.LearnableStrideConv2D(4, 3, float(strides), hard=hard)
    classic = keras.layers.Conv2D(4, 3, strides)
    classic.build(IMAGES.shape)
    layer.build(IMAGES.shape)
    classic.set_weights([layer.kernel.numpy(), np.float32([1, 2, 3, 4])])
    layer.bias.assign([1, 2, 3, 4])
    np.testing.assert_allclose(layer(IMAGES), classic(IMAGES), atol=1e-5)
    assert layer(IMAGES).shape == classic(IMAGES).shape


def test_hard_strides_are_whole_numbers_of_at_least_one():
    layer = layers.LearnableStrideConv2D(4, 3, (0.3, 2.6), hard=True)
    layer.build(IMAGES.shape)
    np.testing.assert_array_equal(layer.strides, [1.0, 3.0])


DOWNSAMPLERS = {
    "AntiAliasedDownsample2D": {},
    "BilinearDownsample2D": {},
    "BlurPool2D": {"pool_size": 2},
    "ChannelAdaptiveDownsample2D": {"filters": 4},
    "ContentAdaptiveDownsample2D": {"hard": True},
    "LearnableDownsample2D": {"filters": 5},
    "LearnableStrideConv2D": {"filters": 4, "kernel_size": 1},
    "SpatialTransformerDownsample2D": {},
    "SpectralDownsample2D": {},
}


def downsamplers():
    """Return the names of the public layers that map a level to the next."""
    return [name for name in layers.__all__ if "Downsample" in name or name in ("BlurPool2D", "LearnableStrideConv2D")]


@pytest.mark.slow
@pytest.mark.parametrize("name", downsamplers())
def test_every_downsampler_makes_a_learnable_pyramid(name, tmp_path):
    image = keras.Input((None, None, 3))
    pyramid = layers.LearnablePyramid(3, getattr(layers, name)(**DOWNSAMPLERS[name]))
    assert [tuple(level.shape[1:3]) for level in pyramid(IMAGES)] == [(13, 10), (7, 5), (4, 3)]
    pooled = [keras.layers.GlobalAveragePooling2D()(level) for level in pyramid(image)]
    model = keras.Model(image, keras.layers.Dense(1)(keras.layers.Concatenate()(pooled)))
    model.compile("sgd", "mse")
    before = [w.numpy() for w in pyramid.trainable_weights]
    model.fit(IMAGES, np.ones([2, 1], np.float32), epochs=2, verbose=0)
    after = [w.numpy() for w in pyramid.trainable_weights]
    assert all(np.isfinite(w).all() for w in after)
    assert not before or any(np.any(a != b) for a, b in zip(after, before))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(IMAGES), model(IMAGES), atol=1e-6)


def smooth_images(count, side, sigma, seed=0):
    """Return grey images of low-passed noise with a standard deviation of 1."""
    noise = np.random.default_rng(seed).standard_normal([count, side, side])
    blurred = scipy.ndimage.gaussian_filter(noise, (0, sigma, sigma))
    return (blurred / blurred.std())[..., None].astype(np.float32)


def trained(layer, images, targets, *, steps, rate):
    """Train a layer to reproduce the targets; return the losses."""
    optimizer = keras.optimizers.Adam(rate)
    if not layer.built:
        layer.build(images.shape)
    weights = layer.trainable_weights
    optimizer.build(weights)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((layer(images) - targets) ** 2)
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        return loss

    return [float(step()) for _ in range(steps)]


@pytest.mark.slow
def test_strides_that_start_wrong_recover():
    images = smooth_images(32, 40, sigma=3.0)
    kernel = np.random.default_rng(1).standard_normal([3, 3, 1, 4]).astype(np.float32)
    targets = ops.strided_conv2d(images, kernel, (2.6, 1.7), output_size=(12, 12))
    layer = layers.LearnableStrideConv2D(4, 3, (2.0, 2.0), output_size=12, use_bias=False)
    losses = trained(layer, images, targets, steps=400, rate=0.02)
    assert losses[-1] < losses[0] / 100
    np.testing.assert_allclose(layer.strides, [2.6, 1.7], atol=0.05)


@pytest.mark.parametrize("name", ["LearnableStrideConv2D", "SpectralDownsample2D"])
def test_strides_can_be_read_before_the_layer_is_built(name):
    np.testing.assert_allclose(getattr(layers, name)(initial_strides=(2.6, 1.7)).strides, [2.6, 1.7], rtol=1e-6)


@pytest.mark.parametrize("hard", [False, True])
def test_a_stride_that_starts_at_one_moves(hard):
    # Every sample is at a pixel, where the two-sided derivative of the hat is zero.
    images = smooth_images(8, 24, sigma=3.0)
    targets = images[:, :20:2, :20:2]
    layer = layers.LearnableStrideConv2D(
        1, 1, (1.0, 1.0), output_size=10, use_bias=False, kernel_initializer="ones", hard=hard
    )
    trained(layer, images, targets, steps=150, rate=0.002)
    np.testing.assert_allclose(layer.strides, [2.0, 2.0], atol=0.05)


def test_the_loss_for_larger_strides_enlarges_them():
    layer = layers.LearnableStrideConv2D(2, 3, (1.5, 2.0), output_size=4, cost_weight=0.5)
    image = keras.Input((16, 16, 3))
    model = keras.Model(image, layer(image))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x = np.zeros([4, 16, 16, 3], np.float32)
    np.testing.assert_allclose(model.evaluate(x, np.zeros([4, 4, 4, 2]), verbose=0), 0.5 / 3, rtol=1e-5)
    model.fit(x, np.zeros([4, 4, 4, 2]), epochs=5, verbose=0)
    assert np.all(np.array(layer.strides) > [1.55, 2.05])


@pytest.mark.slow
@pytest.mark.parametrize("hard", [False, True])
def test_a_spatial_transformer_finds_a_crop(hard):
    images = smooth_images(64, 32, sigma=2.0)
    crop = np.tile([[[0.6, 0.0, 0.2], [0.0, 0.7, -0.25]]], [64, 1, 1]).astype(np.float32)
    points = ops.affine_grid(crop, (32, 32), (12, 12))
    targets = ops.bilinear_sample(images, points)
    layer = layers.SpatialTransformerDownsample2D(12, filters=4, offsets=False, hard=hard)
    losses = trained(layer, images, targets, steps=500, rate=0.01)
    found = np.array(layer.points(tf.constant(images)))
    assert np.abs(found - points).max() < (1.0 if hard else 0.25), np.abs(found - points).max()
    assert losses[-1] < losses[0] / (20 if hard else 200)


def test_a_step_of_training_does_not_move_the_grid_off_the_image():
    images = np.abs(smooth_images(16, 32, sigma=2.0)) * np.ones(8, np.float32)
    layer = layers.SpatialTransformerDownsample2D()
    layer.build(images.shape)
    before = np.array(layer.points(tf.constant(images)))
    # Adam's first step moves every weight by the learning rate, for any gradient.
    trained(layer, images, np.flip(layer(images), 1), steps=1, rate=0.01)
    moved = np.abs(layer.points(tf.constant(images)) - before).max()
    assert 0.1 < moved < 2, moved


def test_a_learned_blur_of_sum_one_sharpens_and_one_of_softmax_cannot():
    images = smooth_images(16, 32, sigma=1.0)
    means = scipy.ndimage.uniform_filter(images, (1, 3, 3, 1), mode="mirror")
    targets = (1.5 * images - 0.5 * means)[:, ::2, ::2]
    taps = {}
    for normalization in ("sum", "softmax"):
        layer = layers.AntiAliasedDownsample2D(kernel_size=3, normalization=normalization)
        trained(layer, images, targets, steps=300, rate=0.03)
        taps[normalization] = np.array(layer.blur)[..., 0, 0]
        np.testing.assert_allclose(taps[normalization].sum(), 1, atol=1e-5)
    expected = np.full([3, 3], -0.5 / 9)
    expected[1, 1] += 1.5
    np.testing.assert_allclose(taps["sum"], expected, atol=0.02)
    assert taps["softmax"].min() > 0


@pytest.mark.parametrize("name", ["ContentAdaptiveDownsample2D", "ChannelAdaptiveDownsample2D"])
def test_a_low_temperature_is_the_hard_choice(name):
    soft, hard = (getattr(layers, name)(temperature=t, hard=h) for t, h in ((1e-6, False), (1.0, True)))
    for layer in (soft, hard):
        layer.build(IMAGES.shape)
    rng = np.random.default_rng(5)
    moved = [w + rng.standard_normal(w.shape).astype(np.float32) for w in hard.get_weights()]
    at = [w.name.split(":")[0].split("/")[-1] for w in hard.weights].index("temperature")
    for layer, temperature in ((soft, 1e-6), (hard, 1.0)):
        layer.set_weights([*moved[:at], np.float32(temperature), *moved[at + 1 :]])
    np.testing.assert_allclose(soft(IMAGES), hard(IMAGES), atol=1e-5)


def test_a_temperature_is_saved_and_not_trained(tmp_path):
    image = keras.Input((8, 8, 3))
    layer = layers.ContentAdaptiveDownsample2D(temperature=2.0)
    model = keras.Model(image, layer(image))
    assert float(layer.temperature) == 2.0 and not any(w is layer.temperature for w in layer.trainable_weights)
    layer.temperature.assign(0.25)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras").layers[-1]
    assert float(again.temperature) == 0.25
    assert again.get_config()["temperature"] == 2.0


@pytest.mark.parametrize("name", downsamplers())
def test_one_pixel_is_a_legal_image(name):
    arguments = {"kernel_size": 1} if name == "LearnableStrideConv2D" else {}
    y = getattr(layers, name)(**arguments)(np.ones([2, 1, 1, 3], np.float32))
    assert y.shape == (2, 1, 1, 3) and np.isfinite(y).all()
