"""Arguments that would allocate far more than an image: refused by name, or computed in memory that follows it."""

import numpy as np
import pytest
import tensorflow as tf

from tests import references
from tfpyramid import layers, losses, models, ops, scale
from tfpyramid.export import Pixels

IMAGE = np.arange(243.0).reshape(1, 9, 9, 3)
MAPS = [IMAGE, IMAGE]
HUGE = 10**9
NO_FLOAT = 10**400  # Larger than any float.

CALLS = {
    "scale_factor": [
        lambda s: ops.pyr_down(IMAGE, scale_factor=s, kernel="box"),
        lambda s: ops.pyr_down(IMAGE, scale_factor=s),
        lambda s: ops.pyr_up(IMAGE, (9, 9), scale_factor=s),
        lambda s: ops.gaussian_pyramid(IMAGE, 2, scale_factor=s),
        lambda s: ops.laplacian_pyramid(IMAGE, 2, scale_factor=s),
        lambda s: ops.reconstruct([IMAGE, IMAGE[:, :1, :1]], scale_factor=s),
        lambda s: ops.align_levels(MAPS, scale_factor=s),
        lambda s: ops.bilinear_down(IMAGE, s),
        lambda s: ops.pixel_costs(2, s),
        lambda s: scale.pyr_down_tiles(IMAGE[0], scale_factor=s),
        lambda s: scale.pyr_up_tiles(IMAGE[0], (9, 9), scale_factor=s),
        lambda s: losses.multi_scale_loss(IMAGE, [IMAGE], scale_factor=s),
        lambda s: losses.MultiScaleLoss(scale_factor=s),
        lambda s: losses.PyramidDiversity(scale_factor=s),
        lambda s: layers.GaussianPyramid(2, scale_factor=s),
        lambda s: layers.LaplacianReconstruction(scale_factor=s),
        lambda s: layers.BilinearDownsample2D(s),
        lambda s: layers.SpatialTransformerDownsample2D(scale_factor=s),
        lambda s: layers.FeaturePyramid(2, scale_factor=s),
        lambda s: layers.UpsampleConcat(scale_factor=s),
        lambda s: layers.WeightedFusion(scale_factor=s),
    ],
    "output_size": [
        lambda s: ops.resize_by(IMAGE, 2.0, (s, 9)),
        lambda s: ops.resize_by(IMAGE, None, (9, s)),
        lambda s: ops.resize_by(IMAGE, None, (2**16, 2**16)),
        lambda s: ops.pyr_up(IMAGE, (s, s)),
        lambda s: ops.spectral_pool(IMAGE, 2, s),
        lambda s: ops.strided_conv2d(IMAGE, np.ones([3, 3, 3, 1]), 2, output_size=(s, 1)),
        lambda s: ops.affine_grid(np.ones([1, 2, 3]), (9, 9), (s, s)),
        lambda s: layers.SpatialTransformerDownsample2D(s),
        lambda s: layers.SpectralDownsample2D(output_size=(9, s)),
        lambda s: layers.LearnableStrideConv2D(output_size=2**16),
    ],
    "image_size": [lambda s: Pixels(image_size=(s, s))],
    "num_levels": [
        lambda n: ops.gaussian_pyramid(IMAGE, n),
        lambda n: ops.laplacian_pyramid(IMAGE, n),
        lambda n: ops.pixel_costs(n),
        lambda n: layers.GaussianPyramid(n),
        lambda n: layers.LearnablePyramid(n),
        lambda n: layers.QueryLevelSelector(n),
        lambda n: models.pyramid_vlm(30, 13, num_levels=n),
        lambda n: models.pyramid_classifier(10, num_levels=n),
        lambda n: layers.GaussianPyramid(scale_factor=1.0001).compute_output_shape((1, 40000, 40000, 1)),
    ],
    "max_levels": [lambda n: layers.AdaptiveDepthPyramid(n)],
    "upsampled_levels": [
        lambda n: ops.gaussian_pyramid(IMAGE, 60, upsampled_levels=n),
        lambda n: ops.gaussian_pyramid(IMAGE, 60, upsampled_levels=20),
        lambda n: ops.gaussian_pyramid(IMAGE, 60, upsampled_levels=59, scale_factor=1000),
        lambda n: layers.GaussianPyramid(60, upsampled_levels=30),
    ],
    "extra_levels": [lambda n: layers.FeaturePyramid(2, extra_levels=n)],
    "depth": [lambda n: layers.PyramidBlock(2, depth=n)],
    "size": [ops.binomial, ops.box, lambda n: ops.gaussian(1.0, n)],
    "sigma": [ops.gaussian],
    "kernel_size": [
        lambda n: layers.BlurPool2D(n),
        lambda n: layers.LearnableDownsample2D(kernel_size=n),
        lambda n: layers.AntiAliasedDownsample2D(kernel_size=n),
        lambda n: layers.LearnableStrideConv2D(kernel_size=n),
        lambda n: layers.PyramidConv2D(2, n),
        lambda n: layers.PyramidBlock(2, kernel_size=n),
        lambda n: layers.CostVolume(kernel_size=n),
        lambda n: ops.cost_volume(*MAPS, kernel_size=n),
    ],
    "strides": [
        lambda n: ops.conv_down(IMAGE, np.ones([3, 3, 3, 1]), n),
        lambda n: ops.depthwise_down(IMAGE, np.ones([3, 3, 3, 1]), n),
        lambda n: ops.window_mean(IMAGE, np.ones([1, 1, 1, 4]), n),
        lambda n: layers.BlurPool2D(strides=n),
        lambda n: layers.LearnableDownsample2D(strides=n),
        lambda n: layers.AntiAliasedDownsample2D(strides=n),
        lambda n: layers.ChannelAdaptiveDownsample2D(strides=n),
        lambda n: layers.ContentAdaptiveDownsample2D(strides=n),
        lambda n: layers.PyramidBlock(2, strides=n),
        lambda n: ops.strided_conv2d(IMAGE, np.ones([3, 3, 3, 1]), 1 / n),
    ],
    "initial_strides": [lambda n: layers.LearnableStrideConv2D(initial_strides=1 / n)],
    "window": [lambda n: layers.ContentAdaptiveDownsample2D(n)],
    "hidden": [lambda n: layers.ContentAdaptiveDownsample2D(hidden=n)],
    "grid_size": [lambda n: layers.SpatialTransformerDownsample2D(grid_size=n)],
    "pool_size": [lambda n: layers.BlurPool2D(pool_size=n)],
    "max_displacement": [
        lambda n: ops.cost_volume(*MAPS, n),
        lambda n: ops.cost_volume(*MAPS, 33),
        lambda n: layers.CostVolume(n),
    ],
    "step": [lambda n: layers.CostVolume(step=n)],
    "filters": [
        lambda n: layers.LearnableDownsample2D(n),
        lambda n: layers.AntiAliasedDownsample2D(n),
        lambda n: layers.ChannelAdaptiveDownsample2D(n),
        lambda n: layers.LearnableStrideConv2D(n),
        lambda n: layers.SpatialTransformerDownsample2D(filters=n),
        lambda n: layers.PyramidConv2D(n),
        lambda n: layers.PyramidBlock(n),
        lambda n: layers.FeaturePyramid(n),
        lambda n: models.pyramid_vlm(30, 13, filters=n),
        lambda n: models.pyramid_segmenter(3, filters=n),
    ],
    "filters[0]": [lambda n: models.pyramid_classifier(10, filters=(n,))],
    "units": [lambda n: layers.QueryLevelSelector(2, n), lambda n: models.pyramid_vlm(30, 13, units=n)],
    "vocabulary_size": [lambda n: models.pyramid_vlm(n, 13)],
    "num_answers": [lambda n: models.pyramid_vlm(30, n)],
    "num_classes": [lambda n: models.pyramid_classifier(n), lambda n: models.pyramid_segmenter(n)],
    "num_convolutions": [lambda n: models.pyramid_segmenter(3, num_convolutions=n)],
}


