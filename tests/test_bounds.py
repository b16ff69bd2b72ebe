"""Arguments that would allocate far more than an image are refused by name."""

import json
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers, losses, models, ops, scale
from tfpyramid._compat import keras
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
        lambda s: ops.resize_by(IMAGE, 10 * s, (9, 9)),
        lambda s: ops.pixel_costs(2, s),
        lambda s: scale.pyr_down_tiles(IMAGE[0], scale_factor=s),
        lambda s: scale.pyr_up_tiles(IMAGE[0], (9, 9), scale_factor=s),
        lambda s: losses.multi_scale_loss(IMAGE, [IMAGE], scale_factor=s),
        lambda s: losses.MultiScaleLoss(scale_factor=s),
        lambda s: losses.PyramidDiversity(scale_factor=s),
        lambda s: layers.GaussianPyramid(2, scale_factor=s),
        lambda s: layers.LaplacianReconstruction(scale_factor=s),
        lambda s: layers.LearnableLaplacianPyramid(scale_factor=s),
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
        lambda n: ops.blend(IMAGE, IMAGE, IMAGE, num_levels=n),
        lambda n: ops.exposure_fusion(MAPS, n),
        lambda n: ops.focus_stack(MAPS, n),
        lambda n: ops.pixel_costs(n),
        lambda n: layers.GaussianPyramid(n),
        lambda n: layers.LearnablePyramid(n),
        lambda n: layers.LearnableLaplacianPyramid(n),
        lambda n: layers.QueryLevelSelector(n),
        lambda n: models.pyramid_vlm(30, 13, num_levels=n),
        lambda n: models.pyramid_classifier(10, num_levels=n),
        lambda n: models.pyramid_flow(n),
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
        lambda n: layers.LearnableDownsample2D(kernel_size=(3, n)),
        lambda n: layers.LearnableLaplacianPyramid(kernel_size=n),
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
        lambda n: layers.LearnableDownsample2D(strides=(n, 1)),
        lambda n: layers.AntiAliasedDownsample2D(strides=n),
        lambda n: layers.ChannelAdaptiveDownsample2D(strides=n),
        lambda n: layers.ContentAdaptiveDownsample2D(strides=n),
        lambda n: layers.PyramidBlock(2, strides=n),
        lambda n: ops.strided_conv2d(IMAGE, np.ones([3, 3, 3, 1]), 1 / n),
        lambda n: ops.strided_conv2d(IMAGE, np.ones([3, 3, 3, 1]), (1.0, n)),
        lambda n: ops.spectral_pool(IMAGE, n),
    ],
    "initial_strides": [
        lambda n: layers.LearnableStrideConv2D(initial_strides=1 / n),
        lambda n: layers.LearnableStrideConv2D(initial_strides=n),
        lambda n: layers.SpectralDownsample2D(initial_strides=(2.0, n)),
    ],
    "window": [lambda n: layers.ContentAdaptiveDownsample2D(n)],
    "reduction": [lambda n: layers.ChannelAdaptiveDownsample2D(reduction=n)],
    "hidden": [lambda n: layers.ContentAdaptiveDownsample2D(hidden=n)],
    "grid_size": [lambda n: layers.SpatialTransformerDownsample2D(grid_size=n)],
    "pool_size": [lambda n: layers.BlurPool2D(pool_size=n)],
    "max_displacement": [
        lambda n: ops.cost_volume(*MAPS, n),
        lambda n: ops.cost_volume(*MAPS, 33),
        lambda n: layers.CostVolume(n),
        lambda n: models.pyramid_flow(max_displacement=n),
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
        lambda n: models.pyramid_detector(3, filters=n),
        lambda n: models.pyramid_super_resolution(filters=n),
        lambda n: models.pyramid_flow(filters=n),
    ],
    "filters[0]": [lambda n: models.pyramid_classifier(10, filters=(n,))],
    "units": [lambda n: layers.QueryLevelSelector(2, n), lambda n: models.pyramid_vlm(30, 13, units=n)],
    "vocabulary_size": [lambda n: models.pyramid_vlm(n, 13)],
    "num_answers": [lambda n: models.pyramid_vlm(30, n)],
    "num_classes": [lambda n: models.pyramid_classifier(n), lambda n: models.pyramid_segmenter(n)],
    "num_convolutions": [
        lambda n: models.pyramid_segmenter(3, num_convolutions=n),
        lambda n: models.pyramid_detector(3, num_convolutions=n),
        lambda n: models.pyramid_super_resolution(num_convolutions=n),
        lambda n: models.pyramid_flow(num_convolutions=n),
    ],
    "decoder_filters[1]": [lambda n: models.pyramid_flow(decoder_filters=(8, n))],
    "refinements": [lambda n: models.pyramid_flow(refinements=n)],
    "finest_level": [lambda n: models.pyramid_flow(finest_level=n)],
}


@pytest.mark.parametrize("size", [HUGE, NO_FLOAT], ids=["10^9", "10^400"])
@pytest.mark.parametrize("name", CALLS)
def test_arguments_that_allocate_are_bounded(name, size):
    for call in CALLS[name]:
        with pytest.raises(ValueError, match=f"`{name}` must .* Received: ".replace("[", r"\[")):
            call(size)


