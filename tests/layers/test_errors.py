"""Bad input: a ValueError at the earliest moment that names the argument, the rule and what was received."""

import numpy as np
import pytest
import tensorflow as tf

from tfpyramid import layers
from tfpyramid._compat import keras
from tfpyramid.layers._base import ImageLayer

PYRAMIDS = [layers.GaussianPyramid, layers.LaplacianPyramid]
IMAGES = np.zeros([1, 8, 8, 3], np.float32)


def zeros(*sides, channels=3, dtype=np.float32):
    """Return levels of the given sides."""
    return [np.zeros([1, side, side, channels], dtype) for side in sides]


@pytest.mark.parametrize("layer", [*PYRAMIDS, layers.LearnablePyramid])
@pytest.mark.parametrize("num_levels", [0, -1, 2.5, "3", True])
def test_number_of_levels_is_checked_when_the_layer_is_made(layer, num_levels):
    with pytest.raises(ValueError, match=r"`num_levels` must be an integer of at least 1, .* Received: num_levels="):
        layer(num_levels=num_levels)


@pytest.mark.parametrize(
    "layer", [*PYRAMIDS, layers.LaplacianReconstruction, layers.UpsampleConcat, layers.WeightedFusion]
)
@pytest.mark.parametrize("scale_factor", [1, 0.5, float("nan"), float("inf"), "two"])
def test_scale_factor_is_checked_when_the_layer_is_made(layer, scale_factor):
    with pytest.raises(
        ValueError, match="`scale_factor` must be a finite number greater than 1.* Received: scale_factor="
    ):
        layer(scale_factor=scale_factor)


@pytest.mark.parametrize("layer", [*PYRAMIDS, layers.LaplacianReconstruction, layers.LearnableDownsample2D])
def test_border_is_checked_when_the_layer_is_made(layer):
    with pytest.raises(ValueError, match="`border` must be one of 'reflect', .* Received: border='mirror'"):
        layer(border="mirror")


@pytest.mark.parametrize("layer", [*PYRAMIDS, layers.LaplacianReconstruction])
@pytest.mark.parametrize(
    "kernel, rule",
    [
        ("lanczos", "must be one of 'binomial', 'gaussian', 'box', 'bilinear'"),
        ([], "must be a vector of at least one tap"),
        ([[1.0, 2.0]], "must be a vector of at least one tap"),
        ([1.0, -1.0], "must be finite taps with a sum other than zero"),
        ([1.0, float("nan")], "must be finite taps with a sum other than zero"),
        (object(), "must be None, one of"),
        (tf.constant([1.0, 1.0]), "Use LearnablePyramid for kernels that are learned"),
    ],
)
def test_kernel_is_checked_when_the_layer_is_made(layer, kernel, rule):
    with pytest.raises(ValueError, match=f"`kernel` must be.*{rule.removeprefix('must be')}.* Received: kernel"):
        layer(kernel=kernel)


@pytest.mark.parametrize("name", [name for name in layers.__all__ if issubclass(getattr(layers, name), ImageLayer)])
def test_channels_first_names_the_transpose_to_use(name):
    first = {
        "AdaptiveDepthPyramid": [2],
        "FeaturePyramid": [4],
        "FoveatedPyramid": [4, 2],
        "LearnableLaplacianReconstruction": [layers.LearnableLaplacianPyramid(2)],
        "LearnablePyramid": [2],
        "PerLevel": [keras.layers.ReLU()],
        "PyramidBlock": [4],
        "PyramidConv2D": [4],
    }.get(name, [])
    with pytest.raises(
        ValueError,
        match=r"`data_format` must be 'channels_last'.*Permute\(\(2, 3, 1\)\).* Received: data_format='channels_first'",
    ):
        getattr(layers, name)(*first, data_format="channels_first")


def test_a_global_setting_of_channels_first_is_refused():
    keras.backend.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="`data_format` must be 'channels_last'"):
            layers.GaussianPyramid(2)
    finally:
        keras.backend.set_image_data_format("channels_last")


@pytest.mark.parametrize("layer", [lambda: layers.GaussianPyramid(2), layers.BlurPool2D, layers.LearnableDownsample2D])
def test_images_may_be_given_by_name(layer):
    images = keras.Input((8, 8, 3))
    model = keras.Model(images, layer()(images=images))
    assert tf.nest.flatten(model(np.ones([1, 8, 8, 3], np.float32)))[-1].shape == (1, 4, 4, 3)


