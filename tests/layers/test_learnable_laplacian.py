"""The learned Laplacian pyramid and its inverse: one filter in both, whatever it learns."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, ops
from tfpyramid._compat import keras

SIZES = [(33, 47), (1, 1), (1, 9), (16, 16), (7, 2)]


def photograph(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def pair(num_levels=4, **arguments):
    pyramid = layers.LearnableLaplacianPyramid(num_levels, **arguments)
    return pyramid, layers.LearnableLaplacianReconstruction(pyramid)


def denoiser(**arguments):
    """Return a model that shrinks the bands between the pyramid and the inverse."""
    pyramid, inverse = pair(3, name="bands", **arguments)
    image = keras.Input((None, None, 1))
    *residuals, lowpass = pyramid(image)
    shrink = keras.layers.Activation("tanh")
    return keras.Model(image, inverse([*map(shrink, residuals), lowpass]))


def parts(model):
    pyramid, inverse = (
        next(layer for layer in model.layers if isinstance(layer, kind))
        for kind in (layers.LearnableLaplacianPyramid, layers.LearnableLaplacianReconstruction)
    )
    return pyramid, inverse


@pytest.mark.parametrize("scale_factor, kernel_size", [(2.0, 5), (2.0, 4), (3.0, 7), (1.5, 5)])
def test_untrained_it_is_the_classic_pyramid(scale_factor, kernel_size):
    pyramid, _ = pair(scale_factor=scale_factor, kernel_size=kernel_size)
    taps = ops.binomial(5) if (scale_factor, kernel_size) == (2.0, 5) else ops.gaussian(scale_factor / 3, kernel_size)
    x = photograph(2, 17, 23, 3)
    expected = ops.laplacian_pyramid(x, 4, scale_factor=scale_factor, kernel=taps)
    for band, classic in zip(pyramid(x), expected, strict=True):
        np.testing.assert_allclose(band, classic, atol=1e-6)


@pytest.mark.parametrize(
    "arguments", [{}, {"kernel_size": 6, "border": "wrap"}, {"normalization": "softmax", "scale_factor": 1.6}]
)
def test_whatever_the_filter_learned_the_image_is_restored(arguments):
    pyramid, inverse = pair(**arguments, dtype="float64")
    pyramid(photograph(1, 5, 5, 2))
    values = pyramid.get_weights()[0]
    pyramid.set_weights([values + np.random.default_rng(3).normal(size=values.shape)])
    np.testing.assert_allclose(tf.reduce_sum(pyramid.taps), 1, atol=1e-12)
    for size in SIZES:
        x = np.float64(photograph(2, *size, 2))
        bands = pyramid(x)
        # Such taps amplify, and rounding is relative to the largest sample of a band.
        largest = max(float(tf.reduce_max(tf.abs(band))) for band in bands)
        np.testing.assert_allclose(inverse(bands), x, atol=1e-12 * max(largest, 1))


@pytest.mark.slow
def test_both_layers_train_one_filter_and_stay_inverse():
    model = denoiser()
    assert len(model.trainable_weights) == 1
    x = photograph(8, 16, 16, 1)
    noisy = x + np.random.default_rng(1).normal(0, 0.2, x.shape).astype("float32")
    model.compile(keras.optimizers.Adam(0.02), "mse")
    pyramid, inverse = parts(model)
    before = pyramid.get_weights()[0]
    losses = model.fit(noisy, x, epochs=5, batch_size=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0] and np.abs(pyramid.get_weights()[0] - before).max() > 0.01
    for size in SIZES:
        x = photograph(1, *size, 1)
        np.testing.assert_allclose(inverse(pyramid(x)), x, atol=1e-5)


def test_the_inverse_adds_to_the_gradient_of_the_filter():
    model = denoiser()
    x, target = photograph(1, 9, 7, 1).astype("float64"), photograph(1, 9, 7, 1)[:, ::-1].astype("float64")
    pyramid, inverse = pair(3, dtype="float64")
    inverse(pyramid(x))
    (weight,) = pyramid.trainable_weights
    del model

    def loss():
        *residuals, lowpass = pyramid(x)
        return tf.reduce_sum(tf.square(inverse([*map(tf.tanh, residuals), lowpass]) - target))

    with tf.GradientTape() as tape:
        y = loss()
    found = tape.gradient(y, getattr(weight, "value", weight) if hasattr(weight, "path") else weight)
    start, step = weight.numpy(), 1e-5
    for k in range(5):
        moved = step * np.eye(5)[k]
        weight.assign(start + moved)
        above = float(loss())
        weight.assign(start - moved)
        np.testing.assert_allclose(found[k], (above - float(loss())) / (2 * step), rtol=1e-6, atol=1e-8)
        weight.assign(start)


def test_a_loaded_model_shares_the_filter(tmp_path):
    model = denoiser(kernel_size=4, normalization="softmax")
    model.set_weights([w + 0.3 * np.arange(w.size, dtype="f") for w in model.get_weights()])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    pyramid, inverse = parts(again)
    assert inverse.pyramid is pyramid and len(again.weights) == 1
    x = photograph(2, 9, 14, 1)
    np.testing.assert_allclose(again(x), model(x), atol=1e-6)
    pyramid.set_weights([w[::-1] for w in pyramid.get_weights()])
    np.testing.assert_allclose(inverse(pyramid(x)), x, atol=1e-5)
    other = denoiser(kernel_size=4, normalization="softmax")
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(other(x), model(x), atol=1e-6)


@pytest.mark.slow
def test_an_export_holds_the_filter_once(tmp_path):
    model = denoiser()
    module = tf.Module()
    module.model = model
    module.serve = tf.function(lambda x: model(x), [tf.TensorSpec([None, None, None, 1])], autograph=False)
    tf.saved_model.save(module, str(tmp_path / "saved"))
    x = photograph(2, 9, 14, 1)
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_allclose(loaded.serve(x), model(x), atol=1e-6)


def test_the_inverse_takes_only_a_learned_pyramid():
    for wrong in (layers.LaplacianPyramid(3), keras.layers.Dense(2), None, 3):
        with pytest.raises(ValueError, match="`pyramid` must be .* Received: pyramid"):
            layers.LearnableLaplacianReconstruction(wrong)
    with pytest.raises(ValueError, match="`taps` is available only after the layer is built"):
        layers.LearnableLaplacianPyramid(2).taps  # noqa: B018


def test_nan_reaches_only_the_bands_that_read_it():
    x = photograph(2, 40, 40, 1)
    x[0, 2, 2] = np.nan
    pyramid, inverse = pair(3)
    bands = pyramid(x)
    for band in bands:
        assert np.isfinite(band[1]).all() and np.isfinite(band[0, -2:]).all()
    assert np.isfinite(inverse(bands)[0, -2:]).all()
