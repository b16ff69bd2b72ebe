"""Beside tensorflow-addons, collected only where it can run: on TensorFlow 2.15 (see conftest.py)."""

import warnings

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, ops
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