@pytest.mark.parametrize("layer", [*PYRAMIDS, layers.LearnablePyramid])
def test_integer_images_are_refused_eagerly_and_symbolically(layer):
    message = "must be floating point. Convert integers first, for example with tf.image.* of dtype uint8"
    with pytest.raises(ValueError, match=message):
        layer(2)(np.zeros([1, 8, 8, 3], np.uint8))
    with pytest.raises(ValueError, match=message):
        layer(2)(keras.Input((8, 8, 3), dtype="uint8"))


@pytest.mark.parametrize("layer", [layers.UpsampleConcat, layers.WeightedFusion, layers.LaplacianReconstruction])
def test_integer_levels_are_refused(layer):
    with pytest.raises(ValueError, match=r"must be floating point. Convert integers first.* of dtype int32"):
        layer()(zeros(8, 4, dtype=np.int32))


@pytest.mark.parametrize("layer", [*PYRAMIDS, layers.LearnablePyramid])
@pytest.mark.parametrize("shape", [(8, 8, 3), (8, 8), (1, 8, 8, 3, 1)])
def test_images_of_another_rank_are_refused(layer, shape):
    with pytest.raises(ValueError, match=r"must have 4 axes, \[batch, height, width, channels\].* of shape"):
        layer(2)(np.zeros(shape, np.float32))


def test_a_side_of_zero_is_refused():
    with pytest.raises(
        ValueError,
        match=r"`images` must have a height and a width of at least 1. Received: images of shape \(1, 0, 8, 3\)",
    ):
        layers.GaussianPyramid(2)(np.zeros([1, 0, 8, 3], np.float32))


def test_all_levels_need_known_sides():
    with pytest.raises(ValueError, match="`num_levels` must be given if the height or width of the images is unknown"):
        layers.GaussianPyramid()(keras.Input((None, 8, 3)))


@pytest.mark.parametrize("layer", [layers.LaplacianReconstruction, layers.UpsampleConcat, layers.WeightedFusion])
@pytest.mark.parametrize("sides", [(4, 8), (8, 4, 3), (8, 8), (8, 5)])
def test_levels_in_the_wrong_order_or_of_inconsistent_sizes_are_refused(layer, sides):
    message = r"`levels` must be finest first. Each side must be .*n / scale_factor.* Received: sides .*factor=2"
    with pytest.raises(ValueError, match=message):
        layer()(zeros(*sides))
    with pytest.raises(ValueError, match=message):
        layer()([keras.Input((side, side, 3)) for side in sides])


@pytest.mark.parametrize("layer", [layers.LaplacianReconstruction, layers.WeightedFusion])
def test_levels_of_different_channels_are_refused(layer):
    with pytest.raises(
        ValueError, match=r"`levels` must all have the same number of channels.* Received: channels \[3, 2\]"
    ):
        layer()([*zeros(8), *zeros(4, channels=2)])


@pytest.mark.parametrize(
    "layer",
    [layers.LaplacianReconstruction(), layers.UpsampleConcat(), layers.WeightedFusion(), layers.PyramidConv2D(4)],
    ids=lambda layer: type(layer).__name__,
)
def test_one_tensor_in_place_of_levels_is_refused(layer):
    with pytest.raises(
        ValueError, match=r"`levels` must be a list of levels, finest first. Received: one tensor of shape"
    ):
        layer(IMAGES)


@pytest.mark.parametrize("target_level", [2, -3])
@pytest.mark.parametrize("layer", [layers.UpsampleConcat, layers.WeightedFusion])
def test_a_target_level_out_of_range_is_refused(layer, target_level):
    with pytest.raises(ValueError, match=f"`target_level` must be .*2.* Received: target_level={target_level}"):
        layer(target_level=target_level)(zeros(8, 4))


def test_a_target_that_is_no_integer_is_refused_when_the_layer_is_made():
    with pytest.raises(
        ValueError, match="`target_level` must be an integer.*, the index of a level. Received: target_level='top'"
    ):
        layers.UpsampleConcat(target_level="top")


def test_levels_that_follow_no_factor_are_only_magnified():
    with pytest.raises(ValueError, match="`target_level` must be the largest level if `scale_factor` is None"):
        layers.UpsampleConcat(target_level=1, scale_factor=None)(zeros(8, 5))


@pytest.mark.parametrize("argument", ["filters", "kernel_size", "strides"])
@pytest.mark.parametrize("value", [0, 1.5, "x"])
def test_sizes_of_a_downsampler_are_checked_when_it_is_made(argument, value):
    with pytest.raises(
        ValueError, match=f"`{argument}` must be an integer of at least [12], .* Received: {argument}={value!r}"
    ):
        layers.LearnableDownsample2D(**{argument: value})