IN_A_FILE = {
    "num_levels": lambda: layers.GaussianPyramid(2),
    "scale_factor": lambda: layers.LaplacianPyramid(2),
    "upsampled_levels": lambda: layers.GaussianPyramid(3, upsampled_levels=1),
    "max_levels": lambda: layers.AdaptiveDepthPyramid(2),
    "depth": lambda: layers.PyramidBlock(1, depth=1),
    "window": lambda: layers.ContentAdaptiveDownsample2D(2),
    "hidden": lambda: layers.ContentAdaptiveDownsample2D(2, hidden=3),
    "grid_size": lambda: layers.SpatialTransformerDownsample2D(grid_size=2),
    "output_size": lambda: layers.SpectralDownsample2D(output_size=2),
    "initial_strides": lambda: layers.LearnableStrideConv2D(initial_strides=2),
    "pool_size": lambda: layers.BlurPool2D(pool_size=2),
    "strides": lambda: layers.AntiAliasedDownsample2D(strides=3),
    "kernel_size": lambda: layers.LearnableDownsample2D(kernel_size=3),
    "filters": lambda: layers.ChannelAdaptiveDownsample2D(4),
    "kernel_bits": lambda: layers.LearnableDownsample2D(kernel_bits=3),
    "extra_levels": lambda: of_levels(layers.FeaturePyramid(1, extra_levels=1)),
    "max_displacement": lambda: of_pair(layers.CostVolume(1)),
    "step": lambda: of_pair(layers.CostVolume(1, step=1)),
}


def of_pair(layer):
    """Return a model that passes images to a layer of two maps."""
    images = keras.Input((8, 8, 2))
    return keras.Model(images, layer([images, images]))


def of_levels(layer):
    """Return a model that passes a pyramid of images to a layer of levels."""
    images = keras.Input((8, 8, 2))
    return keras.Model(images, layer(layers.GaussianPyramid(2)(images)))


def with_value(config, name, value):
    """Return a configuration in which every argument of a name has another value."""
    if isinstance(config, dict):
        return {key: value if key == name else with_value(part, name, value) for key, part in config.items()}
    return [with_value(part, name, value) for part in config] if isinstance(config, list) else config


@pytest.mark.parametrize("name", IN_A_FILE)
def test_a_file_that_was_changed_is_refused_before_anything_is_allocated(name, tmp_path):
    images = keras.Input((8, 8, 2))
    whole, changed = tmp_path / "whole.keras", tmp_path / "changed.keras"
    keras.Model(images, IN_A_FILE[name]()(images)).save(whole)
    for value in (HUGE, NO_FLOAT, 1e300):
        with zipfile.ZipFile(whole) as source, zipfile.ZipFile(changed, "w") as target:
            for part in source.namelist():
                content = source.read(part)
                if part == "config.json":
                    content = json.dumps(with_value(json.loads(content), name, value)).encode()
                target.writestr(part, content)
        with pytest.raises(ValueError, match=f"`{name}` must "):
            keras.models.load_model(changed)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.LearnableDownsample2D(2**16, 1024),
        lambda: layers.AntiAliasedDownsample2D(2**16, 1024),
        lambda: layers.PyramidConv2D(2**16, 1024),
        lambda: layers.PyramidBlock(2**16),
        lambda: layers.SpatialTransformerDownsample2D(filters=2**16, grid_size=32),
        lambda: layers.ContentAdaptiveDownsample2D(64, hidden=2**16),
        lambda: layers.LearnableStrideConv2D(2**16, 1024),
        lambda: layers.ChannelAdaptiveDownsample2D(2**16),
    ],
)
def test_weights_that_no_memory_holds_are_refused_by_name(layer):
    layer, shape = layer(), (1, 2000, 2000, 2**10)
    with pytest.raises(ValueError, match="`[a-z_0-9]*`, a weight of the layer, must have at most .* Received: "):
        layer.build([shape] if isinstance(layer, layers.PyramidConv2D) else shape)


def test_strides_of_a_tensor_are_bounded_when_the_graph_runs():
    for strides in ([0.0, 1.0], [2.0, 1e-9], [-1.0, 1.0]):
        with pytest.raises(tf.errors.InvalidArgumentError, match="`strides` must be at least 0.0009765625, in pixels"):
            ops.strided_conv2d(IMAGE, np.ones([3, 3, 3, 1]), tf.Variable(strides))


def test_sizes_of_other_kinds():
    assert ops.pyr_up(IMAGE, tf.TensorShape([17, 18])).shape == (1, 17, 18, 3)
    assert ops.spectral_pool(IMAGE, np.array(2.0)).shape == (1, 5, 5, 3)
    assert ops.strided_conv2d(IMAGE, np.ones([3, 3, 3, 1]), np.array([2.0, 3.0])).shape == (1, 4, 3, 1)
    for size in ((None, 5), tf.TensorShape([None, 5]), tf.TensorShape(None)):
        with pytest.raises(
            ValueError, match="`output_size` must be two sizes, .height, width.* Received: output_size="
        ):
            ops.resize_by(IMAGE, 2.0, size)
    with pytest.raises(ValueError, match="`size` must be an integer of at least 1.* Received: size="):
        ops.box(tf.constant(2.0))