@pytest.mark.parametrize("size", [HUGE, NO_FLOAT], ids=["10^9", "10^400"])
@pytest.mark.parametrize("name", CALLS)
def test_arguments_that_allocate_are_bounded(name, size):
    for call in CALLS[name]:
        with pytest.raises(ValueError, match=f"`{name}` must .* Received: ".replace("[", r"\[")):
            call(size)


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


def test_strides_of_a_tensor_are_bounded_when_the_graph_runs():
    for strides in ([0.0, 1.0], [2.0, 1e-9], [-1.0, 1.0]):
        with pytest.raises(tf.errors.InvalidArgumentError, match="`strides` must be at least 0.0009765625, in pixels"):
            ops.strided_conv2d(IMAGE, np.ones([3, 3, 3, 1]), tf.Variable(strides))


def test_sizes_of_other_kinds():
    assert ops.pyr_up(IMAGE, tf.TensorShape([17, 18])).shape == (1, 17, 18, 3)
    assert ops.spectral_pool(IMAGE, np.array(2.0)).shape == (1, 5, 5, 3)
    assert ops.strided_conv2d(IMAGE, np.ones([3, 3, 3, 1]), np.array([2.0, 3.0])).shape == (1, 4, 3, 1)
    for size in ((None, 5), tf.TensorShape([None, 5]), tf.TensorShape(None)):
        with pytest.raises(ValueError, match="`output_size` must be .height, width.* Received: output_size="):
            ops.resize_by(IMAGE, 2.0, size)
    with pytest.raises(ValueError, match="`size` must be an integer of at least 1.* Received: size="):
        ops.box(tf.constant(2.0))
