"""The largest arguments that are accepted: computed in memory that follows the image."""

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tests.test_bounds import of_levels, of_pair
from tfpyramid import layers, ops, scale
from tfpyramid._compat import keras


def of_lookup(layer):
    """Return a model that passes images to a layer of two maps and a flow."""
    images = keras.Input((8, 8, 2))
    return keras.Model(images, layer([images, images, images]))


LARGEST = {
    "GaussianPyramid": lambda: layers.GaussianPyramid(64),
    "AdaptiveDepthPyramid": lambda: layers.AdaptiveDepthPyramid(64, layers.BlurPool2D()),
    "LearnablePyramid": lambda: layers.LearnablePyramid(64),
    "PyramidBlock": lambda: layers.PyramidBlock(1, depth=64),
    "FeaturePyramid": lambda: of_levels(layers.FeaturePyramid(1, extra_levels=64)),
    "CostVolume": lambda: of_pair(layers.CostVolume(32)),
    "CostVolume by lookup": lambda: of_lookup(layers.CostVolume(1024, step=32, sampling="lookup")),
    "GaussianPyramid by 1024": lambda: layers.GaussianPyramid(64, scale_factor=1024),
    "BlurPool2D": lambda: layers.BlurPool2D(1024, 1024),
    "LearnableDownsample2D": lambda: layers.LearnableDownsample2D(kernel_size=64, strides=1024),
    "LearnableStrideConv2D": lambda: layers.LearnableStrideConv2D(initial_strides=(1024, 1 / 1024), output_size=3),
    "SpectralDownsample2D": lambda: layers.SpectralDownsample2D(1024),
    "ContentAdaptiveDownsample2D": lambda: layers.ContentAdaptiveDownsample2D(64, 1024, hidden=1),
}
SLOW = {"CostVolume", "CostVolume by lookup", "FeaturePyramid"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in LARGEST])
def test_the_largest_arguments_are_computed(name):
    layer = LARGEST[name]()
    outputs = tf.nest.flatten(layer(tf.ones([1, 8, 8, 2])))
    assert all(np.isfinite(y).all() for y in outputs)
    if isinstance(layer, layers.GaussianPyramid):
        np.testing.assert_allclose(outputs[-1], np.ones([1, 1, 1, 2]), rtol=1e-5)
    shapes = layer.compute_output_shape((1, 8, 8, 2))
    if isinstance(shapes, list):
        assert [tuple(y.shape) for y in outputs] == [tuple(shape) for shape in shapes]


@pytest.mark.slow
def test_the_largest_factor_needs_no_memory_that_the_image_does_not():
    x = np.random.default_rng(0).normal(size=(1, 9, 7, 2))
    coarse, taps = {}, {"kernel": "box", "border": "reflect"}
    for kernel in ("box", None):
        coarse[kernel] = ops.pyr_down(x, scale_factor=1024, kernel=kernel)
        expected = references.pyr_down(x, 1024, kernel)
        np.testing.assert_allclose(coarse[kernel], expected, atol=1e-12)
        up = ops.pyr_up(coarse[kernel], (9, 7), scale_factor=1024, kernel=kernel)
        np.testing.assert_allclose(up, references.pyr_up(expected, (9, 7), 1024, kernel), atol=1e-12)
    (tile,) = scale.pyr_down_tiles(x[0], scale_factor=256)
    np.testing.assert_allclose(tile.values, references.pyr_down(x, 256)[0], atol=1e-12)
    (tile,) = scale.pyr_up_tiles(tile.values, (9, 7), scale_factor=256)
    expected = references.pyr_up(references.pyr_down(x, 256), (9, 7), 256)
    np.testing.assert_allclose(tile.values, expected[0], atol=1e-12)
    # A factor above 64 takes another path up than a smaller one.
    y = np.random.default_rng(1).normal(size=(1, 3, 2, 1))
    for factor in (63, 64, 65):
        up = ops.pyr_up(y, (2 * factor + 1, factor + 1), scale_factor=factor, **taps)
        expected = references.pyr_up(y, (2 * factor + 1, factor + 1), factor, **taps)
        np.testing.assert_allclose(up, expected, atol=1e-12)


def test_many_binomial_taps_are_those_of_whole_numbers():
    taps = ops.binomial(1031)
    assert taps.sum() == pytest.approx(1, abs=1e-14) and np.array_equal(taps, taps[::-1])
    # The variance of 1030 tosses of a coin is 1030 / 4.
    assert np.dot(taps, np.square(np.arange(1031) - 515)) == pytest.approx(1030 / 4, rel=1e-12)
