"""Bad input to the downsamplers: a ValueError that names the argument, the rule and what was received."""

import numpy as np
import pytest

from tfpyramid import layers

STRIDED = ["AntiAliasedDownsample2D", "ChannelAdaptiveDownsample2D", "ContentAdaptiveDownsample2D"]
BORDERED = [*STRIDED, "BlurPool2D"]
FILTERED = ["AntiAliasedDownsample2D", "ChannelAdaptiveDownsample2D", "LearnableStrideConv2D"]


@pytest.mark.parametrize(
    "name, arguments, message",
    [
        *(
            (name, {"strides": 1}, "`strides` must be an integer of at least 2, .* Received: strides=1")
            for name in STRIDED
        ),
        *(
            (name, {"strides": 2.0}, "`strides` must be an integer of at least [12], .* Received: strides=2.0")
            for name in STRIDED
        ),
        *((name, {"border": "zero"}, "`border` must be one of .* Received: border='zero'") for name in BORDERED),
        *(
            (name, {"filters": 0}, "`filters` must be an integer of at least 1, .* Received: filters=0")
            for name in FILTERED
        ),
        (
            "AntiAliasedDownsample2D",
            {"kernel_size": 0},
            "`kernel_size` must be an integer of at least 1, .* Received: ker",
        ),
        (
            "AntiAliasedDownsample2D",
            {"normalization": "l1"},
            "`normalization` must be one of 'sum', 'softmax', None. Rec",
        ),
        (
            "AntiAliasedDownsample2D",
            {"kernel_bits": 24},
            "`kernel_bits` must be at most 23, .* Received: kernel_bits=24",
        ),
        ("AntiAliasedDownsample2D", {"hard": 1}, "`hard` must be True or False. Received: hard=1"),
        ("BilinearDownsample2D", {"scale_factor": 1}, "`scale_factor` must be a finite number greater than 1"),
        ("BilinearDownsample2D", {"antialias": None}, "`antialias` must be True or False. Received: antialias=None"),
        (
            "BlurPool2D",
            {"kernel_size": 0},
            "`kernel_size` must be an integer of at least 1, .* Received: kernel_size=0",
        ),
        ("BlurPool2D", {"strides": (2, 0)}, "`strides` must be an integer of at least 1, .* Received: strides=0"),
        (
            "BlurPool2D",
            {"strides": (2, 2, 2)},
            "`strides` must be .*or \\(rows, columns\\). Received: strides=\\(2",
        ),
        ("BlurPool2D", {"padding": "causal"}, "`padding` must be one of 'same', 'valid', None. Received: padding='cau"),
        ("BlurPool2D", {"pooling": "mean"}, "`pooling` must be one of 'max', 'average'. Received: pooling='mean'"),
        ("BlurPool2D", {"pool_size": 0}, "`pool_size` must be an integer of at least 1, .* Received: pool_size=0"),
        (
            "ChannelAdaptiveDownsample2D",
            {"reduction": 0},
            "`reduction` must be an integer of at least 1, .* Received: red",
        ),
        (
            "ChannelAdaptiveDownsample2D",
            {"temperature": 0},
            "`temperature` must be a finite number greater than 0, .* Rec",
        ),
        (
            "ContentAdaptiveDownsample2D",
            {"temperature": -1},
            "`temperature` must be a finite number greater than 0, .* Rec",
        ),
        (
            "ContentAdaptiveDownsample2D",
            {"window": 0},
            "`window` must be an integer of at least 1, .* Received: window=0",
        ),
        (
            "ContentAdaptiveDownsample2D",
            {"hidden": 0},
            "`hidden` must be an integer of at least 1, .* Received: hidden=0",
        ),
        (
            "ContentAdaptiveDownsample2D",
            {"start": "mean"},
            "`start` must be one of 'gaussian', 'box'. Received: start='me",
        ),
        (
            "LearnableStrideConv2D",
            {"initial_strides": 0},
            "`initial_strides` must be .* greater than 0, .* Received: ini",
        ),
        (
            "LearnableStrideConv2D",
            {"initial_strides": (2, -1)},
            "`initial_strides` must be .* Received: initial_strides=-1",
        ),
        (
            "LearnableStrideConv2D",
            {"output_size": (0, 2)},
            "`output_size` must be an integer of at least 1, .* Received: ou",
        ),
        (
            "LearnableStrideConv2D",
            {"cost_weight": -1},
            "`cost_weight` must be a finite number of at least 0, .* Received: co",
        ),
        (
            "LearnableStrideConv2D",
            {"kernel_size": (3, 3)},
            "`kernel_size` must be an integer of at least 1, .* Received: ke",
        ),
        (
            "SpectralDownsample2D",
            {"initial_strides": 0.5},
            r"`initial_strides` must be a finite number of at least 1, .*\(s_y, s_x\). Received: initial_strides=0.5",
        ),
        (
            "SpectralDownsample2D",
            {"initial_strides": (2, "x")},
            "`initial_strides` must be a finite number of at least 1, .* Received: initial_strides='x'",
        ),
        (
            "SpectralDownsample2D",
            {"output_size": (8, 0)},
            "`output_size` must be an integer of at least 1, .* Received: output_size=0",
        ),
        (
            "SpectralDownsample2D",
            {"smoothness": 0},
            "`smoothness` must be a finite number greater than 0, .* Received: smoothness=0",
        ),
        (
            "SpatialTransformerDownsample2D",
            {"output_size": 0},
            "`output_size` must be an integer of at least 1, .* Received",
        ),
        (
            "SpatialTransformerDownsample2D",
            {"grid_size": 0},
            "`grid_size` must be an integer of at least 1, .* Received",
        ),
        (
            "SpatialTransformerDownsample2D",
            {"affine": False, "offsets": False},
            "`affine` or `offsets` must be True. Received: affine=False, offsets=False",
        ),
    ],
)
def test_arguments_of_a_downsampler_are_checked_when_it_is_made(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(layers, name)(**arguments)


DOWNSAMPLERS = [name for name in layers.__all__ if name.endswith("Downsample2D")]


@pytest.mark.parametrize("name", ["LearnableStrideConv2D", *DOWNSAMPLERS])
def test_a_downsampler_refuses_integers_and_other_ranks(name):
    with pytest.raises(ValueError, match="must be floating point. Convert integers first"):
        getattr(layers, name)()(np.zeros([1, 8, 8, 3], np.uint8))
    with pytest.raises(ValueError, match="`images` must have 4 axes"):
        getattr(layers, name)()(np.zeros([8, 8, 3], np.float32))


def test_an_image_smaller_than_the_kernel_is_refused_where_windows_must_lie_inside():
    message = r"`images` must be at least as large as the kernel if `output_size` is None. Received: .* \(2, 8\)"
    with pytest.raises(ValueError, match=message):
        layers.LearnableStrideConv2D(4)(np.zeros([1, 2, 8, 3], np.float32))
    assert layers.LearnableStrideConv2D(4, output_size=2)(np.zeros([1, 2, 8, 3], np.float32)).shape == (1, 2, 2, 4)


def test_the_blur_of_a_layer_that_is_not_built_is_refused():
    with pytest.raises(
        ValueError, match="`blur` is available only after the layer is built. Call the layer on its inputs first"
    ):
        layers.AntiAliasedDownsample2D().blur


def test_a_window_larger_than_the_image_is_refused_where_windows_must_lie_inside():
    message = r"`images` must have sides of at least `pool_size` if `padding` is 'valid'. Received: .*2, 8.*pool_size=3"
    with pytest.raises(ValueError, match=message):
        layers.BlurPool2D(pool_size=3, padding="valid")(np.zeros([1, 2, 8, 3], np.float32))
    assert layers.BlurPool2D(pool_size=3, padding="same")(np.zeros([1, 2, 8, 3], np.float32)).shape == (1, 1, 4, 3)