@pytest.mark.parametrize("strides", [1, (1, 1), (2, 0), (2, 1.5), (2, 2, 2)])
@pytest.mark.parametrize("layer", [layers.LearnableDownsample2D, layers.ChannelAdaptiveDownsample2D])
def test_strides_of_two_axes_are_checked_when_the_layer_is_made(layer, strides):
    with pytest.raises(ValueError, match=r"`strides` must be an integer of at least [12], .* Received: strides="):
        layer(strides=strides)


@pytest.mark.parametrize("bits", [0, 24])
def test_kernel_bits_are_checked(bits):
    with pytest.raises(ValueError, match=f"`kernel_bits` must be .* Received: kernel_bits={bits}"):
        layers.LearnableDownsample2D(kernel_bits=bits)


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.LearnableDownsample2D(hard=1),
        lambda: layers.LearnableDownsample2D(use_bias=None),
        lambda: layers.LearnablePyramid(2, share_weights="yes"),
        lambda: layers.WeightedFusion(hard="no"),
    ],
)
def test_flags_must_be_true_or_false(make):
    with pytest.raises(ValueError, match="must be True or False. Received: "):
        make()


@pytest.mark.parametrize("layer", ["conv", layers.LearnableDownsample2D, None])
def test_a_layer_argument_must_be_a_layer(layer):
    with pytest.raises(ValueError, match="`layer` must be an instance of keras.layers.Layer. Received: layer="):
        layers.PerLevel(layer)


def test_a_downsample_argument_must_be_a_layer():
    with pytest.raises(
        ValueError, match="`downsample` must be an instance of keras.layers.Layer. Received: downsample="
    ):
        layers.LearnablePyramid(2, "conv")


def test_fusion_arguments_are_checked_when_the_layer_is_made():
    methods = "'fast_normalized', 'softplus_normalized', 'softmax', 'sum', None"
    with pytest.raises(ValueError, match=f"`method` must be one of {methods}. Received: method='mean'"):
        layers.WeightedFusion("mean")
    with pytest.raises(ValueError, match="`epsilon` must be a finite number greater than 0. Received: epsilon=0"):
        layers.WeightedFusion(epsilon=0)
    with pytest.raises(ValueError, match="`temperature` must be a finite number greater than 0.*: temperature=0"):
        layers.WeightedFusion("softmax", temperature=0)
    with pytest.raises(ValueError, match="`temperature` must be 1 unless `method` is 'softmax'.* Received: "):
        layers.WeightedFusion("sum", temperature=0.5)
    with pytest.raises(ValueError, match="`per_channel` must be True or False. Received: per_channel=1"):
        layers.WeightedFusion(per_channel=1)
    with pytest.raises(
        ValueError, match="`interpolation` must be one of 'bilinear', 'nearest'. Received: interpolation='cubic'"
    ):
        layers.UpsampleConcat(interpolation="cubic")


def test_shared_weights_need_equal_channels():
    levels = [*zeros(8), *zeros(4, channels=2)]
    with pytest.raises(
        ValueError, match="`levels` must all have the same number of channels, because `share_weights` is True"
    ):
        layers.PyramidConv2D(4, share_weights=True)(levels)
    with pytest.raises(
        ValueError, match="`levels` must all have the same number of channels, because `share_weights` is True"
    ):
        layers.LearnablePyramid(3, layers.LearnableDownsample2D(filters=5), share_weights=True)(IMAGES)


def test_separate_weights_fix_the_number_of_levels():
    layer = layers.PyramidConv2D(4)
    layer(zeros(8, 4))
    with pytest.raises(ValueError, match="`levels` must be 2 levels, as at the first call,.* Received: 3 levels"):
        layer(zeros(8, 4, 2))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"scope": "batch"}, "`scope` must be one of 'tensor', 'sample'. Received: scope='batch'"),
        ({"norm": 0}, "`norm` must be a finite number greater than 0, the length of the gradient. Received: norm=0"),
    ],
)
def test_gradient_normalization_is_checked_when_it_is_made(arguments, message):
    with pytest.raises(ValueError, match=message):
        layers.GradientNormalization(**arguments)


def test_gradients_of_integers_are_refused_eagerly_and_symbolically():
    for x in (np.zeros([2, 3], np.int32), keras.Input((3,), dtype="int32")):
        with pytest.raises(ValueError, match="`x` must be floating point. Convert integers first"):
            layers.GradientNormalization()(x)
